"""When something is sent: triggers, what starts, holds and stops them, their steps, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rtcdp.rules.expressions.tree import Node, Path

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone: the name that a trait holds, else `default`. path: None where it is the same for everybody."""

    path: Node | None
    default: str = "UTC"


@dataclass(frozen=True, slots=True)
class On:
    """What starts a trigger.

    name:     of the event, segment, stage or tag; of the segment whose members an `every` is for; "" for `at`.
    where:    which of those events.
    schedule: when, for `at` and `every`.
    """

    kind: Literal["event", "entered", "exited", "stage", "changed", "at", "every"]
    name: str
    where: Node | None = None
    schedule: At | Every | None = None


@dataclass(frozen=True, slots=True)
class At:
    """The date that a trait holds. time: ms of the day, None for the instant in the trait; before: days."""

    path: Path
    zone: Zone
    time: int | None = None
    yearly: bool = False
    before: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """A repeated local time. weekday: 1 to 7, 0 for any; day: of the month, 0 for any; time: ms of the day."""

    weekday: int
    day: int
    time: int


@dataclass(frozen=True, slots=True)
class Every:
    """A schedule. over: ms over which the members of the segment are spread."""

    moments: tuple[Moment, ...]
    zone: Zone
    over: int = 0


@dataclass(frozen=True, slots=True)
class Unless:
    """What calls a waiting trigger off: an event whose `same` equals the starting event's, or a condition that holds."""

    events: tuple[str, ...]
    where: Node | None = None
    same: tuple[Node, ...] = ()
    condition: Node | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `times` sends per rolling `per` ms and profile."""

    times: int
    per: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of the day (ms, local) in which nothing is sent. held: until they end; otherwise dropped."""

    begin: int
    end: int
    zone: Zone
    held: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds sends back. holdout: share (0 to 1) that gets nothing, so that lift can be measured; cooldown in ms."""

    caps: tuple[Cap, ...] = ()
    cooldown: int = 0
    quiet: Quiet | None = None
    holdout: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Triggers that share limits. pick: `priority` sends one of those that are due together; pause: ms to wait for them."""

    name: str
    triggers: tuple[str, ...]
    limits: Limits = Limits()
    pick: Literal["each", "priority"] = "each"
    pause: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Channel:
    """Limits of everything that is sent by one channel."""

    name: str
    limits: Limits
    description: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """A step that sends. name: what the consumer is told of the step; channel: "" for the trigger's."""

    name: str
    payload: Mapping[str, Node] = field(default_factory=dict)
    channel: str = ""
    condition: Node | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that waits. ms."""

    time: int


@dataclass(frozen=True, slots=True)
class Await:
    """A step that waits for an event up to a time (ms); then one way or the other."""

    events: tuple[str, ...]
    up_to: int
    where: Node | None = None
    same: tuple[Node, ...] = ()
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """A step that looks at a condition; then one way or the other."""

    condition: Node
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way of a split: its share (0 to 1) of all profiles."""

    name: str
    share: float
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A step that sends each profile one way, always the same. What the shares leave goes on."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Exit:
    """A step that ends the journey."""


Step = Send | Wait | Await | Branch | Split | Exit


@dataclass(frozen=True, slots=True)
class Again:
    """When a trigger that was sent may start again. exited: only after that segment was left; after: ms."""

    kind: Literal["always", "once", "exited", "after"] = "always"
    segment: str = ""
    after: int = 0


@dataclass(frozen=True, slots=True)
class Trigger:
    """When to tell marketing automation. Durations in ms.

    debounce: starts within this time of one another count as one; at_most: so long after the first at the latest.
    one_per:  paths of the starting event: each different value waits for itself.
    steps:    what happens in a journey; () for a trigger that sends once.
    purpose:  what consent it needs; "": none.
    """

    name: str
    on: On
    after: int = 0
    unless: Unless | None = None
    condition: Node | None = None
    limits: Limits = Limits()
    max_age: int = DAY_MS
    payload: Mapping[str, Node] = field(default_factory=dict)
    channel: str = ""
    description: str = ""
    debounce: int = 0
    at_most: int = 0
    one_per: tuple[Node, ...] = ()
    again: Again = Again()
    priority: int = 0
    steps: tuple[Step, ...] = ()
    purpose: str = ""

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Caps of its own."""
        return self.limits.caps


def steps_of(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps and everything below them."""
    for step in steps:
        yield step
        match step:
            case Await(then=then, otherwise=otherwise) | Branch(then=then, otherwise=otherwise):
                yield from steps_of((*then, *otherwise))
            case Split(ways=ways):
                for way in ways:
                    yield from steps_of(way.steps)


def fired(trigger: Trigger) -> Iterator[Node]:
    """Expressions over the profile, and over what was captured of the starting event."""
    found = [trigger.condition, *trigger.payload.values()]
    for step in steps_of(trigger.steps):
        if isinstance(step, Send):
            found += [step.condition, *step.payload.values()]
        elif isinstance(step, Branch):
            found.append(step.condition)
    yield from (node for node in found if node is not None)


def looked_at(trigger: Trigger) -> Iterator[Node]:
    """Expressions over an event alone."""
    found = [trigger.on.where, *trigger.one_per]
    if trigger.unless:
        found += [trigger.unless.where, *trigger.unless.same]
    for step in steps_of(trigger.steps):
        if isinstance(step, Await):
            found += [step.where, *step.same]
    yield from (node for node in found if node is not None)
