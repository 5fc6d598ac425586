"""Questions about segments, stages and triggers: how many, who, how it went, what they have in common."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp import timestamps
from rtcdp.metrics import now_ms
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions import unparse
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.operations import CSV, JSON, NDJSON, Answer, Call, Handler, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.view import Away, View
from rtcdp.sinks.redis_keys import COARSE_MS, FINE_MS

EXPORTED = 1_000
"""Members that an export reads at a time."""
FINE_FOR_MS = 36 * 3_600_000
"""Longest time that is told in five minutes' steps; beyond, in hours."""
DAY_MS = 86_400_000
SAMPLED = 2_000
MOST_COLUMNS = 50
_FORMULA = frozenset("=+-@\t\r")

Time = Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339")]


class SegmentInfo(msgspec.Struct):
    """A segment. size: members now; condition: as defined."""

    name: str
    size: int
    condition: str
    description: str


class StageInfo(msgspec.Struct):
    """A stage of the lifecycle. size: profiles in it now."""

    name: str
    size: int


class Segments(msgspec.Struct):
    """All segments and stages of the definitions in force."""

    version: str
    segments: list[SegmentInfo]
    stages: list[StageInfo]


class Member(msgspec.Struct, omit_defaults=True):
    """A member. entered: when. view: the profile, where asked for."""

    profile: str
    entered: str
    view: dict[str, Any] | None = None


class Members(msgspec.Struct):
    """A page of members, by when they entered. next: the cursor of the page behind; null where there is none."""

    segment: str
    size: int
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


class SpanQuery(TenantQuery, forbid_unknown_fields=True):
    """A span of time. from_: its begin (left out: a day before its end); until: its end (left out: now)."""

    from_: Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339")] = msgspec.field(default="", name="from")
    until: Time = ""


class Size(msgspec.Struct):
    """A piece of time. at: its end; size: members then; entered, exited: how many did, in it."""

    at: str
    size: int
    entered: int
    exited: int


class Sizes(msgspec.Struct):
    """How a segment's size went. step_s: length of a piece (s)."""

    segment: str
    step_s: int
    sizes: list[Size]


class Overlap(msgspec.Struct):
    """How many of a segment's members are in another segment, by name; estimated where only `sampled` of `size` were asked."""

    segment: str
    size: int
    sampled: int
    shared: dict[str, int]


class TriggerInfo(msgspec.Struct):
    """A trigger, and what was decided in the span: sent (by arm), and not sent (by reason)."""

    name: str
    description: str
    channel: str
    sent: int
    not_sent: dict[str, int]
    arms: dict[str, int]


class Triggers(msgspec.Struct):
    """All triggers of the definitions in force."""

    version: str
    triggers: list[TriggerInfo]


class Flows(msgspec.Struct):
    """What was counted, piece by piece. at: the pieces' ends. counts: `kind|name|detail` to a number for each piece."""

    step_s: int
    at: list[str]
    counts: dict[str, list[int]]


def operations(view: View, catalogue: Catalogue) -> list[Operation]:
    """Those of segments, stages and triggers."""
    asked = _Segments(view, catalogue)
    path = "/v1/segments/{name}"
    rows: list[tuple[str, str, str, Handler, dict[str, Any], type[TenantQuery]]] = [
        (
            "segments",
            "/v1/segments",
            "Every segment and stage, and how many are in it",
            asked.all,
            {JSON: Segments},
            TenantQuery,
        ),
        (
            "members",
            f"{path}/members",
            "Who is in a segment: page by page, or everybody as NDJSON or CSV",
            asked.members,
            {JSON: Members, NDJSON: None, CSV: None},
            MembersQuery,
        ),
        ("sizes", f"{path}/sizes", "A segment's size over time", asked.sizes, {JSON: Sizes}, SpanQuery),
        ("overlap", f"{path}/overlap", "What a segment shares with the others", asked.overlap, {JSON: Overlap}, TenantQuery),
        ("triggers", "/v1/triggers", "Every trigger, and what was decided", asked.triggers, {JSON: Triggers}, SpanQuery),
        ("flows", "/v1/flows", "Entries, exits, tags, stages and decisions over time", asked.flows, {JSON: Flows}, SpanQuery),
    ]
    return [
        Operation(name, "GET", where, "segments", summary, handler, answers, query)
        for name, where, summary, handler, answers, query in rows
    ]


