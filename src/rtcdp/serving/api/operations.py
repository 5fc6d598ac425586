"""An operation of the API: one declaration that routes it, guards it, reads what it is asked and documents it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rtcdp.serving.api.tokens import Token

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
EVENTS = "text/event-stream"


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """An operation without parameters."""


class TenantQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Parameters that every question about profiles has. tenant: whose; the token's first where it is left out."""

    tenant: str = ""


@dataclass(slots=True)
class Call:
    """One request, read and allowed.

    path:  parameters of the path, decoded. query: an instance of the operation's `query`. body: of its `body`, or None.
    token: whose request; None where the operation is public. tenant: whose profiles it is about.
    headers: of the request, by lower-case name.
    profiles: keys of the profiles that the answer tells of, about: what else tells what is done; for the audit log.
    """

    path: Mapping[str, str]
    query: Any
    body: Any
    token: Token | None
    tenant: str
    headers: Mapping[str, str]
    profiles: list[str] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def personal(self) -> bool:
        """Whether the answer may hold personal fields and tell of small groups."""
        return self.token is not None and self.token.personal


@dataclass(slots=True)
class Answer:
    """A success.

    body: bytes, or an iterator of them that is sent as it comes.
    """

    body: bytes | AsyncIterator[bytes]
    content_type: str = JSON
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Operation:
    """What can be asked.

    name:    of the operation, unique.
    path:    with `{parameters}`.
    scope:   that a token needs; "" where anybody may ask.
    answers: content type to what a 200 holds; None for what has no schema.
    problems: other statuses, beside those that every operation may have.
    audited: whether the audit log has to hold it before it is answered. beside: the answer may leave while its entry is on the
             way there, as long as entries arrive.
    tenant:  whether it is about one tenant's profiles: `query` is then a TenantQuery.
    """

    name: str
    method: str
    path: str
    scope: str
    summary: str
    handler: Handler
    answers: Mapping[str, Any]
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    problems: tuple[int, ...] = ()
    audited: bool = False
    beside: bool = False

    @property
    def tenant(self) -> bool:
        """Whether it is about one tenant's profiles."""
        return issubclass(self.query, TenantQuery)

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status but 200 that it may answer."""
        own = {400, 500, 503, *self.problems}
        if self.scope:
            own |= {401, 403}
        if "{" in self.path:
            own.add(404)
        if self.body is not None:
            own |= {413, 415}
        return tuple(sorted(own))
