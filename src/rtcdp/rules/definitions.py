"""A checked set of definitions: what the loader makes and the compiler reads. Nothing here knows YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtcdp.rules.expressions.tree import Node
from rtcdp.rules.sending import Channel, Group, Trigger

ANY_EVENT = "*"
MOST_IDENTIFIERS = 64


@dataclass(frozen=True, slots=True)
class Filter:
    """Some events: their names (("*",) for any), and which of them."""

    events: tuple[str, ...]
    where: Node | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One item of a sequence. excluded: it must not come there. same: what must be the same, instead of the feature's."""

    events: tuple[str, ...]
    where: Node | None = None
    excluded: bool = False
    same: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """An incremental aggregate over one profile's events. Durations in ms.

    aggregate: a name of `options.AGGREGATES`.
    events:    event names it aggregates; ("*",) for any; none of a sequence.
    value:     what is aggregated, an expression over the event; None where the events themselves are.
    where:     which of those events count; None for all.
    within:    length of the sliding window; None for the lifetime.
    normal:    canonical text of everything above: names the state slot, so that a renamed feature keeps its state.
    offset:    the window ends so long before now.
    during:    calendar period (zones.PERIODS) of the zone `zone`; empty for none.
    by:        a value of its own for each value of this; at most `top` are kept.
    reset_on:  events with which it starts anew.
    current:   only what happens in the current session counts.
    gap:       what pause ends a session; `gaps` by channel: then only those channels take part, each on its own.
    steps:     of a sequence; `strict`: they follow each other directly; `restart`: the first step begins anew.
    same:      what must be the same in all steps.
    spend:     what a balance is spent by, and `spent` how much.
    expire:    after how long a part of a balance is gone; 0 for never.
    purpose:   only events that the person's consent to it covers count; "": all do.
    """

    name: str
    aggregate: str
    events: tuple[str, ...]
    value: Node | None
    where: Node | None
    within: int | None
    normal: str
    description: str = ""
    offset: int = 0
    during: str = ""
    zone: str = "UTC"
    by: Node | None = None
    top: int = 0
    reset_on: Filter | None = None
    current: bool = False
    gap: int = 0
    gaps: tuple[tuple[str, int], ...] = ()
    steps: tuple[Step, ...] = ()
    strict: bool = False
    restart: bool = False
    same: tuple[Node, ...] = ()
    spend: Filter | None = None
    spent: Node | None = None
    expire: int = 0
    purpose: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it counts over the whole life, all events of its kind alike."""
        scoped = self.within is not None or self.during or self.reset_on or self.current
        return not (scoped or self.by or self.steps)

    @property
    def touched_by(self) -> tuple[str, ...]:
        """Every event that may change it, sorted; ("*",) for any."""
        found = {*self.events, *(name for step in self.steps for name in step.events)}
        found.update(name for part in (self.reset_on, self.spend) if part for name in part.events)
        everything = self.strict or self.current or self.aggregate == "dwell" or ANY_EVENT in found
        return (ANY_EVENT,) if everything else tuple(sorted(found))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every expression over the event."""
        parts = (self.reset_on, self.spend, *self.steps)
        found = [self.value, self.where, self.by, *self.same, self.spent]
        found += [part.where for part in parts if part]
        found += [node for step in self.steps for node in step.same]
        return tuple(node for node in found if node is not None)


@dataclass(frozen=True, slots=True)
class Derived:
    """An expression over features, that can be used wherever a feature can: it stands there in its place."""

    name: str
    value: Node
    description: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """A typed value shown on the profile; absent while `when` does not hold, or value or consent to `purpose` is missing."""

    name: str
    value: Node
    when: Node | None
    description: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A boolean; false without consent to `purpose`."""

    name: str
    condition: Node
    description: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the lifecycle. condition: None for one that always holds; stay: ms for which it is kept at least."""

    name: str
    condition: Node
    stay: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """How long (ms) after its last event a profile ends; None: never. anonymous: while nobody knows who it is."""

    anonymous: int | None = None
    known: int | None = None


@dataclass(frozen=True, slots=True)
class Purpose:
    """What personal data are used for, as far as people may say yes or no to it.

    granted:    what holds of somebody who was never asked; regions: the same by region.
    categories: of a consent manager: granted where all of those that an event names are.
    """

    name: str
    granted: bool
    regions: Mapping[str, bool] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class ConsentPlan:
    """`consent:`. region: an expression over the profile whose text is looked up in `Purpose.regions`."""

    purposes: Mapping[str, Purpose] = field(default_factory=dict)
    region: Node | None = None


@dataclass(frozen=True, slots=True)
class Property:
    """What the tracking plan says of one property or trait (a dotted path)."""

    path: str
    type: Literal["number", "text", "boolean", "time", "list", "any"] = "any"
    required: bool = False
    default: Any = None
    pii: bool = False
    allow_secret: bool = False


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """The tracking plan of one event name. purpose: without that consent such an event counts for nothing."""

    event: str
    properties: Mapping[str, Property] = field(default_factory=dict)
    violation: Literal["warn", "drop", "dead-letter"] = "warn"
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class TrackingPlan:
    """`tracking:`. events by name; traits by path; unplanned says what an event outside the plan does."""

    events: Mapping[str, PlannedEvent] = field(default_factory=dict)
    traits: Mapping[str, Property] = field(default_factory=dict)
    unplanned: Literal["accept", "warn", "drop", "dead-letter"] = "accept"
    allow_secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Namespace:
    """A kind of identifier. priority: 0 is the strongest. limit: how many of them one person may have."""

    name: str
    priority: int
    paths: tuple[str, ...]
    normalise: Literal["exact", "lower", "phone"] = "exact"
    limit: int = MOST_IDENTIFIERS


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """`identity:`. namespaces strongest first; empty means the built-in ones (identity.NAMESPACES).

    every: every event with several identifiers says that they are one person's; else those that are sent to say so.
    """

    namespaces: tuple[Namespace, ...] = ()
    blocked: frozenset[str] = frozenset()
    every: bool = False


@dataclass(frozen=True, slots=True)
class Definitions:
    """A whole checked set.

    derived:  expressions over features; nothing else refers to them: they have been put in place.
    consent:  None where nothing is said of consent: then no event is asked for it.
    segments: in topological order: one reads only segments before it.
    stages:   of the lifecycle: the first whose condition holds; () where there is none.
    normal:   canonical JSON of the whole, from which `definitions_from_normal` builds the same set again.
    version:  hash of `normal` (16 hex digits).
    """

    features: Mapping[str, Feature]
    tags: Mapping[str, Tag]
    segments: Mapping[str, Segment]
    triggers: Mapping[str, Trigger]
    lists: Mapping[str, frozenset[str]]
    tracking: TrackingPlan
    identity: IdentityPlan
    normal: str
    version: str
    stages: tuple[Stage, ...] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    expire: Expire = Expire()
    derived: Mapping[str, Derived] = field(default_factory=dict)
    consent: ConsentPlan | None = None
