"""Questions about segments, stages and triggers: how many, who, how it went, what they have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.monitoring.metrics import now_ms
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.tree import unparse
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.groups import Groups
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.members import AuditPages, Members, MembersOf, MembersQuery
from rtcdp.serving.api.operations import CSV, JSON, NDJSON, Answer, Call, Handler, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.view import View, reading
from rtcdp.sinks.redis_keys import COARSE_MS, FINE_MS
from rtcdp.times import timestamps

FINE_FOR_MS = 36 * 3_600_000
"""Longest time that is told in five minutes' steps; beyond, in hours."""
DAY_MS = 86_400_000
SAMPLED = 2_000

Time = Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339")]


class SegmentInfo(msgspec.Struct):
    """A segment. size: members now, null where the token may not know it; condition: as defined."""

    name: str
    size: int | None
    condition: str
    description: str


class StageInfo(msgspec.Struct):
    """A stage of the lifecycle. size: profiles in it now, null where the token may not know it."""

    name: str
    size: int | None


class Segments(msgspec.Struct):
    """All segments and stages of the definitions in force."""

    version: str
    segments: list[SegmentInfo]
    stages: list[StageInfo]


class SpanQuery(TenantQuery, forbid_unknown_fields=True):
    """A span of time. from_: its begin (left out: a day before its end); until: its end (left out: now)."""

    from_: Annotated[str, msgspec.Meta(max_length=64, description="RFC 3339")] = msgspec.field(default="", name="from")
    until: Time = ""


class Size(msgspec.Struct):
    """A piece of time. at: its end; size: members then; entered, exited: how many did, in it.

    Null where the token may not know it.
    """

    at: str
    size: int | None
    entered: int | None
    exited: int | None


class Sizes(msgspec.Struct):
    """How a segment's size went. step_s: length of a piece (s)."""

    segment: str
    step_s: int
    sizes: list[Size]


class Overlap(msgspec.Struct):
    """How many of a segment's members are in another segment, by name; estimated where only `sampled` of `size` were asked."""

    segment: str
    size: int | None
    sampled: int
    shared: dict[str, int | None]


class TriggerInfo(msgspec.Struct):
    """A trigger, and what was decided in the span: sent (by arm), and not sent (by reason)."""

    name: str
    description: str
    channel: str
    sent: int | None
    not_sent: dict[str, int | None]
    arms: dict[str, int | None]


class Triggers(msgspec.Struct):
    """All triggers of the definitions in force."""

    version: str
    triggers: list[TriggerInfo]


class Flows(msgspec.Struct):
    """What was counted, piece by piece. at: the pieces' ends. counts: `kind|name|detail` to a number for each piece."""

    step_s: int
    at: list[str]
    counts: dict[str, list[int | None]]


def operations(view: View, catalogue: Catalogue, masker: Masker, groups: Groups, audit: AuditPages) -> list[Operation]:
    """Those of segments, stages and triggers. audit: where pages of exports are written down."""
    asked = _Segments(view, catalogue, groups)
    members = MembersOf(view, masker, groups, audit)

    async def of_segment(call: Call) -> Answer:
        return await members.answer(call, await asked.named(call))

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
            of_segment,
            {JSON: Members, NDJSON: None, CSV: None},
            MembersQuery,
        ),
        ("sizes", f"{path}/sizes", "A segment's size over time", asked.sizes, {JSON: Sizes}, SpanQuery),
        ("overlap", f"{path}/overlap", "What a segment shares with the others", asked.overlap, {JSON: Overlap}, TenantQuery),
        ("triggers", "/v1/triggers", "Every trigger, and what was decided", asked.triggers, {JSON: Triggers}, SpanQuery),
        ("flows", "/v1/flows", "Entries, exits, tags, stages and decisions over time", asked.flows, {JSON: Flows}, SpanQuery),
    ]
    return [
        Operation(name, "GET", where, "segments", summary, handler, answers, query, audited=name == "members")
        for name, where, summary, handler, answers, query in rows
    ]


