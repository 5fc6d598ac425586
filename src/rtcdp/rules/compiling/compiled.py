"""What definitions become: rules with what reads them, plans of events, the whole of one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
from rtcdp.rules.compiling.features import Leaf
from rtcdp.rules.compiling.gates import Rules
from rtcdp.rules.compiling.interpreter import Closure
from rtcdp.rules.compiling.purposes import CompiledConsent, CompiledPurpose
from rtcdp.rules.compiling.updates import Update
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.tree import Node

RuleKind = Literal["tag", "segment", "stage", "schedule", "guard", "ending", "consent"]


def as_it_is(value: Any) -> Any:
    """A value that outputs show as it is."""
    return value


@dataclass(frozen=True)
class Ending:
    """When profiles end by themselves: so long (ms) after their last event.

    first_seen, last_seen: slot keys of these times. namespaces: of keys that tell nobody who it is.
    """

    first_seen: str
    last_seen: str
    anonymous: int | None
    known: int | None
    namespaces: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """Something that is looked at when what it reads has changed.

    kind:       a tag, a segment or the stage; or, read by none: when a trigger is due by the calendar (`schedule`), the
                condition that calls one off (`guard`), the end of the profile (`ending`), the region that consent may depend
                on (`consent`).
    key:        name of its place in the profile.
    value:      the tag's value, the condition, the stage that is wanted: `(profile, None) -> value`.
    when:       condition of a tag.
    shown:      a tag's value as outputs show it: times are RFC 3339.
    dependents: rules that read this one; all of them later in the order.
    entered, exited: triggers that start with it; `changed`: of a tag; `starts`: of a stage, by its name.
    stays:      how long (ms) stages are kept at least.
    trigger, ending: what it is for.
    purpose:    what consent it needs; `value` and `when` of a segment and a tag ask for it themselves.
    """

    index: int
    name: str
    key: str
    kind: RuleKind
    value: Closure
    when: Closure | None = None
    shown: Callable[[Any], Any] = as_it_is
    dependents: Rules = ()
    entered: tuple[CompiledTrigger, ...] = ()
    exited: tuple[CompiledTrigger, ...] = ()
    changed: tuple[CompiledTrigger, ...] = ()
    starts: Mapping[str, tuple[CompiledTrigger, ...]] = field(default_factory=dict)
    stays: Mapping[str, int] = field(default_factory=dict)
    trigger: CompiledTrigger | None = None
    ending: Ending | None = None
    purpose: CompiledPurpose | None = None

    @property
    def is_segment(self) -> bool:
        """Whether it is a segment."""
        return self.kind == "segment"


@dataclass
class Plan:
    """What events of one name do: update leaves; cancel, start and move on triggers (`triggers`: whether there are any).

    purpose: without consent to it they do nothing.
    """

    updates: list[Update] = field(default_factory=list)
    tables: list[tuple[Callable[[Any], Any], dict[str, list[Update]]]] = field(default_factory=list)
    cancels: list[CompiledTrigger] = field(default_factory=list)
    starts: list[CompiledTrigger] = field(default_factory=list)
    awaits: list[CompiledTrigger] = field(default_factory=list)
    triggers: bool = False
    purpose: CompiledPurpose | None = None


@dataclass(frozen=True)
class Compiled:
    """One version of the definitions, ready to run.

    leaves:   slot key -> leaf; `timed` are those that time alone can change.
    features: feature name -> leaf.
    plans:    event name -> plan; `plan` for any other name.
    initial:  rules that already hold for a profile of which nothing is known.
    event, decode: the struct of an event with just what is read of it; bytes of the log to it, a tick or a switch.
    of_profile, of_event: the closure of an expression over a profile, over an event alone.
    attribute: the dotted attribute of a decoded event that a plain path is; "" for anything else.
    lifecycle: the rule of the stage; `ending`: when profiles end.
    consent:  purposes, and what events say about them; None where no event is asked.
    unfit:    how many values each feature has met that should be numbers and are none, since somebody took them out.
    """

    version: str
    definitions: Definitions
    features: dict[str, Leaf]
    leaves: dict[str, Leaf]
    timed: dict[str, Leaf]
    rules: tuple[Rule, ...]
    triggers: tuple[CompiledTrigger, ...]
    by_key: dict[str, CompiledTrigger]
    plans: dict[str, Plan]
    plan: Plan
    traits: dict[str, Rules]
    initial: Rules
    event: Any
    decode: Callable[[bytes], Any]
    of_profile: Callable[[Node], Closure]
    of_event: Callable[[Node], Closure]
    attribute: Callable[[Node], str]
    lifecycle: Rule | None = None
    ending: Ending | None = None
    consent: CompiledConsent | None = None
    unfit: Counter[str] = field(default_factory=Counter)
