"""Triggers, ready to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

from rtcdp.profile import slot_key
from rtcdp.rules.compiling.interpreter import Closure, Reader, closure, condition
from rtcdp.rules.compiling.programs import Deliver, Operation, awaited, program
from rtcdp.rules.compiling.purposes import CompiledPurpose
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.tree import Node, unparse
from rtcdp.rules.sending import Again, At, Every, Limits, Quiet, Trigger, Unless, Zone
from rtcdp.times.zones import zone

Shown = Callable[[Node, Closure], Closure]


class Capturing(Reader, Protocol):
    """Reads the profile, and what of the starting event was captured: texts and getters, in one order."""

    captures: list[Closure]
    captured: list[str]


@dataclass(frozen=True)
class CompiledZone:
    """read: the trait that names the zone; None where it is `default` for everybody."""

    read: Closure | None
    default: ZoneInfo


@dataclass(frozen=True)
class CompiledLimits:
    """What holds back everything of one owner.

    owner: for records: "" for the trigger itself, else `group marketing`, `channel push`.
    key:   of its memory in the profile.
    keep:  how many instants of sending its caps need; 0 where it needs none.
    zone:  of the quiet hours.
    """

    owner: str
    key: str
    limits: Limits
    keep: int
    zone: CompiledZone | None

    @property
    def quiet(self) -> Quiet | None:
        """Quiet hours."""
        return self.limits.quiet


@dataclass(frozen=True)
class CompiledGroup:
    """A group that picks one of those that are due together. key: of its memory; pause: ms."""

    name: str
    key: str
    pause: int


@dataclass(frozen=True)
class CompiledTrigger:
    """A trigger, ready to be run. Durations in ms.

    where:    on the starting event.
    unless:   what calls it off; `unless_where` is its condition on events, `same` are getters whose values must be equal,
              `guard` is its condition on the profile.
    per:      getters of what tells starts apart.
    program:  what a start goes through; `texts` tell the places of one version from those of another.
    captures: getters of what is read of the starting event later, in the order of the list `captured` of their texts.
    limits:   its own, its group's, and by channel those of the channel.
    within:   key of the segment whose members an `every` is for; `again_in`: of that which must have been left.
    date:     of an `at`: reads the trait.
    purpose:  what consent it needs; None: none.
    """

    index: int
    name: str
    key: str
    after: int
    at_most: int
    where: Closure | None
    unless: Unless | None
    unless_where: Closure | None
    guard: Closure | None
    same: tuple[Closure, ...]
    per: tuple[Closure, ...]
    again: Again
    again_in: str
    limits: Mapping[str, tuple[CompiledLimits, ...]]
    group: CompiledGroup | None
    priority: int
    max_age: int
    captures: tuple[Closure, ...]
    captured: tuple[str, ...]
    program: tuple[Operation, ...]
    texts: tuple[str, ...]
    journey: bool
    schedule: At | Every | None
    zone: CompiledZone | None
    within: str
    date: Closure | None
    purpose: CompiledPurpose | None

    @property
    def waits(self) -> bool:
        """Whether a start waits before anything is sent, so that a later one takes its place."""
        return self.after > 0 or self.journey

    @property
    def awaits(self) -> set[str]:
        """Names of the events that its steps wait for."""
        return awaited(self.program)


class _Makers:
    """Makes the closures of one trigger; what they read of the starting event is captured."""

    def __init__(self, payload: Capturing, event: Reader, shown: Shown) -> None:
        self._payload, self._event, self._shown = payload, event, shown

    def condition(self, node: Node | None) -> Closure | None:
        return condition(node, self._payload)

    def payload(self, payload: Mapping[str, Node]) -> tuple[tuple[str, Closure], ...]:
        return tuple((name, self._shown(node, closure(node, self._payload))) for name, node in payload.items())

    def where(self, node: Node | None) -> Closure | None:
        return condition(node, self._event)

    def same(self, nodes: Iterable[Node]) -> tuple[tuple[Closure, ...], tuple[int, ...]]:
        getters, places = [], []
        for node in nodes:
            getter = closure(node, self._event)
            getters.append(getter)
            places.append(len(self._payload.captures))
            self._payload.captures.append(getter)
            self._payload.captured.append(unparse(node))
        return tuple(getters), tuple(places)


def compile_trigger(
    index: int,
    definitions: Definitions,
    trigger: Trigger,
    payload: Capturing,
    profile: Reader,
    event: Reader,
    shown: Shown,
    purpose: CompiledPurpose | None,
) -> CompiledTrigger:
    """Compile a trigger.

    payload, profile, event: where the leaves of its expressions are read; shown: makes a value of a payload as it is sent;
    purpose: what consent it needs.
    """
    unless, schedule = trigger.unless, trigger.on.schedule
    operations, texts = program(trigger, _Makers(payload, event, shown))
    group = next((group for group in definitions.groups.values() if trigger.name in group.triggers), None)
    picks = group is not None and group.pick == "priority"
    return CompiledTrigger(
        index=index,
        name=trigger.name,
        key=slot_key(f"trigger:{trigger.name}"),
        after=trigger.debounce or trigger.after,
        at_most=trigger.at_most,
        where=condition(trigger.on.where, event),
        unless=unless,
        unless_where=condition(unless.where, event) if unless else None,
        guard=condition(unless.condition, profile) if unless else None,
        same=tuple(closure(node, event) for node in unless.same) if unless else (),
        per=tuple(closure(node, event) for node in trigger.one_per),
        again=trigger.again,
        again_in=slot_key(f"segment:{trigger.again.segment}") if trigger.again.kind == "exited" else "",
        limits=_limits(definitions, trigger, operations, profile),
        group=CompiledGroup(group.name, slot_key(f"group:{group.name}"), group.pause) if group and picks else None,
        priority=trigger.priority,
        max_age=trigger.max_age,
        captures=tuple(payload.captures),
        captured=tuple(payload.captured),
        program=operations,
        texts=texts,
        journey=bool(trigger.steps),
        schedule=schedule,
        zone=_zone(schedule.zone, profile) if schedule else None,
        within=slot_key(f"segment:{trigger.on.name}") if trigger.on.kind == "every" else "",
        date=closure(schedule.path, profile) if isinstance(schedule, At) else None,
        purpose=purpose,
    )


def _zone(written: Zone, reader: Reader) -> CompiledZone:
    default = zone(written.default)
    assert default is not None  # noqa: S101  the loader knows them all
    return CompiledZone(None if written.path is None else closure(written.path, reader), default)


def _limits(
    definitions: Definitions, trigger: Trigger, operations: tuple[Operation, ...], reader: Reader
) -> dict[str, tuple[CompiledLimits, ...]]:
    """Limits by channel: of the trigger, its groups, the channel; those that hold nothing back are left out."""
    found = [_one("", f"trigger:{trigger.name}", trigger.limits, reader)]
    groups = [group for group in definitions.groups.values() if trigger.name in group.triggers]
    found += [_one(f"group {group.name}", f"group:{group.name}", group.limits, reader) for group in groups]
    channels = {operation.channel for operation in operations if isinstance(operation, Deliver)}
    limits = {}
    for name in channels:
        channel = definitions.channels.get(name)
        more = [_one(f"channel {name}", f"channel:{name}", channel.limits, reader)] if channel else []
        limits[name] = tuple(one for one in (*found, *more) if one.limits != Limits())
    return limits


def _one(owner: str, key: str, limits: Limits, reader: Reader) -> CompiledLimits:
    keep = max([cap.times for cap in limits.caps], default=1 if limits.cooldown else 0)
    return CompiledLimits(owner, slot_key(key), limits, keep, _zone(limits.quiet.zone, reader) if limits.quiet else None)
