"""The sections that are rules: features, tags, segments, triggers. From values of documents to checked definitions."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, cast

from rtcdp.rules.definitions import (
    ANY_EVENT,
    DAY_MS,
    Cap,
    Feature,
    On,
    Segment,
    Tag,
    TrackingPlan,
    Trigger,
    Unless,
)
from rtcdp.rules.documents import Entry, Mapping, Scalar, Value
from rtcdp.rules.expressions import EACH, WORD, Name, Node, Path, Type, unparse, walk
from rtcdp.rules.inference import shown
from rtcdp.rules.names import BUILT_IN_FEATURES, EVENT_FIELDS, EVENT_ROOTS, PROFILE_ROOTS, did_you_mean, listed
from rtcdp.rules.normal import aggregate_normal
from rtcdp.rules.options import AGGREGATES, CAP, FEATURE, ON, SEGMENT, TAG, TRIGGER, UNLESS
from rtcdp.rules.reading import Reader
from rtcdp.rules.scope import Defined, Scope

MOST_CAPS = 8
MOST_TIMES = 1_000
MOST_PAYLOAD = 100

_PLANNED = {"number": Type.NUMBER, "text": Type.TEXT, "boolean": Type.BOOLEAN, "list": Type.LIST}

Entries = AnyMapping[str, Entry]


def built_in_features() -> dict[str, Feature]:
    """`first_seen` and `last_seen`."""
    return {
        name: Feature(
            name, aggregate, (ANY_EVENT,), None, None, None, aggregate_normal(aggregate, (ANY_EVENT,), None, None, None, {})
        )
        for name, aggregate in BUILT_IN_FEATURES.items()
    }


@dataclass
class Sections:
    """Reads the rules of one set of definitions, in the order in which they may use each other."""

    reader: Reader
    plan: TrackingPlan
    lists: AnyMapping[str, frozenset[str]]
    features: dict[str, Feature] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    _types: dict[str, Type] = field(default_factory=dict)
    _names: dict[str, Defined] = field(default_factory=dict)
    _hidden: dict[str, str] = field(default_factory=dict)

    def read(self, features: Entries, tags: Entries, segments: Entries, triggers: Entries) -> None:
        """Read all four sections."""
        lists = {name: Defined("list", Type.LIST) for name in self.lists}
        kinds = {"feature": [*features, *BUILT_IN_FEATURES], "tag": tags, "segment": segments}
        self._hidden = {name: f"an event knows no {kind}" for kind, names in kinds.items() for name in names}
        self._names = dict(lists)
        for name, entry in sorted(features.items()):
            self._feature(name, entry, lists)
        for name, feature in built_in_features().items():
            self._names.setdefault(name, Defined("feature", Type.TIME))
            if self.features.get(name, feature).normal != feature.normal:
                hint = f'write {{{feature.aggregate}: "*"}}, or choose another name'
                self.reader.fail(features[name].key, f"'{name}' is built in and means something else", hint)
        self._rules(tags, segments)
        for name, entry in sorted(triggers.items()):
            self._trigger(name, entry)
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

    def _event_scope(self, events: tuple[str, ...], lists: AnyMapping[str, Defined] | None = None) -> Scope:
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

    def _profile_scope(self, *, continuous: bool) -> Scope:
        return Scope(
            "the profile: features, tags, segments, traits and lists",
            PROFILE_ROOTS,
            names=self._names,
            planned=self._planned(()),
            continuous=continuous,
        )

    def _payload_scope(self, on: On) -> Scope:
        """What `if` and `payload` of a trigger see: the profile, and the starting event if it is one."""
        if on.kind != "event":
            return self._profile_scope(continuous=False)
        return Scope(
            "the profile and the starting event",
            EVENT_ROOTS,
            EVENT_FIELDS,
            self._names,
            planned=self._planned((on.name,)),
            events=(on.name,),
        )

    # Features

    def _feature(self, name: str, entry: Entry, lists: AnyMapping[str, Defined]) -> None:
        self._names[name] = Defined("feature", Type.ANY)  # known, even where its definition is wrong
        before = len(self.reader.errors)
        if isinstance(entry.value, Scalar):
            message = f"a feature needs one of {listed(AGGREGATES)}"
            self.reader.fail(entry.value, message, "write {count: EVENT} or {sum: EXPRESSION, of: EVENT}")
            return
        found = self.reader.options(entry.value, FEATURE, "a feature", entry.key)
        if found is None:
            return
        chosen = [key for key in found if key in AGGREGATES]
        if len(chosen) > 1:
            message = f"a feature has one aggregate, not both '{chosen[0]}' and '{chosen[1]}'"
            self.reader.fail(found[chosen[1]].key, message, "write two features")
        elif not chosen and len(self.reader.errors) == before:
            self.reader.fail(entry.key, f"a feature needs one of {listed(AGGREGATES)}")
        if len(chosen) != 1:
            return
        aggregate = chosen[0]
        events = self._feature_events(aggregate, found)
        scope = self._event_scope(events, lists)
        value = self._feature_value(name, aggregate, found, scope)
        where = self.reader.condition(found.get("where"), scope, f"feature {name}")
        within = self.reader.duration(found.get("within"), least=1)
        result = AGGREGATES[aggregate].result or _element(value)
        followed = aggregate in ("first_time", "last_time") and within is None
        self._names[name] = Defined("feature", result, followed=followed)
        if len(self.reader.errors) == before:
            normal = aggregate_normal(aggregate, events, value, where, within, self.lists)
            description = self.reader.text(found.get("description"))
            self.features[name] = Feature(name, aggregate, events, value, where, within, normal, description)

    def _feature_events(self, aggregate: str, found: Entries) -> tuple[str, ...]:
        if AGGREGATES[aggregate].takes == "events":
            if "of" in found:
                message = f"'{aggregate}' names its events itself: 'of' has no meaning here"
                self.reader.fail(found["of"].key, message, f"write {aggregate}: EVENT")
            return self.reader.events(found[aggregate])
        if "of" not in found:
            message = f"'{aggregate}' needs 'of': the events whose values are aggregated"
            self.reader.fail(found[aggregate].key, message, 'write of: EVENT, or of: "*" for every event')
        return self.reader.events(found.get("of"))

    def _feature_value(self, name: str, aggregate: str, found: Entries, scope: Scope) -> Node | None:
        kind = AGGREGATES[aggregate]
        if kind.takes == "events":
            return None
        entry = found[aggregate]
        value = self.reader.expression(entry.value, scope, f"feature {name}")
        if value is None:
            return None
        type_ = _element(value) if kind.fans else value.type
        if type_ not in (*kind.values, Type.ANY):
            allowed = " or ".join(sorted(shown(allowed) for allowed in kind.values))
            message = f"'{aggregate}' takes {allowed}, but {_short(value)} is {shown(type_)}"
            plain = isinstance(value, Path) and kind.fans and type_ is Type.LIST
            self.reader.fail(entry.value, message, f"write {_short(value)}[]" if plain else "", value.span.start)
        return value

    # Tags and segments

    def _rules(self, tags: Entries, segments: Entries) -> None:
        """Tags and segments may read each other, as long as none reads itself in the end."""
        kinds: dict[str, Literal["tag", "segment"]] = dict.fromkeys(segments, "segment")
        kinds.update(dict.fromkeys(tags, "tag"))
        for name, kind in kinds.items():
            self._names[name] = Defined(kind, Type.ANY if kind == "tag" else Type.BOOLEAN)
        written = {name: (tags if kind == "tag" else segments)[name] for name, kind in kinds.items()}
        for name in self._order(written, kinds):
            if kinds[name] == "tag":
                self._tag(name, written[name])
            else:
                self._segment(name, written[name])
        self.tags = dict(sorted(self.tags.items()))

    def _order(self, written: Entries, kinds: AnyMapping[str, str]) -> list[str]:
        """Names so that each reads only names before it, otherwise by name; what is in a cycle is left out."""
        reads = {name: self._names_in(entry.value, kinds) for name, entry in sorted(written.items())}
        while True:
            sorter = TopologicalSorter(reads)
            try:
                sorter.prepare()
            except CycleError as error:
                # graphlib lists each before the one that reads it; people say who reads whom
                cycle = list(reversed(error.args[1]))
                start = cycle.index(min(cycle))
                cycle = [*cycle[start:-1], *cycle[:start], cycle[start]]
                message = f"the {kinds[cycle[0]]} '{cycle[0]}' reads itself: {' -> '.join(cycle)}"
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

    def _names_in(self, value: Value, names: AnyMapping[str, str]) -> set[str]:
        """The tags and segments that a definition reads. Errors are left to the second reading."""
        quiet = Reader()
        scope = self._profile_scope(continuous=False)
        expressions = [value]
        if isinstance(value, Mapping):
            expressions = [entry.value for key, entry in value.entries.items() if key in ("if", "value", "when")]
        texts = [item for item in expressions if isinstance(item, Scalar) and names.keys() & WORD.findall(item.text)]
        nodes = [quiet.expression(item, scope, "") for item in texts]
        found = {node.name for top in nodes if top for node in walk(top) if isinstance(node, Name)}
        return found & names.keys()

    def _tag(self, name: str, entry: Entry) -> None:
        owner, scope = f"tag {name}", self._profile_scope(continuous=True)
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
        self.tags[name] = Tag(name, value, when, description)

    def _segment(self, name: str, entry: Entry) -> None:
        found: Entries = {"if": entry}
        if not isinstance(entry.value, Scalar):
            found = self.reader.options(entry.value, SEGMENT, "a segment", entry.key) or {}
        node = self.reader.condition(found.get("if"), self._profile_scope(continuous=True), f"segment {name}")
        description = self.reader.text(found.get("description"))
        if node is not None:
            self.segments[name] = Segment(name, node, description)

    # Triggers

    def _trigger(self, name: str, entry: Entry) -> None:
        owner = f"trigger {name}"
        found = self.reader.options(entry.value, TRIGGER, "a trigger", entry.key)
        if found is None or "on" not in found or (on := self._on(found, owner)) is None:
            return
        scope = self._payload_scope(on)
        max_age = self.reader.duration(found.get("max_age"), least=1)
        self.triggers[name] = Trigger(
            name,
            on,
            after=self.reader.duration(found.get("after"), least=0) or 0,
            unless=self._unless(found.get("unless"), on, owner),
            condition=self.reader.condition(found.get("if"), scope, owner),
            caps=self._caps(found.get("cap")),
            max_age=DAY_MS if max_age is None else max_age,
            payload=self._payload(found.get("payload"), scope, owner),
            channel=self.reader.text(found.get("channel"), "a channel", 64),
            description=self.reader.text(found.get("description")),
        )

    def _on(self, found: Entries, owner: str) -> On | None:
        """`on: EVENT`, `on: {event: EVENT, where: ...}`, `on: {entered: SEGMENT}`, `on: {exited: SEGMENT}`."""
        value = found["on"].value
        where = found.get("where")
        if isinstance(value, Mapping):
            before = len(self.reader.errors)
            options = self.reader.options(value, ON, "a start") or {}
            chosen = [key for key in ("event", "entered", "exited") if key in options]
            if len(chosen) != 1:
                if len(self.reader.errors) == before:
                    self.reader.fail(value, "a start needs one of event, entered, exited")
                return None
            if where is not None and "where" in options:
                self.reader.fail(where.key, "'where' is written twice", "once beside 'on', once within it")
            where = options.get("where", where)
            if chosen[0] != "event":
                return self._on_segment(cast("Any", chosen[0]), options[chosen[0]].value, where)
            value = options["event"].value
        event = self.reader.event(value)
        if event is None:
            return None
        kind, _, rest = event.partition(":")
        if kind in ("entered", "exited"):
            self.reader.fail(value, f"no event is called '{event}'", f"write on: {{{kind}: {rest.strip()}}}")
            return None
        return On("event", event, self.reader.condition(where, self._event_scope((event,)), owner))

    def _on_segment(self, kind: Literal["entered", "exited"], value: Value, where: Entry | None) -> On | None:
        scalar = self.reader.scalar(value, "the name of a segment")
        if scalar is None:
            return None
        segments = [name for name, defined in self._names.items() if defined.kind == "segment"]
        if scalar.text not in segments:
            message = f"unknown segment '{scalar.text[:64]}': expected one of {listed(sorted(segments)) or 'none defined'}"
            self.reader.fail(scalar, message, did_you_mean(scalar.text, segments))
            return None
        if where is not None:
            self.reader.fail(where.key, "'where' looks at an event, and this starts without one", "use 'if'")
        return On(kind, scalar.text)

    def _unless(self, entry: Entry | None, on: On, owner: str) -> Unless | None:
        """`unless: EVENT`, several of them, or the options."""
        if entry is None:
            return None
        if not isinstance(entry.value, Mapping):
            return Unless(self.reader.events(entry))
        found = self.reader.options(entry.value, UNLESS, "'unless'", entry.key) or {}
        events = self.reader.events(found.get("event"))
        where = self.reader.condition(found.get("where"), self._event_scope(events), owner)
        return Unless(events, where, self._same(found.get("same"), on))

    def _same(self, entry: Entry | None, on: On) -> tuple[Node, ...]:
        if entry is None:
            return ()
        if on.kind != "event":
            self.reader.fail(entry.key, "'same' compares two events, and this starts without one")
            return ()
        paths: dict[str, Node] = {}
        for item in self.reader.items(entry.value):
            node = self.reader.expression(item, self._event_scope(()), "")
            if isinstance(node, Path) and EACH not in node.parts:
                paths[unparse(node)] = node
            elif node is not None:
                self.reader.fail(item, "a path of the event is expected, as properties.cart_id", offset=node.span.start)
        return tuple(node for _, node in sorted(paths.items()))

    def _caps(self, entry: Entry | None) -> tuple[Cap, ...]:
        if entry is None:
            return ()
        caps = set()
        for item in self.reader.items(entry.value):
            found = self.reader.options(item, CAP, "a cap")
            times = self.reader.whole(found.get("times"), 1, MOST_TIMES) if found else 0
            per = self.reader.duration(found.get("per"), least=1) if found else None
            if times and per:
                caps.add((per, times))
        if len(caps) > MOST_CAPS:
            self.reader.fail(entry.value, f"a trigger has at most {MOST_CAPS} caps")
        return tuple(Cap(times, per) for per, times in sorted(caps))

    def _payload(self, entry: Entry | None, scope: Scope, owner: str) -> dict[str, Node]:
        if entry is None:
            return {}
        payload = {}
        for written, item in sorted(self.reader.mapping(entry.value, "a payload").items()):
            name = unicodedata.normalize("NFC", written)
            if not name or len(name) > 128:
                self.reader.fail(item.key, "a name in a payload has 1 to 128 characters")
                continue
            node = self.reader.expression(item.value, scope, owner)
            if node is not None:
                payload[name] = node
        if len(payload) > MOST_PAYLOAD:
            self.reader.fail(entry.value, f"a payload has at most {MOST_PAYLOAD} values")
        return payload

    # Afterwards

    def nodes(self) -> Iterable[Node]:
        """Every expression that may read features."""
        for tag in self.tags.values():
            yield tag.value
            if tag.when:
                yield tag.when
        for segment in self.segments.values():
            yield segment.condition
        for trigger in self.triggers.values():
            yield from trigger.payload.values()
            if trigger.condition:
                yield trigger.condition

    def _add_built_in(self) -> None:
        used = {node.name for top in self.nodes() for node in walk(top) if isinstance(node, Name)}
        for name, feature in built_in_features().items():
            if name in used:
                self.features.setdefault(name, feature)
        self.features = dict(sorted(self.features.items()))


def _element(value: Node | None) -> Type:
    """The type of one value; a path that fans out gives many, of any type."""
    if value is None or (isinstance(value, Path) and EACH in value.parts):
        return Type.ANY
    return value.type


def _short(node: Node) -> str:
    text = unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."