class _Segments:
    def __init__(self, view: View, catalogue: Catalogue, groups: Groups) -> None:
        self._view = view
        self._catalogue = catalogue
        self._groups = groups

    async def _definitions(self) -> Definitions:
        return await run_in_threadpool(self._catalogue.definitions)

    async def named(self, call: Call) -> str:
        name = call.path["name"]
        if name not in (await self._definitions()).segments:
            raise Problem(404, f"there is no segment {name!r} in the definitions in force")
        return name

    async def all(self, call: Call) -> Answer:
        definitions = await self._definitions()
        names = list(definitions.segments)
        stages = [stage.name for stage in definitions.stages]
        with reading():
            sizes = await self._view.sizes(call.tenant, names)
            staged = await self._view.stage_sizes(call.tenant, stages)
        return as_json(
            Segments(
                definitions.version,
                [
                    SegmentInfo(name, self._groups.told(call, size), unparse(one.condition), one.description)
                    for (name, one), size in zip(definitions.segments.items(), sizes, strict=True)
                ],
                [StageInfo(name, self._groups.told(call, size)) for name, size in zip(stages, staged, strict=True)],
            )
        )

    async def sizes(self, call: Call) -> Answer:
        name = await self.named(call)
        step, first, last = _span(call.query)
        with reading():
            now = (await self._view.sizes(call.tenant, [name]))[0]
            # What came after the span has to be taken back first.
            flows = await self._view.flows(call.tenant, step, first, max(last, now_ms()))
        points: list[Size] = []
        start = first // step
        for place in range(len(flows) - 1, -1, -1):
            entered, exited = flows[place].get(f"entered|{name}", 0), flows[place].get(f"exited|{name}", 0)
            at = (start + place + 1) * step
            if at - step <= last:
                told = (self._groups.told(call, count) for count in (max(0, now), entered, exited))
                points.append(Size(timestamps.rfc3339(at), *told))
            now -= entered - exited
        points.reverse()
        return as_json(Sizes(name, step // 1_000, points))

    async def overlap(self, call: Call) -> Answer:
        name = await self.named(call)
        others = [other for other in (await self._definitions()).segments if other != name]
        with reading():
            size = (await self._view.sizes(call.tenant, [name]))[0]
            keys = await self._view.sample(call.tenant, name, SAMPLED)
            shared = {other: sum(await self._view.among(call.tenant, other, keys)) for other in others}
        self._groups.insist(call, size, f"the segment {name}")
        scale = size / len(keys) if keys else 0
        told = {other: self._groups.told(call, round(count * scale)) for other, count in shared.items()}
        return as_json(Overlap(name, self._groups.told(call, size), len(keys), told))

    async def triggers(self, call: Call) -> Answer:
        definitions = await self._definitions()
        step, first, last = _span(call.query)
        with reading():
            flows = await self._view.flows(call.tenant, step, first, last)
        decided = {name: _Decided({}, {}, {}) for name in definitions.triggers}
        for what, count in _summed(flows).items():
            kind, _, rest = what.partition("|")
            name, _, detail = rest.partition("|")
            if name not in decided or kind not in {"sent", "not_sent"}:
                continue
            if kind == "not_sent":
                _add(decided[name].not_sent, detail, count)
            else:
                _add(decided[name].sent, "", count)
                if detail:
                    _add(decided[name].arms, detail, count)

        def told(counts: dict[str, int]) -> dict[str, int | None]:
            return {what: self._groups.told(call, count) for what, count in counts.items()}

        found = [
            TriggerInfo(
                name,
                one.description,
                one.channel,
                self._groups.told(call, of.sent.get("", 0)),
                told(of.not_sent),
                told(of.arms),
            )
            for (name, one), of in zip(definitions.triggers.items(), decided.values(), strict=True)
        ]
        return as_json(Triggers(definitions.version, found))

    async def flows(self, call: Call) -> Answer:
        step, first, last = _span(call.query)
        with reading():
            flows = await self._view.flows(call.tenant, step, first, last)
        start = first // step
        at = [timestamps.rfc3339((start + place + 1) * step) for place in range(len(flows))]
        names = sorted({what for counts in flows for what in counts})
        told = self._groups.told
        return as_json(Flows(step // 1_000, at, {what: [told(call, one.get(what, 0)) for one in flows] for what in names}))


class _Decided(NamedTuple):
    """What was decided of a trigger: sent (under ""), sent by arm, not sent by reason."""

    sent: dict[str, int]
    arms: dict[str, int]
    not_sent: dict[str, int]


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
