"""The section `features`: from values of a document to checked features, and expressions over them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, replace

from rtcdp.rules.definitions import ANY_EVENT, Feature, Filter, Step
from rtcdp.rules.expressions.inference import shown
from rtcdp.rules.expressions.names import BUILT_IN_FEATURES, did_you_mean, listed
from rtcdp.rules.expressions.parsing import parse_condition
from rtcdp.rules.expressions.scope import Defined, Scope
from rtcdp.rules.expressions.tree import EACH, Arithmetic, EventField, Node, Path, Span, Type, unparse
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Sequence, Value
from rtcdp.rules.loading.normal import with_normal
from rtcdp.rules.loading.options import (
    AGGREGATES,
    DEFAULT_GAP_MS,
    DEFAULT_TOP,
    DERIVED,
    FEATURE,
    FILTER,
    MOST_TOP,
    SEQUENCE_STEP,
    SPEND,
)
from rtcdp.rules.loading.reading import Reader
from rtcdp.times import zones

MOST_STEPS = 16
MOST_CHANNELS = 16
_SCOPES = ("within", "during", "reset_on", "per")
_NEEDS = {"zone": "during", "top": "by"}  # an option that says more about another

Entries = AnyMapping[str, Entry]
ScopeOf = Callable[[tuple[str, ...]], Scope]


_ACTIVE = parse_condition("not (context.active == false)", Scope("the event", roots=("context",)))
"""Segment's mark of what the person did not do: an import, or a message that was delivered."""


def built_in_features() -> dict[str, Feature]:
    """What every profile has without a definition, by name: of what the person did, but `first_seen` of any event."""
    found = {}
    for name, aggregate in BUILT_IN_FEATURES.items():
        value = EventField("channel", Type.TEXT, Span(0, 0)) if name == "channel" else None
        gap = DEFAULT_GAP_MS if aggregate == "sessions" else 0
        where = None if name == "first_seen" else _ACTIVE
        found[name] = with_normal(Feature(name, aggregate, (ANY_EVENT,), value, where, None, "", gap=gap), {})
    return found


def built_in_type(name: str) -> Type:
    """Type of a built-in feature."""
    return AGGREGATES[BUILT_IN_FEATURES[name]].result or Type.TEXT


def is_derived(entry: Entry) -> bool:
    """Whether a feature is written as an expression over others."""
    if isinstance(entry.value, Scalar):
        return not entry.value.empty
    return isinstance(entry.value, Mapping) and not entry.value.entries.keys().isdisjoint(DERIVED)


def derived_expressions(entry: Entry) -> list[Value]:
    """The values of a derived feature that are expressions."""
    if not isinstance(entry.value, Mapping):
        return [entry.value]
    written = [part.value for key, part in entry.value.entries.items() if key in DERIVED]
    return [item for value in written for item in (value.items if isinstance(value, Sequence) else (value,))]


