"""From checked definitions to what the engine runs: a reverse index, so that an event costs what it touches.

event name -> the leaves that it updates -> the rules that read them -> the rules that read those, and the triggers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtcdp.profile import Profile, slot_key
from rtcdp.rules.definitions import (
    ANY_EVENT,
    Cap,
    Definitions,
    Feature,
    Segment,
    Tag,
    Trigger,
    Unless,
)
from rtcdp.rules.expressions import Compare, EventField, Literal, Logical, Name, Node, Path, Type, unparse, walk
from rtcdp.rules.features import Leaf, Update
from rtcdp.rules.gates import Rules
from rtcdp.rules.interpreter import Closure, Reader, closure, condition, follow
from rtcdp.rules.projection import Projection
from rtcdp.rules.reads import Reads, collect, trait_name
from rtcdp.timestamps import render

_DISPATCH_FROM = 4  # leaves told apart by one property's value, from which a table pays


@dataclass(frozen=True)
class Rule:
    """A tag or a segment, ready to be looked at.

    key:        name of its place in the profile.
    value:      the tag's value, or the segment's condition: `(profile, None) -> value`.
    when:       condition of a tag.
    shown:      a tag's value as outputs show it: times are RFC 3339.
    dependents: rules that read this one; all of them later in the order.
    entered, exited: triggers that start with it.
    """

    index: int
    name: str
    key: str
    is_segment: bool
    value: Closure
    when: Closure | None
    shown: Callable[[Any], Any]
    dependents: Rules
    entered: tuple[CompiledTrigger, ...]
    exited: tuple[CompiledTrigger, ...]


@dataclass(frozen=True)
class CompiledTrigger:
    """A trigger, ready to be run. Durations in ms.

    where:    on the starting event.
    unless:   what calls it off; `unless_where` is its condition, `same` are getters whose values must be equal.
    captures: getters of what the payload reads of the starting event, in the order of the captured list;
              `captured` are their texts.
    payload:  name -> `(profile, captured) -> value`.
    """

    index: int
    name: str
    key: str
    after: int
    where: Closure | None
    condition: Closure | None
    unless: Unless | None
    unless_where: Closure | None
    same: tuple[Closure, ...]
    caps: tuple[Cap, ...]
    max_age: int
    channel: str
    captures: tuple[Closure, ...]
    captured: tuple[str, ...]
    payload: tuple[tuple[str, Closure], ...]


@dataclass
class Plan:
    """What events of one name do: update leaves, cancel and start triggers (`triggers`: whether there are any)."""

    updates: list[Update] = field(default_factory=list)
    tables: list[tuple[Callable[[Any], Any], dict[str, list[Update]]]] = field(default_factory=list)
    cancels: list[CompiledTrigger] = field(default_factory=list)
    starts: list[CompiledTrigger] = field(default_factory=list)
    triggers: bool = False


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
        return lambda profile, event: key in profile.segments

    def _feature(self, name: str) -> Closure:
        return self._compiler.features[name].reader()

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
        self.order: list[Tag | Segment] = _rule_order(definitions)
        self.reads = [_rule_reads(rule) for rule in self.order]

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
        )

    def _leaves(self) -> dict[str, Leaf]:
        """One leaf per different aggregate; features of equal meaning share it."""
        readers: dict[str, set[int]] = defaultdict(set)
        gated: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
        since: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
        named: dict[str, list[tuple[str, int]]] = defaultdict(list)
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
        whole = {normal[name] for name in self._read_whole()}
        reader = _EventReader(self)
        leaves: dict[str, Leaf] = {}
        made: dict[str, Leaf] = {}
        for name, feature in self.definitions.features.items():
            text = feature.normal
            if text not in made:
                read, gates = readers[text], gated[text]
                if feature.aggregate not in ("count", "sum", "unique") or text in whole:
                    # only where every reader compares with constants may a window keep less than it holds
                    read = read | {rule for _, _, rule in gates}
                    gates = []
                if feature.aggregate != "most_frequent" or feature.within is not None:
                    read = read | {rule for _, rule in named.pop(text, ())}
                made[text] = Leaf(
                    feature,
                    tuple(sorted(read)),
                    gates,
                    since[text],
                    named[text],
                    condition(feature.where, reader),
                    None if feature.value is None else closure(feature.value, reader),
                    self.projection.attribute(feature.value),
                )
                leaves[made[text].key] = made[text]
            self.features[name] = made[text]
        return leaves

    def _read_whole(self) -> set[str]:
        """Windowed counts that a payload or a trigger's condition reads as they are."""
        reads = Reads()
        for trigger in self.definitions.triggers.values():
            for node in (trigger.condition, *trigger.payload.values()):
                for item in walk(node) if node is not None else ():
                    if isinstance(item, Name) and item.kind == "feature":
                        reads.features.add(item.name)
        return {name for name in reads.features if self.definitions.features[name].within is not None}

    def _rules(self, triggers: dict[str, CompiledTrigger]) -> tuple[Rule, ...]:
        index_of = {_identity(rule): index for index, rule in enumerate(self.order)}
        dependents: dict[int, list[int]] = defaultdict(list)
        for index, reads in enumerate(self.reads):
            for identity in reads.names:
                dependents[index_of[identity]].append(index)
        starts: dict[tuple[str, str], list[CompiledTrigger]] = defaultdict(list)
        for name, trigger in self.definitions.triggers.items():
            starts[trigger.on.kind, trigger.on.name].append(triggers[name])
        reader = _ProfileReader(self)
        return tuple(
            Rule(
                index=index,
                name=rule.name,
                key=slot_key(":".join(_identity(rule))),
                is_segment=isinstance(rule, Segment),
                value=closure(rule.condition if isinstance(rule, Segment) else rule.value, reader),
                when=condition(rule.when, reader) if isinstance(rule, Tag) else None,
                shown=_time_as_text if isinstance(rule, Tag) and rule.value.type is Type.TIME else _as_it_is,
                dependents=tuple(dependents[index]),
                entered=tuple(starts["entered", rule.name]) if isinstance(rule, Segment) else (),
                exited=tuple(starts["exited", rule.name]) if isinstance(rule, Segment) else (),
            )
            for index, rule in enumerate(self.order)
        )

    def _trigger(self, index: int, trigger: Trigger) -> CompiledTrigger:
        event = _EventReader(self)
        payload = _PayloadReader(self)
        unless = trigger.unless
        fires = condition(trigger.condition, payload)
        values = tuple((name, _sent(node, closure(node, payload))) for name, node in trigger.payload.items())
        return CompiledTrigger(
            index=index,
            name=trigger.name,
            key=slot_key(f"trigger:{trigger.name}"),
            after=trigger.after,
            where=condition(trigger.on.where, event),
            condition=fires,
            unless=unless,
            unless_where=condition(unless.where, event) if unless else None,
            same=tuple(closure(node, event) for node in unless.same) if unless else (),
            caps=trigger.caps,
            max_age=trigger.max_age,
            channel=trigger.channel,
            captures=tuple(payload.captures),
            captured=tuple(payload.captured),
            payload=values,
        )

    def _plans(self, leaves: dict[str, Leaf], triggers: dict[str, CompiledTrigger], rest: Plan) -> dict[str, Plan]:
        names: set[str] = set()
        for leaf in leaves.values():
            names.update(leaf.events)
        for trigger in self.definitions.triggers.values():
            names.update(trigger.unless.events if trigger.unless else ())
            names.update([trigger.on.name] if trigger.on.kind == "event" else ())
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
        for _, plan in everything:
            plan.triggers = bool(plan.cancels or plan.starts)
        return plans

    def _dispatch(self, plan: Plan, leaves: list[Leaf], features: dict[str, Feature]) -> None:
        """Leaves of one event that one property's value tells apart are looked up by that value."""
        by_property: dict[tuple[str, tuple[str, ...]], list[tuple[str, Leaf]]] = defaultdict(list)
        rest: list[Leaf] = []
        for leaf in leaves:
            told = _told_apart(features[leaf.key].where)
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