class _Segments:
    def __init__(self, view: View, catalogue: Catalogue) -> None:
        self._view = view
        self._catalogue = catalogue

    async def _definitions(self) -> Definitions:
        return await run_in_threadpool(self._catalogue.definitions)

    async def _named(self, call: Call) -> str:
        name = call.path["name"]
        if name not in (await self._definitions()).segments:
            raise Problem(404, f"there is no segment {name!r} in the definitions in force")
        return name

    async def all(self, call: Call) -> Answer:
        definitions = await self._definitions()
        names = list(definitions.segments)
        stages = [stage.name for stage in definitions.stages]
        with _reading():
            sizes = await self._view.sizes(call.tenant, names)
            staged = await self._view.stage_sizes(call.tenant, stages)
        return as_json(
            Segments(
                definitions.version,
                [
                    SegmentInfo(name, size, unparse(one.condition), one.description)
                    for (name, one), size in zip(definitions.segments.items(), sizes, strict=True)
                ],
                [StageInfo(name, size) for name, size in zip(stages, staged, strict=True)],
            )
        )

    async def members(self, call: Call) -> Answer:
        name, query = await self._named(call), call.query
        after = _cursor(query.cursor)
        columns = _columns(query.columns)
        if query.format != "json":
            return self._export(call.tenant, name, after, query, columns)
        with _reading():
            page = await self._view.members(call.tenant, name, after, query.limit)
            size = (await self._view.sizes(call.tenant, [name]))[0]
            members = await self._described(page, views=query.views)
        more = _written(page[-1]) if len(page) == query.limit else None
        return as_json(Members(name, size, members, more))

    def _export(
        self, tenant: str, name: str, after: tuple[int, str] | None, query: MembersQuery, columns: Sequence[Sequence[str]]
    ) -> Answer:
        headers = {"Content-Disposition": f"attachment; filename={_file_name(name)}.{query.format}"}
        if query.format == "csv":
            return Answer(self._csv(tenant, name, after, columns), f"{CSV}; charset=utf-8", headers=headers)
        return Answer(self._ndjson(tenant, name, after, views=query.views), NDJSON, headers=headers)

    async def _pages(self, tenant: str, name: str, after: tuple[int, str] | None) -> AsyncIterator[list[tuple[str, int]]]:
        while page := await self._view.members(tenant, name, after, EXPORTED):
            yield page
            after = page[-1][1], page[-1][0]

    async def _ndjson(self, tenant: str, name: str, after: tuple[int, str] | None, *, views: bool) -> AsyncIterator[bytes]:
        encode = msgspec.json.Encoder().encode_lines
        async for page in self._pages(tenant, name, after):
            yield encode(await self._described(page, views=views))

    async def _csv(
        self, tenant: str, name: str, after: tuple[int, str] | None, columns: Sequence[Sequence[str]]
    ) -> AsyncIterator[bytes]:
        yield _line(["profile", "entered", *(".".join(column) for column in columns)])
        async for page in self._pages(tenant, name, after):
            members = await self._described(page, views=bool(columns))
            rows = [[one.profile, one.entered, *(_at(one.view, column) for column in columns)] for one in members]
            yield b"".join(map(_line, rows))

    async def _described(self, page: Sequence[tuple[str, int]], *, views: bool) -> list[Member]:
        found = await self._view.views([key for key, _ in page]) if views else [None] * len(page)
        return [
            Member(key, timestamps.rfc3339(entered), msgspec.json.decode(view) if view else None)
            for (key, entered), view in zip(page, found, strict=True)
        ]

    async def sizes(self, call: Call) -> Answer:
        name = await self._named(call)
        step, first, last = _span(call.query)
        with _reading():
            now = (await self._view.sizes(call.tenant, [name]))[0]
            # What came after the span has to be taken back first.
            flows = await self._view.flows(call.tenant, step, first, max(last, now_ms()))
        points: list[Size] = []
        start = first // step
        for place in range(len(flows) - 1, -1, -1):
            entered, exited = flows[place].get(f"entered|{name}", 0), flows[place].get(f"exited|{name}", 0)
            at = (start + place + 1) * step
            if at - step <= last:
                points.append(Size(timestamps.rfc3339(at), max(0, now), entered, exited))
            now -= entered - exited
        points.reverse()
        return as_json(Sizes(name, step // 1_000, points))

    async def overlap(self, call: Call) -> Answer:
        name = await self._named(call)
        others = [other for other in (await self._definitions()).segments if other != name]
        with _reading():
            size = (await self._view.sizes(call.tenant, [name]))[0]
            keys = await self._view.sample(call.tenant, name, SAMPLED)
            shared = {other: sum(await self._view.among(call.tenant, other, keys)) for other in others}
        scale = size / len(keys) if keys else 0
        return as_json(Overlap(name, size, len(keys), {other: round(count * scale) for other, count in shared.items()}))

    async def triggers(self, call: Call) -> Answer:
        definitions = await self._definitions()
        step, first, last = _span(call.query)
        with _reading():
            flows = await self._view.flows(call.tenant, step, first, last)
        found = {name: TriggerInfo(name, one.description, one.channel, 0, {}, {}) for name, one in definitions.triggers.items()}
        for what, count in _summed(flows).items():
            kind, _, rest = what.partition("|")
            name, _, detail = rest.partition("|")
            if name not in found or kind not in {"sent", "not_sent"}:
                continue
            if kind == "not_sent":
                _add(found[name].not_sent, detail, count)
            else:
                found[name].sent += count
                if detail:
                    _add(found[name].arms, detail, count)
        return as_json(Triggers(definitions.version, list(found.values())))

    async def flows(self, call: Call) -> Answer:
        step, first, last = _span(call.query)
        with _reading():
            flows = await self._view.flows(call.tenant, step, first, last)
        start = first // step
        at = [timestamps.rfc3339((start + place + 1) * step) for place in range(len(flows))]
        names = sorted({what for counts in flows for what in counts})
        return as_json(Flows(step // 1_000, at, {what: [counts.get(what, 0) for counts in flows] for what in names}))


class _reading:  # noqa: N801 - reads as a statement
    """What is inside asks Redis: where that does not answer, the request ends with 503."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Away):
            raise Problem(503, "Redis does not answer", retry_s=1) from None


def _span(query: SpanQuery) -> tuple[int, int, int]:
    """Length of a piece, first and last instant of a span (ms). Raises Problem."""
    last = _time("until", query.until) if query.until else now_ms()
    first = _time("from", query.from_) if query.from_ else last - DAY_MS
    if not 0 <= last - first <= 100 * DAY_MS:
        raise Problem(400, "from, until: must be in this order, and at most 100 days apart")
    if last > now_ms() + DAY_MS or first < now_ms() - 101 * DAY_MS:
        raise Problem(400, "from, until: figures are kept for 100 days")
    step = FINE_MS if last - first <= FINE_FOR_MS and first > now_ms() - 2 * DAY_MS else COARSE_MS
    return step, first, last


def _time(name: str, text: str) -> int:
    found = timestamps.parse(text)
    if found is None:
        raise Problem(400, f"{name}: {text!r} is no time (RFC 3339, for example 2027-03-01T00:00:00Z)")
    return found


def _summed(flows: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in flows:
        for what, count in counts.items():
            _add(total, what, count)
    return total


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def _cursor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode("ascii")), type=tuple[int, str])
    except (ValueError, msgspec.MsgspecError):
        raise Problem(400, "cursor: must be `next` of the page before") from None


def _written(last: tuple[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((last[1], last[0]))).decode()


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