@dataclass
class FeatureSection:
    """Reads features.

    scope_of: what an expression sees of events with these names; lists: by name, what is on them; purpose: reads one.
    """

    reader: Reader
    scope_of: ScopeOf
    lists: AnyMapping[str, frozenset[str]]
    purpose: Callable[[Entry | None], str]

    # Expressions over features

    def derived(self, name: str, entry: Entry, scope: Scope) -> tuple[Node | None, str]:
        """The expression of a derived feature, and its description."""
        owner = f"feature {name}"
        if not isinstance(entry.value, Mapping):
            return self._derived_value(entry.value, scope, owner), ""
        found = self.reader.options(entry.value, FEATURE, "a feature", entry.key) or {}
        for key in found.keys() - {*DERIVED, "description"}:
            self.reader.fail(found[key].key, f"'{key}' has no meaning beside an expression over features")
        if len(found.keys() & DERIVED.keys()) > 1:
            self.reader.fail(found["ratio"].key, "a feature has 'value' or 'ratio', not both", "write two features")
        description = self.reader.text(found.get("description"))
        if "ratio" in found:
            return self._ratio(found["ratio"], scope, owner), description
        return (self._derived_value(found["value"].value, scope, owner) if "value" in found else None), description

    def _derived_value(self, value: Value, scope: Scope, owner: str) -> Node | None:
        node = self.reader.expression(value, scope, owner)
        if node is not None and node.type is Type.LIST:
            self.reader.fail(value, "a feature holds one value, not a list", offset=node.span.start)
            return None
        return node

    def _ratio(self, entry: Entry, scope: Scope, owner: str) -> Node | None:
        items = self.reader.items(entry.value)
        if len(items) != 2:
            self.reader.fail(entry.value, "a ratio has two expressions", "write ratio: [spend, orders]")
            return None
        nodes = [self.reader.expression(item, scope, owner) for item in items]
        one, other = nodes
        if one is None or other is None:
            return None
        for item, node in zip(items, (one, other), strict=True):
            if node.type not in (Type.NUMBER, Type.DURATION, Type.ANY):
                self.reader.fail(item, f"a ratio takes numbers, but {_short(node)} is {shown(node.type)}")
                return None
        if Type.DURATION in (one.type, other.type) and one.type is not other.type and other.type is Type.DURATION:
            self.reader.fail(items[1], f"a number cannot be divided by {_short(other)}, which is a duration")
            return None
        type_ = Type.DURATION if one.type is Type.DURATION and other.type is not Type.DURATION else Type.NUMBER
        return Arithmetic("/", one, other, type_, one.span)

    # Aggregates

    def feature(self, name: str, entry: Entry) -> tuple[Feature | None, Defined]:
        """A feature, None where it is wrong; and what an expression may know of it."""
        unknown = Defined("feature", Type.ANY)
        before = len(self.reader.errors)
        if isinstance(entry.value, Scalar):
            message = f"a feature needs one of {listed(AGGREGATES, 20)}, or an expression over other features"
            self.reader.fail(entry.value, message, "write {count: EVENT} or {sum: EXPRESSION, of: EVENT}")
            return None, unknown
        found = self.reader.options(entry.value, FEATURE, "a feature", entry.key)
        if found is None:
            return None, unknown
        chosen = [key for key in found if key in AGGREGATES]
        if len(chosen) > 1:
            message = f"a feature has one aggregate, not both '{chosen[0]}' and '{chosen[1]}'"
            self.reader.fail(found[chosen[1]].key, message, "write two features")
        elif not chosen and len(self.reader.errors) == before:
            self.reader.fail(entry.key, f"a feature needs one of {listed(AGGREGATES, 20)}")
        if len(chosen) != 1:
            return None, unknown
        feature = self._aggregated(name, chosen[0], found)
        result = AGGREGATES[chosen[0]].result or _element(feature.value)
        defined = Defined("feature", result, keyed="by" in found, key=_element(feature.by))
        if len(self.reader.errors) > before:
            return None, defined
        return with_normal(feature, self.lists), defined

    def _aggregated(self, name: str, aggregate: str, found: Entries) -> Feature:
        owner = f"feature {name}"
        self._check_options(aggregate, found)
        events = self._events(aggregate, found)
        scope = self.scope_of(events)
        where = self.reader.condition(found.get("where"), scope, owner)
        within, offset = self.reader.window(found.get("within"))
        feature = Feature(
            name,
            aggregate,
            events,
            self._value(owner, aggregate, found, scope),
            where,
            within,
            "",
            self.reader.text(found.get("description")),
            offset=offset,
            during=self.reader.choice(found.get("during"), FEATURE["during"], ""),
            zone=self._zone(found.get("zone")),
            by=self._by(found.get("by"), scope, owner),
            top=(self.reader.whole(found["top"], 1, MOST_TOP) if "top" in found else DEFAULT_TOP) if "by" in found else 0,
            reset_on=self._filter(found.get("reset_on"), owner),
            current=self.reader.choice(found.get("per"), FEATURE["per"], "") == "session",
            purpose=self.purpose(found.get("purpose")),
        )
        feature = self._with_gap(feature, found)
        if aggregate == "sequence":
            return self._sequence(feature, found, owner)
        return self._balance(feature, found, owner) if aggregate == "balance" else self._aligned(feature, found)

    def _check_options(self, aggregate: str, found: Entries) -> None:
        """Options that mean nothing beside the aggregate, or beside each other."""
        goes_with = AGGREGATES[aggregate].goes_with | {aggregate, "of", "purpose", "description"}
        for key in found:
            if key not in goes_with:
                expected = listed(sorted(AGGREGATES[aggregate].goes_with), 20)
                self.reader.fail(found[key].key, f"'{key}' has no meaning beside '{aggregate}': expected one of {expected}")
        scopes = [key for key in _SCOPES if key in found]
        if len(scopes) > 1:
            message = f"a feature is limited by one of {listed(_SCOPES)}, not by both '{scopes[0]}' and '{scopes[1]}'"
            self.reader.fail(found[scopes[1]].key, message, "write two features")
        for key, needed in _NEEDS.items():
            if key in found and needed not in found:
                self.reader.fail(found[key].key, f"'{key}' says more about '{needed}', which is not written")
        if "gap" in found and "per" not in found and "gap" in goes_with and aggregate not in _WITH_SESSIONS:
            self.reader.fail(found["gap"].key, "'gap' says when a session ends", "write per: session")

    def _events(self, aggregate: str, found: Entries) -> tuple[str, ...]:
        kind = AGGREGATES[aggregate].takes
        if kind == "expression":
            if "of" not in found:
                message = f"'{aggregate}' needs 'of': the events whose values are aggregated"
                self.reader.fail(found[aggregate].key, message, 'write of: EVENT, or of: "*" for every event')
            return self.reader.events(found.get("of"))
        if "of" in found:
            message = f"'{aggregate}' names its events itself: 'of' has no meaning here"
            self.reader.fail(found["of"].key, message, f"write {aggregate}: {'[EVENT, EVENT]' if kind == 'steps' else 'EVENT'}")
        return () if kind == "steps" else self.reader.events(found[aggregate])

    def _value(self, owner: str, aggregate: str, found: Entries, scope: Scope) -> Node | None:
        kind = AGGREGATES[aggregate]
        if kind.takes != "expression":
            return None
        return self._amount(owner, aggregate, found[aggregate], scope)

    def _amount(self, owner: str, aggregate: str, entry: Entry, scope: Scope) -> Node | None:
        kind = AGGREGATES[aggregate]
        value = self.reader.expression(entry.value, scope, owner)
        if value is None:
            return None
        type_ = _element(value) if kind.fans else value.type
        if type_ not in (*kind.values, Type.ANY):
            allowed = " or ".join(sorted(shown(allowed) for allowed in kind.values))
            message = f"'{aggregate}' takes {allowed}, but {_short(value)} is {shown(type_)}"
            plain = isinstance(value, Path) and kind.fans and type_ is Type.LIST
            self.reader.fail(entry.value, message, f"write {_short(value)}[]" if plain else "", value.span.start)
        return value

    def _zone(self, entry: Entry | None) -> str:
        if entry is None or (scalar := self.reader.scalar(entry.value, "the name of a time zone")) is None:
            return "UTC"
        if zones.zone(scalar.text) is None:
            hint = did_you_mean(scalar.text, zones.names()) or "write it as Europe/Berlin"
            self.reader.fail(scalar, f"there is no time zone '{scalar.text[:64]}'", hint)
            return "UTC"
        return scalar.text

    def _by(self, entry: Entry | None, scope: Scope, owner: str) -> Node | None:
        node = None if entry is None else self.reader.expression(entry.value, scope, owner)
        if entry is not None and node is not None and node.type is Type.LIST and _element(node) is Type.LIST:
            hint = f"write {_short(node)}[]" if isinstance(node, Path) else ""
            self.reader.fail(entry.value, f"a key is one value, but {_short(node)} is a list", hint, node.span.start)
        return node

    def _aligned(self, feature: Feature, found: Entries) -> Feature:
        """Where key and value both fan out, over the same array and no further."""
        by, value = feature.by, feature.value
        if not (isinstance(by, Path) and isinstance(value, Path) and EACH in by.parts and EACH in value.parts):
            return feature
        fronts = [(path.root, path.parts[: path.parts.index(EACH)], path.parts.count(EACH)) for path in (by, value)]
        if fronts[0] != fronts[1] or fronts[0][2] > 1:
            message = f"{_short(by)} and {_short(value)} must fan out over the same array"
            self.reader.fail(found["by"].value, message, "as properties.products[].category and properties.products[].price")
        return feature

    def _filter(self, entry: Entry | None, owner: str) -> Filter | None:
        """`EVENT`, several of them, or `{event: ..., where: ...}`."""
        if entry is None:
            return None
        if not isinstance(entry.value, Mapping):
            return Filter(self.reader.events(entry))
        found = self.reader.options(entry.value, FILTER, "an event", entry.key) or {}
        events = self.reader.events(found.get("event"))
        return Filter(events, self.reader.condition(found.get("where"), self.scope_of(events), owner))

    # Sessions

    def _with_gap(self, feature: Feature, found: Entries) -> Feature:
        if not (feature.current or feature.aggregate in _WITH_SESSIONS):
            return feature
        entry = found.get("gap")
        if entry is None or not isinstance(entry.value, Mapping):
            return replace(feature, gap=self.reader.duration(entry, least=1) or DEFAULT_GAP_MS)
        if feature.aggregate == "dwell":
            self.reader.fail(entry.value, "'dwell' has one gap for all channels", "write gap: 30m")
        gaps = {
            channel: self.reader.duration(part, least=1) or DEFAULT_GAP_MS
            for channel, part in self.reader.mapping(entry.value, "gaps by channel").items()
        }
        if not 0 < len(gaps) <= MOST_CHANNELS:
            self.reader.fail(entry.value, f"there are gaps for 1 to {MOST_CHANNELS} channels")
        return replace(feature, gap=DEFAULT_GAP_MS, gaps=tuple(sorted(gaps.items())))

    # Balances

    def _balance(self, feature: Feature, found: Entries, owner: str) -> Feature:
        expire = self.reader.duration(found.get("expire"), least=1) or 0
        entry = found.get("spend")
        if entry is None:
            return replace(feature, expire=expire)
        if not isinstance(entry.value, Mapping):
            return replace(feature, expire=expire, spend=Filter(self.reader.events(entry)))
        options = self.reader.options(entry.value, SPEND, "'spend'", entry.key) or {}
        events = self.reader.events(options.get("of"))
        scope = self.scope_of(events)
        where = self.reader.condition(options.get("where"), scope, owner)
        spent = self._amount(owner, "balance", options["value"], scope) if "value" in options else None
        return replace(feature, expire=expire, spend=Filter(events, where), spent=spent)

    # Sequences

    def _sequence(self, feature: Feature, found: Entries, owner: str) -> Feature:
        entry = found["sequence"]
        steps = [step for item in self.reader.items(entry.value) if (step := self._step(item, owner)) is not None]
        same = self._same(found.get("same"), ANY_EVENT)
        for item, step in zip(self.reader.items(entry.value), steps, strict=False):
            if step.same and not same:
                self.reader.fail(item, "'same' of a step needs 'same' of the sequence", "write what the other steps have")
        self._check_steps(entry, steps)
        return replace(
            feature,
            steps=tuple(steps),
            strict=self.reader.choice(found.get("order"), FEATURE["order"], "loose") == "strict",
            restart=self.reader.flag(found.get("restart")),
            same=same,
        )

    def _check_steps(self, entry: Entry, steps: list[Step]) -> None:
        if len(steps) != len(self.reader.items(entry.value)):
            return
        if len(steps) > MOST_STEPS:
            self.reader.fail(entry.value, f"a sequence has at most {MOST_STEPS} steps")
        elif sum(1 for step in steps if not step.excluded) < 2:
            self.reader.fail(entry.value, "a sequence has two steps at least", "write [EVENT, EVENT]")
        elif steps[0].excluded or steps[-1].excluded:
            place = 0 if steps[0].excluded else -1
            message = "what must not come stands between two steps"
            self.reader.fail(self.reader.items(entry.value)[place], message, "write [EVENT, {not: EVENT}, EVENT]")

    def _step(self, value: Value, owner: str) -> Step | None:
        """`EVENT`, `{event: ..., where: ...}` or `{not: EVENT}`."""
        if not isinstance(value, Mapping):
            event = self.reader.event(value)
            return None if event is None else Step((event,))
        found = self.reader.options(value, SEQUENCE_STEP, "a step") or {}
        if ("event" in found) == ("not" in found):
            if "event" in found or not found:
                self.reader.fail(value, "a step has one of event, not")
            return None
        if "not" in found:
            for key in found.keys() - {"not"}:
                self.reader.fail(
                    found[key].key, f"'{key}' belongs within 'not'", f"write {{not: {{event: EVENT, {key}: ...}}}}"
                )
            excluded = self._filter(found["not"], owner)
            return None if excluded is None else Step(excluded.events, excluded.where, excluded=True)
        events = self.reader.events(found["event"])
        where = self.reader.condition(found.get("where"), self.scope_of(events), owner)
        return Step(events, where, same=self._same(found.get("same"), *events)) if events else None

    def _same(self, entry: Entry | None, *events: str) -> tuple[Node, ...]:
        if entry is None:
            return ()
        paths: dict[str, Node] = {}
        for item in self.reader.items(entry.value):
            node = self.reader.expression(item, self.scope_of(events), "")
            if isinstance(node, Path):
                paths[unparse(node)] = node
            elif node is not None:
                self.reader.fail(item, "a path of the event is expected, as properties.cart_id", offset=node.span.start)
        return tuple(node for _, node in sorted(paths.items()))


_WITH_SESSIONS = frozenset({"sessions", "bounces", "time_spent", "dwell"})


def _element(value: Node | None) -> Type:
    """The type of one value; a path that fans out gives many, of any type."""
    if value is None or (isinstance(value, Path) and EACH in value.parts):
        return Type.ANY
    return value.type


def _short(node: Node) -> str:
    text = unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."
