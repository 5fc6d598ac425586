"""A checked set of definitions: what the loader makes and the compiler reads. Nothing here knows YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtcdp.rules.expressions import Node
from rtcdp.rules.sending import Channel, Group, Trigger

ANY_EVENT = "*"


@dataclass(frozen=True, slots=True)
class Feature:
    """An incremental aggregate over one profile's events.

    aggregate: one of count sum min max avg first last first_time last_time unique most_frequent.
    events:    event names it reads; ("*",) for any.
    value:     what is aggregated, an expression over the event; None for count, first_time, last_time.
    where:     which of those events count; None for all.
    within:    length of the sliding window in ms; None for the lifetime.
    normal:    canonical text of everything above: names the state slot, so that a renamed feature keeps its state.
    """

    name: str
    aggregate: str
    events: tuple[str, ...]
    value: Node | None
    where: Node | None
    within: int | None
    normal: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """A typed value shown on the profile; absent while `when` does not hold or the value is missing."""

    name: str
    value: Node
    when: Node | None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A boolean."""

    name: str
    condition: Node
    description: str = ""


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
    """The tracking plan of one event name."""

    event: str
    properties: Mapping[str, Property] = field(default_factory=dict)
    violation: Literal["warn", "drop", "dead-letter"] = "warn"


@dataclass(frozen=True, slots=True)
class TrackingPlan:
    """`tracking:`. events by name; traits by path; unplanned says what an event outside the plan does."""

    events: Mapping[str, PlannedEvent] = field(default_factory=dict)
    traits: Mapping[str, Property] = field(default_factory=dict)
    unplanned: Literal["accept", "warn", "drop", "dead-letter"] = "accept"
    allow_secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Namespace:
    """A kind of identifier. priority: 0 is the strongest."""

    name: str
    priority: int
    paths: tuple[str, ...]
    normalise: Literal["exact", "lower", "phone"] = "exact"


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """`identity:`. namespaces strongest first; empty means the built-in ones (identity.NAMESPACES)."""

    namespaces: tuple[Namespace, ...] = ()
    blocked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Definitions:
    """A whole checked set.

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
