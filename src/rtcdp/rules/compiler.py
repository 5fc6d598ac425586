"""From checked definitions to what the engine runs: a reverse index, so that an event costs what it touches.

event name -> the leaves that it updates -> the rules that read them -> the rules that read those, and the triggers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from typing import Literal as LiteralType

from rtcdp.profile import Profile, slot_key
from rtcdp.rules.compiled_triggers import CompiledTrigger, compile_trigger
from rtcdp.rules.definitions import ANY_EVENT, Definitions, Feature, Segment, Tag
from rtcdp.rules.expressions import Compare, EventField, Literal, Logical, Name, Node, Part, Path, Type, unparse, walk
from rtcdp.rules.features import Leaf, Readers, Update
from rtcdp.rules.gates import Rules
from rtcdp.rules.interpreter import Closure, Reader, closure, condition, follow
from rtcdp.rules.ordering import Lifecycle, Ruled, Watch, identity, reads_of, rule_order
from rtcdp.rules.projection import Projection
from rtcdp.rules.purposes import SAYS, CompiledConsent, CompiledPurpose, compile_consent, consent_paths
from rtcdp.rules.reads import Reads, collect, trait_name
from rtcdp.rules.roles import reading
from rtcdp.rules.sending import Trigger, fired, looked_at
from rtcdp.timestamps import render

# Features that rules may compare with constants without being looked at for every change.
_WHOLE_NUMBERS = frozenset({"count", "sum", "unique", "sequence", "sessions", "bounces"})
_DISPATCH_FROM = 4  # leaves told apart by one property's value, from which a table pays
RuleKind = LiteralType["tag", "segment", "stage", "schedule", "guard", "ending", "consent"]


def _as_it_is(value: Any) -> Any:
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
    shown: Callable[[Any], Any] = _as_it_is
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


class _ProfileReader:
    """Leaves of rules: features, tags, segments, traits of the profile."""

    def __init__(self, compiler: _Compiler | Compiled) -> None:
        self._compiler = compiler

    def name(self, node: Name) -> Closure:
        if node.kind == "feature":
            return self._feature(node.name)
        if node.kind == "list":
            members = self._compiler.definitions.lists[node.name]
            return lambda profile, event: members
        key = slot_key(f"{node.kind}:{node.name}")
        if node.kind == "tag":
            return lambda profile, event: profile.tags.get(key)
        if node.kind == "stage":
            return lambda profile, event: profile.stage[0] if profile.stage else None
        return lambda profile, event: key in profile.segments

    def _feature(self, name: str) -> Closure:
        return self._compiler.features[name].reader()

    def part(self, node: Part) -> Closure:
        return self._compiler.features[node.name].part_reader(node.key)

    def path(self, node: Path) -> Closure:
        if node.root != "traits":
            message = f"{node.root} is not readable here"
            raise TypeError(message)
        name = trait_name(node.parts)
        rest = node.parts[2:] if name != node.parts[0] else node.parts[1:]
        if not rest:
            return lambda profile, event: profile.trait(name)
        return lambda profile, event: follow(profile.trait(name), rest)

    def field(self, node: EventField) -> Closure:
        message = f"{node.name} is not readable here"
        raise TypeError(message)

    def since(self, node: Node) -> Closure:
        then = closure(node, self)

        def elapsed(profile: Profile, event: Any) -> int | None:
            at = then(profile, event)
            return None if at is None else profile.now - at

        return elapsed


class _EventReader:
    """Leaves of `where` and of what is aggregated: the event alone."""

    def __init__(self, compiler: _Compiler) -> None:
        self._compiler = compiler

    def name(self, node: Name) -> Closure:
        members = self._compiler.definitions.lists[node.name]
        return lambda profile, event: members

    def part(self, node: Part) -> Closure:
        message = f"{node.name} is not readable of an event"
        raise TypeError(message)

    def path(self, node: Path) -> Closure:
        if node.root == "traits":
            parts = node.parts
            return lambda profile, event: follow(event.traits, parts)
        get = self._compiler.projection.getter(node.root, node.parts)
        return lambda profile, event: get(event)

    def field(self, node: EventField) -> Closure:
        if node.name == "message_id":
            return lambda profile, event: event.id
        if node.name == "occurred":
            return lambda profile, event: event.occurred
        if node.name == "event":
            return lambda profile, event: event.event
        return lambda profile, event: event.channel or None

    def since(self, node: Node) -> Closure:
        message = "since() is not readable of an event"
        raise TypeError(message)


class _PayloadReader(_ProfileReader):
    """Leaves of a trigger's `if` and payload: the profile when it fires, and what was captured when it started."""

    def __init__(self, compiler: _Compiler) -> None:
        super().__init__(compiler)
        self.captures: list[Closure] = []
        self.captured: list[str] = []
        self._event = _EventReader(compiler)

    def _capture(self, node: Node, read: Closure) -> Closure:
        place = len(self.captures)
        self.captures.append(read)
        self.captured.append(unparse(node))
        return lambda profile, captured: captured[place] if captured else None

    def path(self, node: Path) -> Closure:
        return super().path(node) if node.root == "traits" else self._capture(node, self._event.path(node))

    def field(self, node: EventField) -> Closure:
        return self._capture(node, self._event.field(node))


