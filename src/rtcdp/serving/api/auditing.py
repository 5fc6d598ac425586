"""The API's entries in the audit log: an answer that tells of somebody leaves when Kafka has the entry that says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.control.audit import Actor, Asked, Entry, Trail, encoded, entries, ready
from rtcdp.errors import ClusterError, SettingError
from rtcdp.queries.keys import key_of
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import Token, Tokens
from rtcdp.serving.collector.refusals import Refusal
from rtcdp.serving.collector.sender import Record, Sender, producer_conf
from rtcdp.settings.config import Settings

logger = logging.getLogger(__name__)

BUFFER_BYTES = 64 << 20
PATIENCE_S = 10
GATHER_S = 0.02
"""Entries whose answers need not wait travel together: one record a request would cost more than the request."""
MOST_GATHERED = 10_000


class AuditQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries; left out: those of the last day.

    from_, until: RFC 3339. who: part of a token's id or name, or of `user@host`. what: an operation.
    profile: a profile's key, NAMESPACE:VALUE (of the tenant `main`) or TENANT/NAMESPACE:VALUE. limit: the newest so many.
    """

    from_: Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339")] = msgspec.field(default="", name="from")
    until: Annotated[str, msgspec.Meta(max_length=64)] = ""
    who: Annotated[str, msgspec.Meta(max_length=200)] = ""
    what: Annotated[str, msgspec.Meta(max_length=100)] = ""
    profile: Annotated[str, msgspec.Meta(max_length=1_024)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class Audited(msgspec.Struct):
    """Entries, newest first. more: there are older ones."""

    entries: list[Entry]
    more: bool


class Auditor:
    """Writes entries, and answers who did what.

    Raises ClusterError where the topic is not there and cannot be made.
    """

    def __init__(self, settings: Settings) -> None:
        ready(settings)
        self._settings = settings
        self._trail = Trail(settings, Actor("process", f"serve {settings.instance}".strip()))
        options = producer_conf(settings.kafka(), buffer_bytes=BUFFER_BYTES, ack_s=PATIENCE_S)
        self._sender = Sender(options, lambda _: None, monotonic)
        self._well = True
        self._gathered: list[Entry] = []
        self._following: asyncio.Task[None] | None = None
        self._known: frozenset[tuple[str, str]] | None = None
        self._tenants = frozenset(source.tenant for source in settings.sources)

    def start(self) -> None:
        """From now on entries can be written; in the running event loop."""
        self._sender.start()

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._following is not None:
            await asyncio.wait([self._following], timeout=PATIENCE_S)
        await self._sender.close(PATIENCE_S)

    async def done(self, what: str, call: Call, profiles: Iterable[str] | None = None, *, beside: bool = False) -> None:
        """Write down what a request does. profiles: keys of whom it is about; None: those that the call names.

        beside: return while the entry is on its way, as long as those before have arrived (and `audit_wait` is off).

        Raises Problem where Kafka does not take it: then nothing may be told.
        """
        about = {name: str(value) for name, value in call.about.items() if value}
        read = call.profiles if profiles is None else profiles
        entry = self._trail.entry(what, who=actor(call.token), tenant=call.tenant, profiles=read, about=about)
        if beside and self._well and not self._settings.audit_wait and len(self._gathered) < MOST_GATHERED:
            self._gathered.append(entry)
            if self._following is None:
                self._following = asyncio.create_task(self._follow())
        else:
            await self._send([entry])

    async def refused(self, what: str, token: Token) -> None:
        """Write down that a token asked for what it is not for. Raises Problem as `done`."""
        await self._send([self._trail.entry(what, who=actor(token), outcome="refused")])

    async def watch(self, tokens: Tokens) -> None:
        """Write down which tokens came and went since the last look, whoever changed their file. Raises Problem as `done`."""
        now = frozenset((token.id, token.name) for token in tokens)
        before, self._known = self._known, now
        if before is None:
            await self._send([self._trail.entry("serve", about={"tokens": ",".join(sorted(one for one, _ in now))})])
            return
        for what, changed in (("tokens.added", now - before), ("tokens.ended", before - now)):
            for one, name in sorted(changed):
                await self._send([self._trail.entry(what, about={"token": one, "name": name})])

    def operations(self) -> Sequence[Operation]:
        """The one that reads the log."""
        summary = "Who read whom and who changed what, newest first"
        return [
            Operation("audit", "GET", "/v1/audit", "audit", summary, self.read, {JSON: Audited}, AuditQuery, audited=True),
        ]

    async def read(self, call: Call) -> Answer:
        """`GET /v1/audit`. A token is told of its tenants; of what concerns none, where it has all of them."""
        query = call.query
        mine = frozenset(call.token.tenants if call.token else ())
        try:
            key = await run_in_threadpool(key_of, self._settings, query.profile) if query.profile else ""
            asked = Asked(query.from_, query.until, query.who, query.what, key, query.limit)
            told = mine | {""} if mine >= self._tenants else mine
            found, more = await run_in_threadpool(lambda: entries(self._settings, asked, tenants=told))
        except SettingError as error:
            raise Problem(400, str(error)) from None
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        if key:
            call.profiles.append(key)
        return as_json(Audited(found, more))

    async def _follow(self) -> None:
        """Send what has gathered, again and again, until nothing has."""
        while self._gathered:
            await asyncio.sleep(GATHER_S)
            gathered, self._gathered = self._gathered, []
            try:
                await self._send(gathered)
            except Problem as problem:
                logger.warning("answers left whose entries did not arrive, until one does all wait: %s", problem)
        self._following = None

    async def _send(self, several: Sequence[Entry]) -> None:
        records = [Record(self._settings.audit, entry.tenant.encode(), encoded(entry)) for entry in several]
        try:
            await asyncio.shield(self._sender.send(records, []))
        except Refusal as refusal:
            self._well = False
            raise Problem(503, f"the audit log cannot be written: {refusal.message}", retry_s=2) from None
        self._well = True


def actor(token: Token | None) -> Actor:
    """A token as who does something."""
    return Actor("token", token.id, token.name) if token is not None else Actor("token", "")
