"""`triggers:`: what starts a trigger, what calls it off, what it sends."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping as AnyMapping
from typing import Any, Literal, Protocol, cast

from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.tree import EACH, Node, Path, unparse
from rtcdp.rules.loading import clock_times
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Value
from rtcdp.rules.loading.limit_section import limits
from rtcdp.rules.loading.options import AGAIN, DEBOUNCE, ON, STARTS, TRIGGER, UNLESS
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.loading.step_section import Steps
from rtcdp.rules.sending import DAY_MS, Again, At, Every, On, Trigger, Unless

MOST_PAYLOAD = 100
MOST_PRIORITY = 1_000_000
Entries = AnyMapping[str, Entry]
# Which other options a start of each kind may have.
_BESIDE: dict[str, frozenset[str]] = {
    "event": frozenset({"where"}),
    "at": frozenset({"time", "yearly", "before", "zone", "default"}),
    "every": frozenset({"in", "over", "zone", "default"}),
}


class Scopes(Protocol):
    """What expressions can see, and what is defined."""

    def event_scope(self, events: tuple[str, ...]) -> Scope:
        """Of an event alone."""

    def profile_scope(self, *, continuous: bool) -> Scope:
        """Of the profile. continuous: the value is followed as time passes."""

    def start_scope(self, events: tuple[str, ...]) -> Scope:
        """Of the profile and the event that starts a trigger."""

    def defined(self, kind: str) -> list[str]:
        """Names of the segments, tags or stages."""

    def purpose(self, entry: Entry | None) -> str:
        """A purpose that is defined, or ""."""


class Triggers:
    """Reads triggers."""

    def __init__(self, reader: Reader, scopes: Scopes) -> None:
        self._reader, self._scopes = reader, scopes

    def read(self, name: str, entry: Entry) -> Trigger | None:
        """One trigger; None where it cannot be read."""
        reader, owner = self._reader, f"trigger {name}"
        found = reader.options(entry.value, TRIGGER, "a trigger", entry.key)
        if found is None or "on" not in found or (on := self._on(found, owner)) is None:
            return None
        scopes = self._scopes
        scope = scopes.start_scope((on.name,)) if on.kind == "event" else scopes.profile_scope(continuous=False)
        max_age = reader.duration(found.get("max_age"), least=1)
        debounce, at_most = self._debounce(found)
        return Trigger(
            name,
            on,
            after=reader.duration(found.get("after"), least=0) or 0,
            debounce=debounce,
            at_most=at_most,
            unless=self._unless(found.get("unless"), on, owner),
            condition=reader.condition(found.get("if"), scope, owner),
            one_per=self._same(found.get("one per"), on, "'one per' tells starting events apart, and this starts without one"),
            again=self._again(found.get("again")),
            limits=limits(reader, found, self._trait),
            priority=reader.whole(found["priority"], 0, MOST_PRIORITY) if "priority" in found else 0,
            max_age=DAY_MS if max_age is None else max_age,
            payload=self._payload(found.get("payload"), scope, owner),
            channel=reader.text(found.get("channel"), "a channel", 64),
            steps=self._steps(found, on, scope, owner),
            purpose=scopes.purpose(found.get("purpose")),
            description=reader.text(found.get("description")),
        )

    def _trait(self, value: Value) -> Node | None:
        return self._reader.expression(value, self._scopes.profile_scope(continuous=False), "")

    # What starts it

    def _on(self, found: Entries, owner: str) -> On | None:
        """`on: EVENT`, or one of the starts with its options."""
        value, where = found["on"].value, found.get("where")
        if not isinstance(value, Mapping):
            return self._on_event(value, where, owner)
        before = len(self._reader.errors)
        options = self._reader.options(value, ON, "a start") or {}
        chosen = [kind for kind in STARTS if kind in options]
        if len(chosen) != 1:
            if len(chosen) > 1:
                self._reader.fail(options[chosen[1]].key, f"a start is one thing, not both '{chosen[0]}' and '{chosen[1]}'")
            elif len(self._reader.errors) == before:
                self._reader.fail(value, f"a start needs one of {listed(STARTS)}")
            return None
        kind = chosen[0]
        if where is not None and "where" in options:
            self._reader.fail(where.key, "'where' is written twice", "once beside 'on', once within it")
        where = options.get("where", where)
        for name in options:
            if name not in (kind, "where") and name not in _BESIDE.get(kind, frozenset()):
                belongs = [f"'{other}'" for other, names in _BESIDE.items() if name in names]
                self._reader.fail(
                    options[name].key, f"'{name}' has no meaning beside '{kind}'", f"it belongs to {' and '.join(belongs)}"
                )
        if kind == "event":
            return self._on_event(options["event"].value, where, owner)
        if where is not None:
            self._reader.fail(where.key, "'where' looks at an event, and this starts without one", "use 'if'")
        if kind == "at":
            return self._at(options)
        if kind == "every":
            return self._every(options)
        return self._on_name(cast("Any", kind), options[kind].value)

    def _on_event(self, value: Value, where: Entry | None, owner: str) -> On | None:
        event = self._reader.event(value)
        if event is None:
            return None
        kind, _, rest = event.partition(":")
        if kind in STARTS and kind != "event":
            self._reader.fail(value, f"no event is called '{event}'", f"write on: {{{kind}: {rest.strip()}}}")
            return None
        return On("event", event, self._reader.condition(where, self._scopes.event_scope((event,)), owner))

    def _on_name(self, kind: Literal["entered", "exited", "stage", "changed"], value: Value) -> On | None:
        """A start that is a segment, a stage or a tag."""
        what = {"stage": "stage", "changed": "tag"}.get(kind, "segment")
        name = self._name(value, what)
        return None if name is None else On(kind, name)

    def _name(self, value: Value, what: str) -> str | None:
        scalar = self._reader.scalar(value, f"the name of a {what}")
        if scalar is None:
            return None
        known = self._scopes.defined(what)
        if scalar.text not in known:
            expected = f"expected one of {listed(sorted(known))}" if known else "none is defined"
            message = f"unknown {what} '{scalar.text[:64]}': {expected}"
            self._reader.fail(scalar, message, did_you_mean(scalar.text, known))
            return None
        return scalar.text

    def _at(self, options: Entries) -> On | None:
        reader = self._reader
        path = clock_times.trait_path(reader, options["at"].value, self._trait)
        zone = clock_times.zone(reader, options, self._trait)
        time = clock_times.time_of_day(reader, options["time"]) if "time" in options else None
        before = reader.duration(options.get("before"), least=1) or 0
        if before % DAY_MS:
            reader.fail(options["before"].value, "whole days are expected, as 3d")
        if path is None:
            return None
        return On("at", "", schedule=At(path, zone, time, reader.flag(options.get("yearly")), before // DAY_MS))

    def _every(self, options: Entries) -> On | None:
        reader = self._reader
        moments = clock_times.moments(reader, options["every"])
        zone = clock_times.zone(reader, options, self._trait)
        over = reader.duration(options.get("over"), least=1) or 0
        if over > DAY_MS:
            reader.fail(options["over"].value, "members are spread over at most 1d")
        if "in" not in options:
            reader.fail(options["every"].key, "'every' needs 'in': the segment whose members it is for")
            return None
        segment = self._name(options["in"].value, "segment")
        return On("every", segment, schedule=Every(moments, zone, over)) if segment and moments else None

    # What holds it

    def _debounce(self, found: Entries) -> tuple[int, int]:
        """How long nothing more may start it, and how long after the first start at the latest (0: no such limit)."""
        entry, reader = found.get("debounce"), self._reader
        if entry is None:
            return 0, 0
        if "after" in found:
            reader.fail(entry.key, "'debounce' is a wait itself: 'after' has no meaning beside it", "write one of both")
        if isinstance(entry.value, Scalar):
            return reader.duration(entry, least=1) or 0, 0
        options = reader.options(entry.value, DEBOUNCE, "'debounce'", entry.key) or {}
        time, at_most = reader.duration(options.get("for"), least=1) or 0, reader.duration(options.get("at_most"), least=1) or 0
        if at_most and at_most < time:
            reader.fail(options["at_most"].value, "'at_most' is not less than 'for'")
        return time, at_most

    def _unless(self, entry: Entry | None, on: On, owner: str) -> Unless | None:
        """`unless: EVENT`, several of them, or the options."""
        reader = self._reader
        if entry is None:
            return None
        if not isinstance(entry.value, Mapping):
            return Unless(reader.events(entry))
        before = len(reader.errors)
        found = reader.options(entry.value, UNLESS, "'unless'", entry.key) or {}
        if "event" not in found:
            for name in ("where", "same"):
                if name in found:
                    reader.fail(found[name].key, f"'{name}' looks at an event, and none is named", "write event: NAME")
            if "if" not in found and len(reader.errors) == before:
                reader.fail(entry.key, "'unless' needs 'event' or 'if'")
        events = reader.events(found.get("event"))
        where = reader.condition(found.get("where"), self._scopes.event_scope(events), owner)
        condition = reader.condition(found.get("if"), self._scopes.profile_scope(continuous=True), owner)
        same = self._same(found.get("same"), on, "'same' compares two events, and this starts without one")
        return Unless(events, where, same, condition)

    def _same(self, entry: Entry | None, on: On, why: str) -> tuple[Node, ...]:
        if entry is None:
            return ()
        if on.kind != "event":
            self._reader.fail(entry.key, why)
            return ()
        paths: dict[str, Node] = {}
        for item in self._reader.items(entry.value):
            node = self._reader.expression(item, self._scopes.event_scope(()), "")
            if isinstance(node, Path) and EACH not in node.parts:
                paths[unparse(node)] = node
            elif node is not None:
                self._reader.fail(item, "a path of the event is expected, as properties.cart_id", offset=node.span.start)
        return tuple(node for _, node in sorted(paths.items()))

    def _again(self, entry: Entry | None) -> Again:
        """`always`, `once`, a duration, or `{exited: SEGMENT}`."""
        if entry is None:
            return Again()
        if isinstance(entry.value, Mapping):
            found = self._reader.options(entry.value, AGAIN, "'again'", entry.key) or {}
            segment = self._name(found["exited"].value, "segment") if "exited" in found else None
            return Again("exited", segment) if segment else Again()
        if isinstance(entry.value, Scalar) and entry.value.text in ("always", "once"):
            return Again(cast("Any", entry.value.text))
        if isinstance(entry.value, Scalar) and entry.value.text[:1].isalpha():
            message = f"unknown word '{entry.value.text[:40]}': expected always, once, a duration or {{exited: SEGMENT}}"
            self._reader.fail(entry.value, message, did_you_mean(entry.value.text, ("always", "once")))
            return Again()
        after = self._reader.duration(entry, least=1)
        return Again("after", after=after) if after else Again()

    # What it sends

    def _payload(self, entry: Entry | None, scope: Scope, owner: str) -> dict[str, Node]:
        if entry is None:
            return {}
        payload = {}
        for written, item in sorted(self._reader.mapping(entry.value, "a payload").items()):
            name = unicodedata.normalize("NFC", written)
            if not name or len(name) > 128:
                self._reader.fail(item.key, "a name in a payload has 1 to 128 characters")
                continue
            node = self._reader.expression(item.value, scope, owner)
            if node is not None:
                payload[name] = node
        if len(payload) > MOST_PAYLOAD:
            self._reader.fail(entry.value, f"a payload has at most {MOST_PAYLOAD} values")
        return payload

    def _steps(self, found: Entries, on: On, scope: Scope, owner: str) -> Any:
        entry = found.get("steps")
        if entry is None:
            return ()
        if "payload" in found:
            self._reader.fail(found["payload"].key, "a journey sends in its steps", "write the payload beside 'send'")

        def same(written: Entry | None) -> tuple[Node, ...]:
            return self._same(written, on, "'same' compares two events, and this starts without one")

        return Steps(self._reader, owner, scope, self._scopes.event_scope, self._payload, same).read(entry)
