"""`steps:` of a trigger: from values of a document to the steps of a journey."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as AnyMapping

from rtcdp.rules.expressions.names import fault_of_name, listed
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.tree import Node
from rtcdp.rules.loading import clock_times
from rtcdp.rules.loading.documents import Entry, Mapping, Sequence, Value
from rtcdp.rules.loading.options import JOURNEY_STEP, JOURNEY_STEPS, WAY
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.sending import Await, Branch, Exit, Send, Split, Step, Wait, Way

MOST_STEPS = 100
DEEPEST = 10
Entries = AnyMapping[str, Entry]
# Which other options a step of each kind may have.
_BESIDE: dict[str, frozenset[str]] = {
    "send": frozenset({"payload", "channel", "when"}),
    "wait": frozenset(),
    "wait_for": frozenset({"up_to", "where", "same", "then", "else"}),
    "if": frozenset({"then", "else"}),
    "split": frozenset(),
    "exit": frozenset(),
}


class Steps:
    """Reads the steps of one trigger.

    scope:   what conditions and payloads see. events: makes the scope of some events.
    payload: reads a payload. same: reads the paths that two events must agree in.
    """

    def __init__(
        self,
        reader: Reader,
        owner: str,
        scope: Scope,
        events: Callable[[tuple[str, ...]], Scope],
        payload: Callable[[Entry | None, Scope, str], dict[str, Node]],
        same: Callable[[Entry | None], tuple[Node, ...]],
    ) -> None:
        self._reader, self._owner, self._scope = reader, owner, scope
        self._events, self._payload, self._same = events, payload, same
        self._names: set[str] = set()
        self._count = 0

    def read(self, entry: Entry) -> tuple[Step, ...]:
        """The whole journey."""
        before = len(self._reader.errors)
        steps = self._steps(entry, 0)
        if self._count > MOST_STEPS:
            self._reader.fail(entry.value, f"a journey has at most {MOST_STEPS} steps")
        elif not self._names and len(self._reader.errors) == before:
            self._reader.fail(entry.key, "a journey sends something", "write - send: NAME")
        return steps

    def _steps(self, entry: Entry | None, depth: int) -> tuple[Step, ...]:
        if entry is None:
            return ()
        if not isinstance(entry.value, Sequence) or not entry.value.items:
            self._reader.fail(entry.value, "a list of steps is expected", "write - wait: 1d")
            return ()
        if depth > DEEPEST:
            self._reader.fail(entry.value, f"steps are at most {DEEPEST} deep")
            return ()
        steps = [self._step(item, depth) for item in entry.value.items]
        return tuple(step for step in steps if step is not None)

    def _step(self, value: Value, depth: int) -> Step | None:
        self._count += 1
        if not isinstance(value, Mapping):
            self._reader.fail(value, f"a step is written with one of {listed(JOURNEY_STEPS)}", "write - wait: 1d")
            return None
        before = len(self._reader.errors)
        found = self._reader.options(value, JOURNEY_STEP, "a step") or {}
        kinds = [kind for kind in JOURNEY_STEPS if kind in found]
        if len(kinds) != 1:
            if len(kinds) > 1:
                self._reader.fail(found[kinds[1]].key, f"a step is one thing, not both '{kinds[0]}' and '{kinds[1]}'")
            elif len(self._reader.errors) == before:
                self._reader.fail(value, f"a step needs one of {listed(JOURNEY_STEPS)}")
            return None
        kind = kinds[0]
        for name in found:
            if name != kind and name not in _BESIDE[kind]:
                beside = [other for other in JOURNEY_STEPS if name in _BESIDE[other]]
                self._reader.fail(found[name].key, f"'{name}' has no meaning beside '{kind}'", f"it belongs to '{beside[0]}'")
        return self._made(kind, found, depth)

    def _made(self, kind: str, found: Entries, depth: int) -> Step | None:
        reader = self._reader
        if kind == "send":
            return self._send(found)
        if kind == "wait":
            time = reader.duration(found["wait"], least=1)
            return None if time is None else Wait(time)
        if kind == "wait_for":
            return self._await(found, depth)
        if kind == "if":
            node = reader.condition(found["if"], self._scope, self._owner)
            then, otherwise = self._ways(found, depth)
            return None if node is None else Branch(node, then, otherwise)
        if kind == "split":
            return self._split(found["split"], depth)
        if not reader.flag(found["exit"]):
            reader.fail(found["exit"].value, "write exit: true")
        return Exit()

    def _ways(self, found: Entries, depth: int) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        return self._steps(found.get("then"), depth + 1), self._steps(found.get("else"), depth + 1)

    def _send(self, found: Entries) -> Step | None:
        reader = self._reader
        scalar = reader.scalar(found["send"].value, "the name of what is sent")
        if scalar is None:
            return None
        if fault := fault_of_name(scalar.text):
            reader.fail(scalar, f"the name '{scalar.text[:64]}' {fault}")
        elif scalar.text in self._names:
            reader.fail(scalar, f"'{scalar.text}' is sent twice: each has a name of its own")
        self._names.add(scalar.text)
        payload = self._payload(found.get("payload"), self._scope, self._owner)
        channel = reader.text(found.get("channel"), "a channel", 64)
        return Send(scalar.text, payload, channel, reader.condition(found.get("when"), self._scope, self._owner))

    def _await(self, found: Entries, depth: int) -> Step | None:
        reader = self._reader
        if isinstance(found["wait_for"].value, Mapping):
            reader.fail(
                found["wait_for"].value,
                "the name of an event is expected",
                "write wait_for: EVENT; where and same stand beside it",
            )
            return None
        events = reader.events(found["wait_for"])
        if "up_to" not in found:
            reader.fail(found["wait_for"].key, "'wait_for' needs 'up_to': how long at most", "write up_to: 3d")
        up_to = reader.duration(found.get("up_to"), least=1)
        where = reader.condition(found.get("where"), self._events(events), self._owner)
        same = self._same(found.get("same"))
        then, otherwise = self._ways(found, depth)
        return Await(events, up_to, where, same, then, otherwise) if up_to is not None else None

    def _split(self, entry: Entry, depth: int) -> Step | None:
        reader, ways = self._reader, []
        for name, item in sorted(reader.mapping(entry.value, "a split").items()):
            if fault := fault_of_name(name):
                reader.fail(item.key, f"the name '{name[:64]}' {fault}")
            found = reader.options(item.value, WAY, "a way", item.key) or {}
            if "share" in found:
                ways.append(Way(name, clock_times.share(reader, found["share"]), self._steps(found.get("steps"), depth + 1)))
        total = sum(way.share for way in ways)
        if total > 1 + 1e-9:
            reader.fail(entry.key, f"the shares are {clock_times.spell_share(total)} together: at most 100% is there")
        return Split(tuple(ways)) if ways else None
