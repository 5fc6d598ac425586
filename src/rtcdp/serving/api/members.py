"""Members of a segment: page by page, or everybody as NDJSON or CSV; masked for tokens that may not see who they are."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec

from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.groups import Groups
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import CSV, NDJSON, Answer, Call, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.view import View, reading
from rtcdp.times import timestamps

EXPORTED = 1_000
"""Members that an export reads at a time."""
MOST_COLUMNS = 50
_FORMULA = frozenset("=+-@\t\r")

After = tuple[int, str]
"""Where a page begins: behind the member that entered then (ms), with that profile key."""


class Member(msgspec.Struct, omit_defaults=True):
    """A member. entered: when. view: the profile, where asked for."""

    profile: str
    entered: str
    view: dict[str, Any] | None = None


class Members(msgspec.Struct):
    """A page of members, by when they entered. next: the cursor of the page behind; null where there is none.

    size: null where the token may not know it.
    """

    segment: str
    size: int | None
    members: list[Member]
    next: str | None


class MembersQuery(TenantQuery, forbid_unknown_fields=True):
    """Which members, and how.

    format:  one page of `json`, or everybody as `ndjson` or `csv`.
    limit:   how many a page has. cursor: `next` of the page before.
    views:   with each one's profile (json, ndjson).
    columns: of a CSV, besides profile and entered: `traits.email,tags.level,features.orders`.
    """

    format: Literal["json", "ndjson", "csv"] = "json"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=2_048)] = ""
    views: bool = False
    columns: Annotated[str, msgspec.Meta(max_length=4_096)] = ""


@dataclass(frozen=True)
class Export:
    """Whose members are told, and how. call: who asks. after: behind whom."""

    call: Call
    segment: str
    after: After | None

    @property
    def tenant(self) -> str:
        """Whose members."""
        return self.call.tenant

    @property
    def personal(self) -> bool:
        """Whether with everything."""
        return self.call.personal


class AuditPages(Protocol):
    """Where it is written down whose profiles an export tells of, page by page."""

    async def done(self, what: str, call: Call, profiles: Iterable[str] | None = None) -> None:
        """profiles: keys of those on the page that is sent next. Raises Problem where it cannot be written."""


class MembersOf:
    """Answers who is in a segment."""

    def __init__(self, view: View, masker: Masker, groups: Groups, audit: AuditPages) -> None:
        self._view = view
        self._masker = masker
        self._groups = groups
        self._audit = audit

    async def answer(self, call: Call, name: str) -> Answer:
        """`GET /v1/segments/{name}/members`. Raises Problem."""
        query = call.query
        asked = Export(call, name, self._after(query.cursor, personal=call.personal))
        columns = _columns(query.columns)
        call.about |= {"segment": name, "format": query.format, "columns": query.columns}
        with reading():
            size = (await self._view.sizes(call.tenant, [name]))[0]
        self._groups.insist(call, size, f"the segment {name}")
        if query.format != "json":
            return self._export(asked, query, columns)
        with reading():
            page = await self._view.members(call.tenant, name, asked.after, query.limit)
            members = await self._described(asked, page, views=query.views)
        call.profiles += [key for key, _ in page]
        more = self._cursor(page[-1], personal=call.personal) if len(page) == query.limit else None
        return as_json(Members(name, self._groups.told(call, size), members, more))

    def _export(self, asked: Export, query: MembersQuery, columns: Sequence[Sequence[str]]) -> Answer:
        headers = {"Content-Disposition": f"attachment; filename={_file_name(asked.segment)}.{query.format}"}
        if query.format == "csv":
            return Answer(self._csv(asked, columns), f"{CSV}; charset=utf-8", headers=headers)
        return Answer(self._ndjson(asked, views=query.views), NDJSON, headers=headers)

    async def _pages(self, asked: Export) -> AsyncIterator[list[tuple[str, int]]]:
        after = asked.after
        while page := await self._view.members(asked.tenant, asked.segment, after, EXPORTED):
            await self._audit.done("members", asked.call, [key for key, _ in page])
            yield page
            after = page[-1][1], page[-1][0]

    async def _ndjson(self, asked: Export, *, views: bool) -> AsyncIterator[bytes]:
        encode = msgspec.json.Encoder().encode_lines
        async for page in self._pages(asked):
            yield encode(await self._described(asked, page, views=views))

    async def _csv(self, asked: Export, columns: Sequence[Sequence[str]]) -> AsyncIterator[bytes]:
        yield _line(["profile", "entered", *(".".join(column) for column in columns)])
        async for page in self._pages(asked):
            members = await self._described(asked, page, views=bool(columns))
            rows = [[one.profile, one.entered, *(_at(one.view, column) for column in columns)] for one in members]
            yield b"".join(map(_line, rows))

    async def _described(self, asked: Export, page: Sequence[tuple[str, int]], *, views: bool) -> list[Member]:
        found = await self._view.views([key for key, _ in page]) if views else [None] * len(page)
        members = []
        for (key, entered), view in zip(page, found, strict=True):
            shown: dict[str, Any] | None = msgspec.json.decode(view) if view else None
            if not asked.personal:
                key = self._masker.key(key)  # noqa: PLW2901 - nothing below may see the other
                shown = await self._masker.view_of(shown) if shown else None
            members.append(Member(key, timestamps.rfc3339(entered), shown))
        return members

    def _after(self, text: str, *, personal: bool) -> After | None:
        if not text:
            return None
        try:
            written = base64.urlsafe_b64decode(text.encode("ascii"))
            text_of = written if personal else self._masker.pseudonyms.opened(written)
            return msgspec.json.decode(text_of, type=tuple[int, str])
        except (ValueError, msgspec.MsgspecError):
            raise Problem(400, "cursor: must be `next` of the page before") from None

    def _cursor(self, last: tuple[str, int], *, personal: bool) -> str:
        written = msgspec.json.encode((last[1], last[0]))
        return base64.urlsafe_b64encode(written if personal else self._masker.pseudonyms.sealed(written)).decode()


def _columns(text: str) -> list[list[str]]:
    columns = [part.split(".") for part in text.split(",") if part]
    if len(columns) > MOST_COLUMNS:
        raise Problem(400, f"columns: at most {MOST_COLUMNS}")
    return columns


def _at(view: Any, path: Sequence[str]) -> Any:
    for name in path:
        view = view.get(name) if isinstance(view, dict) else None
    return view


def _line(cells: Sequence[Any]) -> bytes:
    """A line of CSV (RFC 4180). Text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    out = io.StringIO()
    csv.writer(out).writerow([_cell(cell) for cell in cells])
    return out.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    return msgspec.json.encode(value).decode()


def _file_name(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in name)