class _FiringReader(_ProfileReader):
    """Leaves of a trigger's `if` for those who ask why: the profile, and what was captured of the start, by its text."""

    def __init__(self, compiled: Compiled, captured: Mapping[str, Any]) -> None:
        super().__init__(compiled)
        self._captured = captured

    def path(self, node: Path) -> Closure:
        return super().path(node) if node.root == "traits" else self._of_event(node)

    def field(self, node: EventField) -> Closure:
        return self._of_event(node)

    def _of_event(self, node: Node) -> Closure:
        value = self._captured.get(unparse(node))
        return lambda profile, event: value


def reader_of(compiled: Compiled, captured: Mapping[str, Any] | None = None) -> Reader:
    """Make what reads the leaves of any expression of these definitions off a profile.

    captured: what a trigger's start has captured, by its text; without it an expression sees the profile alone.
    """
    return _ProfileReader(compiled) if captured is None else _FiringReader(compiled, captured)


class _Compiler:
    """One compilation."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.projection = Projection(_event_paths(definitions))
        self.features: dict[str, Leaf] = {}
        self.order = rule_order(definitions)
        self.reads = [reads_of(rule) for rule in self.order]
        self.consent = compile_consent(definitions.consent, self._region, self.projection.getter)

    def compile(self) -> Compiled:
        leaves = self._leaves()
        triggers = {name: self._trigger(index, t) for index, (name, t) in enumerate(self.definitions.triggers.items())}
        rules = self._rules(triggers)
        plan = Plan()
        plans = self._plans(leaves, triggers, plan)
        return Compiled(
            version=self.definitions.version,
            definitions=self.definitions,
            features=self.features,
            leaves=leaves,
            timed={key: leaf for key, leaf in leaves.items() if leaf.timed},
            rules=rules,
            triggers=tuple(triggers.values()),
            by_key={trigger.key: trigger for trigger in triggers.values()},
            plans=plans,
            plan=plan,
            traits=self._traits(),
            initial=_initial(rules),
            event=self.projection.event,
            decode=self.projection.decode,
            of_profile=lambda node: closure(node, _ProfileReader(self)),
            of_event=lambda node: closure(node, _EventReader(self)),
            attribute=self.projection.attribute,
            lifecycle=next((rule for rule in rules if rule.kind == "stage"), None),
            ending=self._ending(),
            consent=self.consent,
        )

    def _region_reads(self) -> set[str]:
        """Features that the region is read of: they come first, so that it counts from the event on that tells it."""
        consent = self.definitions.consent
        node = consent.region if consent is not None else None
        return {item.name for item in walk(node) if isinstance(item, Name)} if node is not None else set()

    def _region(self, node: Node) -> Closure:
        """Make what reads the region; features, which ask for consent themselves, are not there yet."""
        made: list[Closure] = []

        def read(profile: Profile, event: Any) -> Any:
            if not made:
                made.append(closure(node, _ProfileReader(self)))
            return made[0](profile, event)

        return read

    def _purpose(self, name: str) -> CompiledPurpose | None:
        return self.consent.purposes[name] if name and self.consent is not None else None

    def _leaves(self) -> dict[str, Leaf]:
        """One leaf per different aggregate; features of equal meaning share it."""
        readers: dict[str, set[int]] = defaultdict(set)
        gated: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
        since: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
        named: dict[str, list[tuple[str, int]]] = defaultdict(list)
        keyed: dict[str, list[tuple[str, int]]] = defaultdict(list)
        normal = {name: feature.normal for name, feature in self.definitions.features.items()}
        for index, reads in enumerate(self.reads):
            for name in reads.features:
                readers[normal[name]].add(index)
            for name, operator, constant in reads.gated:
                gated[normal[name]].append((operator, constant, index))
            for name, operator, constant in reads.since:
                since[normal[name]].append((operator, constant, index))
            for name, value in reads.named:
                named[normal[name]].append((value, index))
            for name, key in sorted(reads.parts):
                keyed[normal[name]].append((key, index))
        whole = {normal[name] for name in self._read_whole()}
        reader = _EventReader(self)
        leaves: dict[str, Leaf] = {}
        made: dict[str, Leaf] = {}
        first = self._region_reads()
        for name, feature in sorted(self.definitions.features.items(), key=lambda each: each[0] not in first):
            text = feature.normal
            if text not in made:
                read, gates = readers[text], gated[text]
                if feature.aggregate not in _WHOLE_NUMBERS or text in whole:
                    # only where every reader compares with constants may a window keep less than it holds
                    read = read | {rule for _, _, rule in gates}
                    gates = []
                if feature.aggregate != "most_frequent" or not feature.is_plain:
                    read = read | {rule for _, rule in named.pop(text, ())}
                where, value_of = reading(feature, reader)
                made[text] = Leaf(
                    feature,
                    Readers(tuple(sorted(read)), gates, since[text], named[text], keyed[text]),
                    where,
                    value_of,
                    self.projection.attribute(feature.value),
                    self._purpose(feature.purpose),
                )
                leaves[made[text].key] = made[text]
            self.features[name] = made[text]
        return leaves

    def _read_whole(self) -> set[str]:
        """Windowed counts that a payload or a trigger's condition reads as they are."""
        reads = Reads()
        for feature in self.definitions.derived.values():
            collect(feature.value, reads)
        reads.features |= {name for name, *_ in reads.gated} | {name for name, *_ in reads.since}
        reads.features |= {name for name, _ in reads.named}
        for trigger in self.definitions.triggers.values():
            for node in fired(trigger):
                for item in walk(node):
                    if isinstance(item, Name) and item.kind == "feature":
                        reads.features.add(item.name)
        return {name for name in reads.features if self.definitions.features[name].within is not None}

    def _rules(self, triggers: dict[str, CompiledTrigger]) -> tuple[Rule, ...]:
        index_of = {identity(rule): index for index, rule in enumerate(self.order)}
        dependents: dict[int, list[int]] = defaultdict(list)
        for index, reads in enumerate(self.reads):
            for read in reads.names:
                dependents[index_of[read]].append(index)
        starts: dict[tuple[str, str], tuple[CompiledTrigger, ...]] = defaultdict(tuple)
        for name, trigger in self.definitions.triggers.items():
            starts[trigger.on.kind, trigger.on.name] += (triggers[name],)
        return tuple(
            self._rule(index, rule, tuple(dependents[index]), starts, triggers) for index, rule in enumerate(self.order)
        )

    def _rule(
        self,
        index: int,
        rule: Ruled,
        dependents: Rules,
        starts: Mapping[tuple[str, str], tuple[CompiledTrigger, ...]],
        triggers: Mapping[str, CompiledTrigger],
    ) -> Rule:
        kind, name = identity(rule)
        make = partial(Rule, index, name, slot_key(f"{kind}:{name}"), dependents=dependents)
        reader = _ProfileReader(self)
        match rule:
            case Segment(condition=node):
                entered, exited, purpose = starts["entered", name], starts["exited", name], self._purpose(rule.purpose)
                value = _with_consent(closure(node, reader), purpose)
                return make("segment", value, entered=entered, exited=exited, purpose=purpose)
            case Tag(value=node, when=when):
                shown = _time_as_text if node.type is Type.TIME else _as_it_is
                changed, purpose = starts["changed", name], self._purpose(rule.purpose)
                value = _with_consent(closure(node, reader), purpose)
                return make("tag", value, when=condition(when, reader), shown=shown, changed=changed, purpose=purpose)
            case Lifecycle(stages=stages):
                return make(
                    "stage",
                    _wanted([(stage.name, closure(stage.condition, reader)) for stage in stages]),
                    starts={stage.name: starts["stage", stage.name] for stage in stages},
                    stays={stage.name: stage.stay for stage in stages},
                )
            case Watch(kind="consent"):
                return make("consent", _nothing)
            case Watch(kind="ending"):
                return make("ending", _nothing, ending=self._ending())
            case Watch(kind=watched, condition=node):
                return make(watched, closure(node, reader) if node is not None else _nothing, trigger=triggers[name])

    def _ending(self) -> Ending | None:
        """When profiles end; None: never."""
        expire = self.definitions.expire
        if expire.anonymous is None and expire.known is None:
            return None
        spaces = {space.name for space in self.definitions.identity.namespaces if space.paths == ("anonymousId",)}
        first, last = (slot_key(self.definitions.features[name].normal) for name in ("first_seen", "last_seen"))
        return Ending(first, last, expire.anonymous, expire.known, frozenset({"device", "anonymous_id"} | spaces))

    def _trigger(self, index: int, trigger: Trigger) -> CompiledTrigger:
        payload, profile, event = _PayloadReader(self), _ProfileReader(self), _EventReader(self)
        purpose = self._purpose(trigger.purpose)
        return compile_trigger(index, self.definitions, trigger, payload, profile, event, _sent, purpose)

    def _plans(self, leaves: dict[str, Leaf], triggers: dict[str, CompiledTrigger], rest: Plan) -> dict[str, Plan]:
        names: set[str] = set()
        for leaf in leaves.values():
            names.update(leaf.events)
        for trigger in self.definitions.triggers.values():
            names.update(trigger.unless.events if trigger.unless else ())
            names.update([trigger.on.name] if trigger.on.kind == "event" else ())
            names.update(triggers[trigger.name].awaits)
        collected = {name: event.purpose for name, event in self.definitions.tracking.events.items() if event.purpose}
        if self.consent is not None:
            names.update(SAYS, collected)
        plans = {name: Plan() for name in names if name != ANY_EVENT}
        features = {slot_key(feature.normal): feature for feature in self.definitions.features.values()}
        by_event: dict[str, list[tuple[int, Leaf]]] = defaultdict(list)
        for place, leaf in enumerate(leaves.values()):
            for name in set(leaf.events):
                by_event[name].append((place, leaf))
        everything = [*plans.items(), (ANY_EVENT, rest)]
        for name, plan in everything:
            mine = dict([*by_event[name], *by_event[ANY_EVENT]])
            self._dispatch(plan, [mine[place] for place in sorted(mine)], features)
        for trigger in self.definitions.triggers.values():
            compiled = triggers[trigger.name]
            for name in _concerned(trigger.unless.events if trigger.unless else (), plans):
                plans.get(name, rest).cancels.append(compiled)
            for name in _concerned((trigger.on.name,) if trigger.on.kind == "event" else (), plans):
                plans.get(name, rest).starts.append(compiled)
            for name in _concerned(compiled.awaits, plans):
                plans.get(name, rest).awaits.append(compiled)
        for name, purpose in collected.items():
            plans[name].purpose = self._purpose(purpose)
        for _, plan in everything:
            plan.triggers = bool(plan.cancels or plan.starts or plan.awaits)
        return plans

    def _dispatch(self, plan: Plan, leaves: list[Leaf], features: dict[str, Feature]) -> None:
        """Leaves of one event that one property's value tells apart are looked up by that value."""
        by_property: dict[tuple[str, tuple[str, ...]], list[tuple[str, Leaf]]] = defaultdict(list)
        rest: list[Leaf] = []
        for leaf in leaves:
            told = None if leaf.where is None else _told_apart(features[leaf.key].where)
            if told is None:
                rest.append(leaf)
            else:
                by_property[told[0]].append((told[1], leaf))
        for (root, parts), entries in by_property.items():
            if len(entries) < _DISPATCH_FROM:
                rest += [leaf for _, leaf in entries]
                continue
            table: dict[str, list[Update]] = defaultdict(list)
            for value, leaf in entries:
                table[value].append(leaf.update)
            plan.tables.append((self.projection.getter(root, parts), dict(table)))
        plan.updates = [leaf.update for leaf in rest]

    def _traits(self) -> dict[str, Rules]:
        found: dict[str, list[int]] = defaultdict(list)
        for index, reads in enumerate(self.reads):
            for name in reads.traits:
                found[name].append(index)
        return {name: tuple(indices) for name, indices in found.items()}


