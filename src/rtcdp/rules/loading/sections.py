"""The sections that are rules: features, tags, segments. From values of documents to checked definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from rtcdp.rules.definitions import ConsentPlan, Derived, Expire, Feature, Purpose, Segment, Stage, Tag, TrackingPlan
from rtcdp.rules.expressions.names import BUILT_IN_FEATURES, EVENT_FIELDS, EVENT_ROOTS, PROFILE_ROOTS
from rtcdp.rules.expressions.scope import Defined, Scope
from rtcdp.rules.expressions.scoring import Cuts
from rtcdp.rules.expressions.tree import WORD, Name, Node, Type, walk
from rtcdp.rules.loading.consent_section import known_purpose, purposes, region
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Value
from rtcdp.rules.loading.feature_section import (
    FeatureSection,
    built_in_features,
    built_in_type,
    derived_expressions,
    is_derived,
)
from rtcdp.rules.loading.lifecycle_section import condition_of, expire, lifecycle, written_stages
from rtcdp.rules.loading.limit_section import channel, group
from rtcdp.rules.loading.options import SEGMENT, TAG
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.loading.trigger_section import Triggers
from rtcdp.rules.sending import Channel, Group, Trigger, fired

_PLANNED = {"number": Type.NUMBER, "text": Type.TEXT, "boolean": Type.BOOLEAN, "list": Type.LIST}

Entries = AnyMapping[str, Entry]


def _rule_parts(entry: Entry) -> list[Value]:
    """The values of a tag, a segment or the lifecycle that are expressions."""
    if stages := written_stages(entry.value):
        return [condition for stage in stages.values() if (condition := condition_of(stage)) is not None]
    if not isinstance(entry.value, Mapping):
        return [entry.value]
    return [part.value for key, part in entry.value.entries.items() if key in ("if", "value", "when")]


@dataclass
class Sections:
    """Reads the rules of one set of definitions, in the order in which they may use each other."""

    reader: Reader
    plan: TrackingPlan
    lists: AnyMapping[str, frozenset[str]]
    cuts: AnyMapping[str, Cuts]
    features: dict[str, Feature] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    groups: dict[str, Group] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    expire: Expire = field(default_factory=Expire)
    consent: ConsentPlan | None = None
    _purposes: dict[str, Purpose] = field(default_factory=dict)
    _types: dict[str, Type] = field(default_factory=dict)
    _names: dict[str, Defined] = field(default_factory=dict)
    _hidden: dict[str, str] = field(default_factory=dict)
    _stages: dict[str, Entry] = field(default_factory=dict)
    _later: dict[str, str] = field(default_factory=dict)

    def read(self, written: AnyMapping[str, Entries]) -> None:
        """Read the sections that are rules, by name."""
        features, tags, segments = written["features"], written["tags"], written["segments"]
        consent = written["consent"].get("consent")
        self._purposes = {} if consent is None else purposes(self.reader, consent.value)
        lists = {name: Defined("list", Type.LIST) for name in self.lists}
        kinds = {"feature": [*features, *BUILT_IN_FEATURES], "tag": tags, "segment": segments}
        self._hidden = {name: f"an event knows no {kind}" for kind, names in kinds.items() for name in names}
        self._names = dict(lists)
        self._later = {
            name: f"a feature knows no {kind}" for kind, names in (("tag", tags), ("segment", segments)) for name in names
        }
        self._features(features, lists)
        self._rules(tags, segments, written["lifecycle"].get("lifecycle"))
        self._reactions(written)
        if consent is not None:
            place = region(self.reader, consent.value, self._feature_scope(), self.features)
            self.consent = ConsentPlan(self._purposes, place)
        self._add_built_in()

    # What expressions see

    def _planned(self, events: tuple[str, ...]) -> Callable[[str, tuple[str, ...]], Type]:
        """Types of paths by the tracking plan, for these events (none: of the profile)."""

        def planned(root: str, parts: tuple[str, ...]) -> Type:
            path = ".".join(parts)
            if root == "traits":
                known = self.plan.traits.get(path)
                return _PLANNED.get(known.type, Type.ANY) if known else Type.ANY
            types = set()
            for event in events:
                plan = self.plan.events.get(event)
                known = plan.properties.get(path) if plan and root == "properties" else None
                types.add(_PLANNED.get(known.type, Type.ANY) if known else Type.ANY)
            return types.pop() if len(types) == 1 else Type.ANY

        return planned

    def event_scope(self, events: tuple[str, ...], lists: AnyMapping[str, Defined] | None = None) -> Scope:
        """What expressions over one of these events see."""
        names = lists if lists is not None else {n: d for n, d in self._names.items() if d.kind == "list"}
        return Scope(
            "the event alone",
            EVENT_ROOTS,
            EVENT_FIELDS,
            names,
            self._hidden,
            self._planned(events),
            events=events,
        )

    def profile_scope(self, *, continuous: bool) -> Scope:
        """What expressions over a profile see. continuous: the value is followed as time passes."""
        return Scope(
            "the profile: features, tags, segments, traits and lists",
            PROFILE_ROOTS,
            names=self._names,
            planned=self._planned(()),
            continuous=continuous,
            cuts=self.cuts,
            scored=self.reader.scored,
        )

    def start_scope(self, events: tuple[str, ...]) -> Scope:
        """What `if` and `payload` of a trigger on an event see: the profile, and that event."""
        return Scope(
            "the profile and the starting event",
            EVENT_ROOTS,
            EVENT_FIELDS,
            {name: defined for name, defined in self._names.items() if name not in EVENT_FIELDS},
            planned=self._planned(events),
            events=events,
            cuts=self.cuts,
            scored=self.reader.scored,
        )

    def defined(self, kind: str) -> list[str]:
        """Names of the segments, tags or stages."""
        if kind == "stage":
            return list(self._stages)
        return [name for name, defined in self._names.items() if defined.kind == kind]

    def purpose(self, entry: Entry | None) -> str:
        """A purpose that is defined, or ""."""
        return known_purpose(self.reader, entry, self._purposes)

    # Features

    def _features(self, features: Entries, lists: AnyMapping[str, Defined]) -> None:
        """Aggregates, then expressions over them: each of those stands where its name is used."""
        section = FeatureSection(self.reader, lambda events: self.event_scope(events, lists), self.lists, self.purpose)
        for name in features:
            self._names[name] = Defined("feature", Type.ANY)  # known, even where its definition is wrong
        written = {name: entry for name, entry in features.items() if is_derived(entry)}
        for name, entry in sorted(features.items()):
            if name in written:
                continue
            feature, self._names[name] = section.feature(name, entry)
            if feature is not None:
                self.features[name] = feature
        built_in = built_in_features()
        for name, feature in built_in.items():
            self._names.setdefault(name, Defined("feature", built_in_type(name)))
            if self.features.get(name, feature).normal != feature.normal:
                hint = f'write {{{feature.aggregate}: "*"}}, or choose another name'
                self.reader.fail(features[name].key, f"'{name}' is built in and means something else", hint)
        for name in self._order(written, dict.fromkeys(written, "feature"), derived_expressions):
            node, description = section.derived(name, written[name], self._feature_scope())
            if name in built_in:
                self.reader.fail(written[name].key, f"'{name}' is built in and means something else", "choose another name")
            if node is not None:
                self._names[name] = Defined("feature", node.type, node=node)
                self.derived[name] = Derived(name, node, description)
        self.derived = dict(sorted(self.derived.items()))

    def _feature_scope(self) -> Scope:
        """What an expression over features sees."""
        names = {name: defined for name, defined in self._names.items() if defined.kind in ("feature", "list")}
        return Scope("features, traits and lists", PROFILE_ROOTS, names=names, hidden=self._later, planned=self._planned(()))

    # Tags and segments

    def _rules(self, tags: Entries, segments: Entries, lifecycle_entry: Entry | None) -> None:
        """Tags, segments and the stage may read each other, as long as none reads itself in the end."""
        kinds: dict[str, Literal["tag", "segment", "stage"]] = dict.fromkeys(segments, "segment")
        kinds.update(dict.fromkeys(tags, "tag"))
        for name, kind in kinds.items():
            self._names[name] = Defined(kind, Type.ANY if kind == "tag" else Type.BOOLEAN)
        written = {name: (tags if kind == "tag" else segments)[name] for name, kind in kinds.items()}
        if lifecycle_entry is not None:
            self._stages = written_stages(lifecycle_entry.value)
            self._names["stage"] = Defined("stage", Type.TEXT)
            kinds["stage"], written["stage"] = "stage", lifecycle_entry
        for name in self._order(written, kinds):
            if kinds[name] == "tag":
                self._tag(name, written[name])
            elif kinds[name] == "segment":
                self._segment(name, written[name])
            else:
                self.stages = lifecycle(self.reader, written[name].value, self.profile_scope(continuous=True))
        self.tags = dict(sorted(self.tags.items()))

    def _order(
        self, written: Entries, kinds: AnyMapping[str, str], parts: Callable[[Entry], list[Value]] = _rule_parts
    ) -> list[str]:
        """Names so that each reads only names before it, otherwise by name; what is in a cycle is left out."""
        reads = {name: self._names_in(parts(entry), kinds) for name, entry in sorted(written.items())}
        while True:
            sorter = TopologicalSorter(reads)
            try:
                sorter.prepare()
            except CycleError as error:
                # graphlib lists each before the one that reads it; people say who reads whom
                cycle = list(reversed(error.args[1]))
                start = cycle.index(min(cycle))
                cycle = [*cycle[start:-1], *cycle[:start], cycle[start]]
                called = "stage" if kinds[cycle[0]] == "stage" else f"{kinds[cycle[0]]} '{cycle[0]}'"
                message = f"the {called} reads itself: {' -> '.join(cycle)}"
                self.reader.fail(written[cycle[0]].key, message, "one of them must not read the next")
                for name in cycle:
                    reads.pop(name, None)
                reads = {name: names - set(cycle) for name, names in reads.items()}
                continue
            order: list[str] = []
            while sorter.is_active():
                ready = sorted(sorter.get_ready())
                order += ready
                sorter.done(*ready)
            return order

    def _names_in(self, expressions: list[Value], names: AnyMapping[str, str]) -> set[str]:
        """Which of these names the expressions of a definition read. Errors are left to the second reading."""
        quiet = Reader()
        scope = self.profile_scope(continuous=False)
        texts = [item for item in expressions if isinstance(item, Scalar) and names.keys() & WORD.findall(item.text)]
        nodes = [quiet.expression(item, scope, "") for item in texts]
        found = {node.name for top in nodes if top for node in walk(top) if isinstance(node, Name)}
        return found & names.keys()

    def _tag(self, name: str, entry: Entry) -> None:
        owner, scope = f"tag {name}", self.profile_scope(continuous=True)
        found: Entries = {"value": entry}
        if not isinstance(entry.value, Scalar):
            found = self.reader.options(entry.value, TAG, "a tag", entry.key) or {}
        value = self.reader.expression(found["value"].value, scope, owner) if "value" in found else None
        when = self.reader.condition(found.get("when"), scope, owner)
        description = self.reader.text(found.get("description"))
        if value is None:
            return
        if value.type is Type.LIST:
            self.reader.fail(found["value"].value, "a tag holds one value, not a list", offset=value.span.start)
        self._names[name] = Defined("tag", value.type)
        self.tags[name] = Tag(name, value, when, description, self.purpose(found.get("purpose")))

    def _segment(self, name: str, entry: Entry) -> None:
        found: Entries = {"if": entry}
        if not isinstance(entry.value, Scalar):
            found = self.reader.options(entry.value, SEGMENT, "a segment", entry.key) or {}
        node = self.reader.condition(found.get("if"), self.profile_scope(continuous=True), f"segment {name}")
        description = self.reader.text(found.get("description"))
        if node is not None:
            self.segments[name] = Segment(name, node, description, self.purpose(found.get("purpose")))

    # Triggers and what they share

    def _reactions(self, written: AnyMapping[str, Entries]) -> None:
        triggers = Triggers(self.reader, self)
        for name, entry in sorted(written["triggers"].items()):
            trigger = triggers.read(name, entry)
            if trigger is not None:
                self.triggers[name] = trigger
        taken: dict[str, str] = {}
        for name, entry in sorted(written["groups"].items()):
            self.groups[name] = group(self.reader, name, entry, self._trait, sorted(written["triggers"]), taken)
        self.channels = {name: channel(self.reader, name, it, self._trait) for name, it in sorted(written["channels"].items())}
        if ends := written["expire"].get("expire"):
            self.expire = expire(self.reader, ends.value)

    def _trait(self, value: Value) -> Node | None:
        return self.reader.expression(value, self.profile_scope(continuous=False), "")

    # Afterwards

    def nodes(self) -> Iterable[Node]:
        """Every expression that may read features."""
        yield from (feature.value for feature in self.derived.values())
        for tag in self.tags.values():
            yield tag.value
            if tag.when:
                yield tag.when
        for segment in self.segments.values():
            yield segment.condition
        for stage in self.stages:
            yield stage.condition
        if self.consent is not None and self.consent.region is not None:
            yield self.consent.region
        for trigger in self.triggers.values():
            yield from fired(trigger)
            if trigger.unless and trigger.unless.condition:
                yield trigger.unless.condition

    def _add_built_in(self) -> None:
        used = {node.name for top in self.nodes() for node in walk(top) if isinstance(node, Name)}
        if self.expire != Expire():
            used |= {"first_seen", "last_seen"}
        for name, feature in built_in_features().items():
            if name in used:
                self.features.setdefault(name, feature)
        self.features = dict(sorted(self.features.items()))
