"""Why a definition has the value that it has for a profile, what would have to change, and until when it stays so.

`explain` is pure: it works on a copy of the profile and asks nobody. The answer: `rtcdp.explanation.explained`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtcdp import profile as profiles
from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError
from rtcdp.explanation.decisions import decisions, gates, waits_until
from rtcdp.explanation.evidence import evidence, uncertainty
from rtcdp.explanation.explained import Event, Explanation, Need, Part
from rtcdp.explanation.needs import Needs
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.folding.triggers import waiting_of
from rtcdp.folding.warming import at_most, misses
from rtcdp.position import Came
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.features import Leaf
from rtcdp.rules.compiling.functions import same
from rtcdp.rules.compiling.interpreter import Closure, closure
from rtcdp.rules.compiling.purposes import CompiledPurpose
from rtcdp.rules.compiling.readers import reader_of
from rtcdp.rules.definitions import Feature
from rtcdp.rules.expressions.names import did_you_mean
from rtcdp.rules.expressions.tree import (
    Call,
    EventField,
    Literal,
    Logical,
    Name,
    Node,
    Not,
    Path,
    Span,
    Type,
    children,
    spell_duration,
    unparse,
)
from rtcdp.rules.expressions.tree import Part as OneKey
from rtcdp.rules.loading.options import AGGREGATES
from rtcdp.rules.wording import described, spelled
from rtcdp.times.timestamps import rfc3339

MOST_INSTANTS = 5_000
TRIGGER = "trigger:"

Warming = Mapping[str, Came]
"""Slot key of a feature -> the switch with which it came, where that was after the profile began."""


class UnknownName(RtcdpError):
    """No definition has this name; the message suggests the nearest."""


def explain(
    profile: Profile, engine: Engine, name: str, *, at: int | None = None, warming: Warming | None = None
) -> Explanation:
    """Why `name` has its value for a profile.

    profile: left as it is.
    name:    a feature, tag, segment, trigger or `stage`; `trigger:NAME` where a segment has the same name.
    at:      the time (ms) to answer for, where it is later than the profile's own; what time changes until then has happened.
    warming: features that came after the profile began.

    Raises UnknownName.
    """
    copy = profiles.decode(profile.key, profiles.encode(profile))
    if at is not None and at > copy.now:
        engine.advance(copy, at, Outbox(engine.compiled.version), simulated=True)
        copy.now = at
    return _Explainer(copy, engine, warming or {}).explain(name)


@dataclass
class _Watched:
    """A value whose first change is looked for."""

    read: Callable[[Profile], Any]
    now: Any
    changed: Callable[[str, Any], None]


@dataclass
class _Explainer:
    """One explanation. watched: what may change by itself. precisions: of the features read."""

    profile: Profile
    engine: Engine
    warming: Warming
    watched: list[_Watched] = field(default_factory=list)
    untils: dict[str, str] = field(default_factory=dict)
    leaves: dict[str, Leaf] = field(default_factory=dict)
    precisions: dict[str, str] = field(default_factory=dict)
    expanded: set[str] = field(default_factory=set)

    @property
    def compiled(self) -> Compiled:
        return self.engine.compiled

    def explain(self, name: str) -> Explanation:
        definitions = self.compiled.definitions
        if name in definitions.features:
            return self._feature(definitions.features[name])
        if name in definitions.derived:
            return self._derived(name)
        if name in definitions.segments:
            return self._segment(name)
        if name in definitions.tags:
            return self._tag(name)
        if name == "stage" and definitions.stages:
            return self._stage()
        plain = name.removeprefix(TRIGGER)
        if plain in definitions.triggers:
            return self._trigger(plain)
        known = [
            *definitions.features,
            *definitions.derived,
            *definitions.tags,
            *definitions.segments,
            *definitions.triggers,
            "stage",
        ]
        hint = did_you_mean(name, known)
        raise UnknownName(f"no definition is called {name!r}{f' ({hint})' if hint else ''}")

    def _answer(self, kind: str, name: str, description: str, purpose: CompiledPurpose | None = None) -> Explanation:
        consent = "" if purpose is None else f"purpose {purpose.name}: {purpose.told(self.profile)}"
        return Explanation(
            consent=consent,
            profile=self.profile.key,
            kind=kind,
            name=name,
            description=description,
            version=self.compiled.version,
            at=rfc3339(self.profile.now),
        )

    # ---- the kinds of definitions ------------------------------------------------------------------------------

    def _feature(self, feature: Feature) -> Explanation:
        answer = self._answer("feature", feature.name, feature.description, self.compiled.features[feature.name].purpose)
        node = Name("feature", feature.name, _feature_type(feature), Span(0, 0))
        answer.tree = self._part(node)
        answer.value = answer.tree.value
        answer.precision = answer.tree.precision
        leaf, slot, now = self.compiled.features[feature.name], self._slot(feature.name), self.profile.now
        value = leaf.aggregate.value(slot, now)
        for _ in range(MOST_INSTANTS):
            now = NEVER if slot is None else leaf.aggregate.next_change(slot, now)
            if now >= NEVER:
                break
            later = leaf.aggregate.value(slot, now)
            if not same(later, value) and later is not value:
                answer.until, answer.becomes = rfc3339(now), self._shown(later, node.type)
                break
        return answer

    def _segment(self, name: str) -> Explanation:
        segment = self.compiled.definitions.segments[name]
        rule = next(rule for rule in self.compiled.rules if rule.is_segment and rule.name == name)
        answer = self._answer("segment", name, segment.description, rule.purpose)
        entered = self.profile.segments.get(rule.key)
        answer.value = entered is not None
        answer.since = rfc3339(entered) if entered is not None else ""
        self.expanded.add(f"segment:{name}")
        answer.tree = self._part(segment.condition, condition=True)
        self._watch(lambda profile: rule.key in profile.segments, answer, lambda value: value)
        self._look_ahead()
        answer.precision = self._precision()
        answer.change = self._need(segment.condition, want=not answer.value)
        if rule.purpose is not None and not rule.purpose.holds(self.profile):
            agreed = Need(f"consent to {rule.purpose.name}")
            met = answer.tree.holds or answer.change is None
            answer.change = agreed if met else Need(all=[agreed, answer.change])
        return answer

    def _derived(self, name: str) -> Explanation:
        derived = self.compiled.definitions.derived[name]
        answer = self._answer("feature", name, derived.description)
        answer.tree = self._part(derived.value)
        answer.value = answer.tree.value
        answer.precision = self._precision()
        return answer

    def _stage(self) -> Explanation:
        answer = self._answer("stage", "stage", "")
        stage = self.profile.stage
        if stage:
            answer.value, answer.since = stage[0], rfc3339(stage[1])
        answer.tree = Part("stage", "stage", answer.value)
        for one in self.compiled.definitions.stages:
            condition = self._part(one.condition, condition=True)
            kept = f"kept for {spell_duration(one.stay)}" if one.stay else ""
            whole = [] if isinstance(one.condition, Literal) else [condition]
            answer.tree.parts.append(Part(one.name, "stage", holds=condition.holds, definition=kept, parts=whole))
        self._watch(lambda profile: profile.stage[0] if profile.stage else None, answer, lambda value: value)
        self._look_ahead()
        answer.precision = self._precision()
        return answer

    def _tag(self, name: str) -> Explanation:
        tag = self.compiled.definitions.tags[name]
        rule = next(rule for rule in self.compiled.rules if rule.kind == "tag" and rule.name == name)
        answer = self._answer("tag", name, tag.description, rule.purpose)
        answer.value = rule.shown(self.profile.tags.get(rule.key))
        self.expanded.add(f"tag:{name}")
        answer.tree = self._tag_part(name)
        self._watch(lambda profile: profile.tags.get(rule.key), answer, rule.shown)
        self._look_ahead()
        answer.precision = self._precision()
        return answer

    def _trigger(self, name: str) -> Explanation:
        trigger = self.compiled.definitions.triggers[name]
        compiled = next(one for one in self.compiled.triggers if one.name == name)
        answer = self._answer("trigger", name, trigger.description)
        due = waits_until(self.profile, compiled)
        answer.value = due is not None
        answer.until = rfc3339(due) if due is not None else ""
        answer.gates = gates(self.profile, compiled, trigger)
        answer.decisions = decisions(self.profile, compiled)
        if trigger.condition is not None:
            starts = [self.profile.waiting[key] for key in waiting_of(self.profile, compiled)]
            first = min(starts, key=lambda start: start.due) if starts else None
            captured = dict(zip(compiled.captured, first.captured, strict=False)) if first else {}
            answer.tree = self._part(trigger.condition, captured, condition=True)
            answer.precision = self._precision()
        return answer

    def _precision(self) -> str:
        rough = sorted({f"{name}: {text}" for name, text in self.precisions.items() if text != "exact"})
        return "; ".join(rough) or "exact"

    # ---- the tree ----------------------------------------------------------------------------------------------

    def _part(self, node: Node, captured: Mapping[str, Any] | None = None, *, condition: bool = False) -> Part:
        """A node with its value. condition: it stands where only true counts, whatever its type."""
        read = closure(node, reader_of(self.compiled, captured))
        value = read(self.profile, None)
        part = Part(unparse(node), _kind(node), self._shown(value, node.type))
        if condition or node.type is Type.BOOLEAN:
            part.holds = value is True
            if captured is None and not isinstance(node, Literal):
                self._watch_part(part, read, node)
        match node:
            case Name(kind="feature", name=name) | OneKey(name=name):
                self._describe(part, name)
            case Name(kind="segment", name=name):
                part.definition = unparse(self.compiled.definitions.segments[name].condition)
                if self._first(f"segment:{name}"):
                    part.parts = [self._part(self.compiled.definitions.segments[name].condition, condition=True)]
            case Name(kind="tag", name=name):
                part.definition = unparse(self.compiled.definitions.tags[name].value)
                if self._first(f"tag:{name}"):
                    part.parts = self._tag_part(name).parts
            case _:
                part.parts = [
                    self._part(child, captured, condition=isinstance(node, Logical | Not))
                    for child in children(node)
                    if not isinstance(child, Literal)
                ]
        return part

    def _tag_part(self, name: str) -> Part:
        """A tag: its value, and the condition under which it has one."""
        tag = self.compiled.definitions.tags[name]
        part = self._part(tag.value)
        if tag.when is None:
            return part
        when = self._part(tag.when, condition=True)
        value = part.value if when.holds else None
        return Part(f"({part.text}) when {when.text}", "tag", value, parts=[part, when])

    def _first(self, identity: str) -> bool:
        """Whether a rule is met for the first time: its parts are shown once."""
        new = identity not in self.expanded
        self.expanded.add(identity)
        return new

    def _describe(self, part: Part, name: str) -> None:
        """What is known of a feature: its definition, the events that count, how exact it is."""
        feature, leaf, now = self.compiled.definitions.features[name], self.compiled.features[name], self.profile.now
        self.leaves[name] = leaf
        slot = self._slot(name)
        held = evidence(leaf.aggregate, slot, now)
        part.definition = described(feature)
        part.events = [Event(rfc3339(event.at), event.message_id, event.value) for event in held.events]
        part.more, part.counts = held.more, held.values
        most = at_most(leaf.aggregate)
        part.precision = self._feature_precision(leaf, slot)
        if most is not None and part.value == most and part.precision == "exact":
            part.precision = f"{most} or more: no rule asks further"
        self.precisions[name] = part.precision if most is None or part.value != most else "exact"

    def _feature_precision(self, leaf: Leaf, slot: Any) -> str:
        came = self.warming.get(leaf.key)
        if came is not None and misses(came, leaf.aggregate, slot, self.profile.now):
            return f"warming since {rfc3339(came.time)}"
        return uncertainty(leaf.aggregate, slot, self.profile.now) or "exact"

    def _slot(self, name: str) -> Any:
        return self.profile.slots.get(self.compiled.features[name].key)

    def _shown(self, value: Any, type_: Type) -> Any:
        if type_ is Type.TIME and isinstance(value, int):
            return rfc3339(value)
        if type_ is Type.DURATION and isinstance(value, int):
            return spelled(value)
        if type(value) is dict:  # by key, as texts
            return {key.removeprefix("\0"): self._shown(item, type_) for key, item in value.items()}
        return f"{len(value)} texts" if isinstance(value, frozenset) else value

    # ---- what time alone will change ---------------------------------------------------------------------------

    def _watch(self, read: Callable[[Profile], Any], answer: Explanation, shown: Callable[[Any], Any]) -> None:
        def changed(at: str, value: Any) -> None:
            answer.until, answer.becomes = at, shown(value)

        self.watched.append(_Watched(read, read(self.profile), changed))

    def _watch_part(self, part: Part, read: Closure, node: Node) -> None:
        def changed(at: str, _: Any) -> None:
            part.until = self.untils[unparse(node)] = at

        self.watched.append(_Watched(lambda profile: read(profile, None) is True, part.holds, changed))

    def _look_ahead(self) -> None:
        """Let a copy pass the instants to come, in order, and note when each watched value first changes."""
        copy = profiles.decode(self.profile.key, profiles.encode(self.profile))
        left = self.watched
        copy.wake_at = self.engine.next_wake(copy)
        for _ in range(MOST_INSTANTS):
            if not left or copy.wake_at >= NEVER:
                return
            instant = copy.wake_at
            self.engine.advance(copy, instant, Outbox(self.compiled.version), simulated=True)
            copy.now = max(copy.now, instant)
            still = []
            for one in left:
                value = one.read(copy)
                if same(value, one.now) or (value is None and one.now is None):
                    still.append(one)
                else:
                    one.changed(rfc3339(instant), value)
            left = still

    def _need(self, node: Node, *, want: bool) -> Need:
        """What must come about for a condition to become what it is not."""
        needs = Needs(self.compiled.definitions, self._value)
        match node:
            case Logical(operator=operator, items=items):
                open_ = [item for item in items if (self._value(item) is True) is not want]
                found = [self._need(item, want=want) for item in open_]
                if len(found) == 1:
                    return found[0]
                return Need(all=found) if (operator == "and") is want else Need(any=found)
            case Not(item=item):
                return self._need(item, want=not want)
            case Name(kind="segment", name=name):
                inner = self._need(self.compiled.definitions.segments[name].condition, want=want)
                return Need(needs.of(node, want=want), self.untils.get(unparse(node), ""), all=[inner])
            case _:
                return Need(needs.of(node, want=want), self.untils.get(unparse(node), ""))

    def _value(self, node: Node) -> Any:
        return closure(node, reader_of(self.compiled))(self.profile, None)


def _kind(node: Node) -> str:
    match node:
        case Name(kind=kind):
            return kind
        case Path(root="traits"):
            return "trait"
        case Path() | EventField():
            return "event"
        case Logical(operator=operator):
            return operator
        case Call(function=function):
            return function
        case _:
            return type(node).__name__.lower()


def _feature_type(feature: Feature) -> Type:
    """Type of a feature's value."""
    kind = AGGREGATES.get(feature.aggregate)
    if kind is not None and kind.result is not None:
        return kind.result
    return Type.ANY if feature.value is None else feature.value.type