def compile_definitions(definitions: Definitions) -> Compiled:
    """Compile a checked set of definitions."""
    return _Compiler(definitions).compile()


def _time_as_text(value: Any) -> str | None:
    """A time (ms) as RFC 3339; None where there is none, or where the year has not four digits."""
    try:
        return None if value is None else render(int(value))
    except OverflowError:
        return None


def _sent(node: Node, read: Closure) -> Closure:
    """A value of a payload as it is sent: times are RFC 3339."""
    if node.type is not Type.TIME:
        return read
    return lambda profile, captured: _time_as_text(read(profile, captured))


def _concerned(events: Iterable[str], plans: dict[str, Plan]) -> set[str]:
    """Names of the plans that these event names concern: any event concerns all of them."""
    found = set(events)
    return found | set(plans) if ANY_EVENT in found else found


def _wanted(stages: list[tuple[str, Closure]]) -> Closure:
    """The first stage whose condition holds."""
    last = stages[-1][0]  # the loader has seen to it that it always holds

    def wanted(profile: Profile, event: Any) -> str:
        return next((name for name, holds in stages if holds(profile, event) is True), last)

    return wanted


def _nothing(profile: Profile, event: Any) -> None:
    return None


def _with_consent(value: Closure, purpose: CompiledPurpose | None) -> Closure:
    """The value, missing without consent to the purpose."""
    if purpose is None:
        return value
    holds = purpose.holds
    return lambda profile, event: value(profile, event) if holds(profile) else None