def _as_it_is(value: Any) -> Any:
    return value


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


def _identity(rule: Tag | Segment) -> tuple[str, str]:
    return ("segment" if isinstance(rule, Segment) else "tag", rule.name)


def _rule_reads(rule: Tag | Segment) -> Reads:
    if isinstance(rule, Segment):
        return collect(rule.condition, Reads())
    return collect(rule.when, collect(rule.value, Reads()))


def _rule_order(definitions: Definitions) -> list[Tag | Segment]:
    """Tags, then segments; what another reads comes before it. The loader has refused cycles."""
    all_rules: list[Tag | Segment] = [*definitions.tags.values(), *definitions.segments.values()]
    rules = {_identity(rule): rule for rule in all_rules}
    reads = {name: sorted(_rule_reads(rule).names) for name, rule in rules.items()}
    order: dict[tuple[str, str], Tag | Segment] = {}
    for first in rules:
        stack = [first]
        while stack:
            missing = next((name for name in reads[stack[-1]] if name not in order), None)
            if missing is None:
                name = stack.pop()
                order.setdefault(name, rules[name])
            else:
                stack.append(missing)
    return list(order.values())


def _initial(rules: tuple[Rule, ...]) -> Rules:
    """Rules to look at when a profile is first seen: all that hold of an empty one, and those that read them."""
    empty = Profile("")
    initial: set[int] = set()
    for rule in rules:
        value = rule.value(empty, None)
        if rule.is_segment:
            holds = value is True
            if holds:
                empty.segments[rule.key] = 0
        else:
            holds = value is not None and (rule.when is None or rule.when(empty, None))
            if holds:
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
        nodes += [feature.value, feature.where]
    for trigger in definitions.triggers.values():
        nodes += [trigger.on.where, trigger.condition, *trigger.payload.values()]
        if trigger.unless:
            nodes += [trigger.unless.where, *trigger.unless.same]
    for node in nodes:
        for item in walk(node) if node is not None else ():
            if isinstance(item, Path) and item.root != "traits":
                yield item.root, item.parts
