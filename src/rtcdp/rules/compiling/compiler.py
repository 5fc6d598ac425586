"""From checked definitions to what the engine runs: a reverse index, so that an event costs what it touches.

event name -> the leaves that it updates -> the rules that read them -> the rules that read those, and the triggers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from rtcdp.profile import Profile, slot_key
from rtcdp.rules.compiling.compiled import Compiled, Ending, Plan, Rule, as_it_is
from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger, compile_trigger
from rtcdp.rules.compiling.features import Leaf, Readers
from rtcdp.rules.compiling.gates import Rules
from rtcdp.rules.compiling.interpreter import Closure, closure, condition
from rtcdp.rules.compiling.ordering import Lifecycle, Ruled, Watch, identity, reads_of, rule_order
from rtcdp.rules.compiling.projection import Projection
from rtcdp.rules.compiling.purposes import SAYS, CompiledPurpose, compile_consent, consent_paths
from rtcdp.rules.compiling.readers import EventReader, PayloadReader, ProfileReader
from rtcdp.rules.compiling.reads import Reads, collect
from rtcdp.rules.compiling.roles import reading
from rtcdp.rules.compiling.updates import Update
from rtcdp.rules.definitions import ANY_EVENT, Definitions, Feature, Segment, Tag
from rtcdp.rules.expressions.tree import Compare, Literal, Logical, Name, Node, Path, Type, walk
from rtcdp.rules.sending import Trigger, fired, looked_at
from rtcdp.rules.undisturbed import undisturbed
from rtcdp.times.timestamps import render

# Features that rules may compare with constants without being looked at for every change.
_WHOLE_NUMBERS = frozenset({"count", "sum", "unique", "sequence", "sessions", "bounces"})
_DISPATCH_FROM = 4  # leaves told apart by one property's value, from which a table pays


class _Compiler:
    """One compilation."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.projection = Projection(_event_paths(definitions))
        self.features: dict[str, Leaf] = {}
        self.unfit: Counter[str] = Counter()
        self.profile = ProfileReader(definitions, self.features)
        self.event = EventReader(definitions, self.projection)
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
            of_profile=lambda node: closure(node, self.profile),
            of_event=lambda node: closure(node, self.event),
            attribute=self.projection.attribute,
            lifecycle=next((rule for rule in rules if rule.kind == "stage"), None),
            ending=self._ending(),
            consent=self.consent,
            unfit=self.unfit,
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
                made.append(closure(node, self.profile))
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
        reader = self.event
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
                unfit = partial(self._count_unfit, name)
                where, value_of = reading(feature, reader, unfit)
                made[text] = Leaf(
                    feature,
                    Readers(tuple(sorted(read)), gates, since[text], named[text], keyed[text]),
                    where,
                    value_of,
                    self.projection.attribute(feature.value),
                    self._purpose(feature.purpose),
                    unfit,
                )
                leaves[made[text].key] = made[text]
            self.features[name] = made[text]
        return leaves

    def _count_unfit(self, name: str) -> None:
        self.unfit[name] += 1

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
        reader = self.profile
        match rule:
            case Segment(condition=node):
                entered, exited, purpose = starts["entered", name], starts["exited", name], self._purpose(rule.purpose)
                value = _with_consent(closure(node, reader), purpose)
                return make("segment", value, entered=entered, exited=exited, purpose=purpose)
            case Tag(value=node, when=when):
                shown = _time_as_text if node.type is Type.TIME else as_it_is
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
        payload = PayloadReader(self.definitions, self.features, self.event)
        purpose = self._purpose(trigger.purpose)
        return compile_trigger(index, self.definitions, trigger, payload, self.profile, self.event, _sent, purpose)

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


@undisturbed()
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