def _initial(rules: tuple[Rule, ...]) -> Rules:
    """Rules to look at when a profile is first seen: all that hold of an empty one, and those that read them."""
    empty = Profile("")
    initial: set[int] = set()
    for rule in rules:
        value = rule.value(empty, None) if rule.kind not in ("guard", "consent") else None
        holds = value is not None and (rule.when is None or rule.when(empty, None))
        if rule.kind == "segment":
            holds = value is True
            if holds:
                empty.segments[rule.key] = 0
        elif rule.kind == "stage":
            empty.stage = [value]
        elif holds:
            empty.tags[rule.key] = value
        if holds:
            initial.add(rule.index)
        if rule.index in initial:  # the first event may undo it before anybody has seen it
            initial.update(rule.dependents)
    return tuple(sorted(initial))


def _told_apart(where: Node | None) -> tuple[tuple[str, tuple[str, ...]], str] | None:
    """`properties.x == 'text'`, alone or within an `and`: the path and the text."""
    match where:
        case Logical(operator="and", items=items):
            return next((found for item in items if (found := _told_apart(item))), None)
        case Compare(
            operator="==", left=Path(root="properties" | "context" as root, parts=(_,) as parts), right=Literal(value=str(text))
        ):
            return (root, parts), text
    return None


def _event_paths(definitions: Definitions) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Every path of an event that some definition reads."""
    nodes: list[Node | None] = []
    for feature in definitions.features.values():
        nodes += feature.nodes
    for trigger in definitions.triggers.values():
        nodes += [*fired(trigger), *looked_at(trigger)]
    yield from consent_paths(definitions.consent)
    for node in nodes:
        for item in walk(node) if node is not None else ():
            if isinstance(item, Path) and item.root != "traits":
                yield item.root, item.parts
