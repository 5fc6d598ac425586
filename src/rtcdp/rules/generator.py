"""The fast path: one Python function per event name, and one per rule, written from the compiled rules.

The interpreter stays the meaning: whatever is not written out here calls its closures, and both are run against each
other in tests. Text of users goes into the source by `repr` only. The source of every function is in `linecache`, so
that a traceback shows it, and `Generator.source` gives it to people.
"""

from __future__ import annotations

import linecache
from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rtcdp.aggregates import LATEST, ONE, SCALE, Count, ExtremeTime, MostFrequent, Sum, WindowAtLeast, packed_up_to, scaled
from rtcdp.profile import Profile, slot_key
from rtcdp.rules.compiler import Compiled, Plan, Rule
from rtcdp.rules.expressions import Call, Compare, Literal, Logical, Name, Node, Not
from rtcdp.rules.features import Leaf
from rtcdp.rules.gates import Rules

Fold = Callable[[Profile, Any], Rules]
Holds = Callable[[Profile], bool]
_NUMBER = "(type({0}) is int or type({0}) is float)"


class _Writer:
    """Lines of one function and the objects they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.objects: dict[str, Any] = {"bisect_right": bisect_right, "packed_up_to": packed_up_to}

    def object(self, value: Any, kind: str = "o") -> str:
        """Name an object."""
        name = f"{kind}{len(self.objects)}"
        self.objects[name] = value
        return name

    def add(self, depth: int, line: str) -> None:
        """Add a line."""
        self.lines.append("    " * depth + line)


class Generator:
    """Functions for one version of the definitions, written on first use."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._by_leaf = {id(leaf.update): leaf for leaf in compiled.leaves.values()}
        self.source: dict[str, str] = {}

    def fold(self, event: str) -> Fold:
        """Make the function that folds events of this name into features: `(profile, event) -> touched rules`."""
        plan = self._compiled.plans.get(event, self._compiled.plan)
        writer = _Writer()
        writer.add(0, "def fold(profile, event):")
        writer.add(1, "slots = profile.slots; now = profile.now; at = event.occurred; touched = ()")
        for update in plan.updates:
            self._leaf(writer, self._by_leaf[id(update)])
        _tables(writer, plan)
        writer.add(1, "return touched")
        function: Fold = self._finish(writer, "fold", f"event {event}")
        return function

    def holds(self, rule: Rule) -> Holds:
        """Make the function that says whether a segment's condition holds: `(profile) -> bool`."""
        writer = _Writer()
        definition = self._compiled.definitions.segments[rule.name]
        writer.add(0, "def holds(profile):")
        writer.add(1, "slots = profile.slots; now = profile.now; segments = profile.segments")
        text = self._condition(writer, definition.condition)
        if text is None:
            text = f"{writer.object(rule.value)}(profile, None) is True"
        writer.add(1, f"return {text}")
        function: Holds = self._finish(writer, "holds", f"segment {rule.name}")
        return function

    def _finish(self, writer: _Writer, name: str, title: str) -> Any:
        text = "\n".join(writer.lines) + "\n"
        file = f"<rtcdp {self._compiled.version} {title!r}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        self.source[title] = text
        exec(compile(text, file, "exec"), writer.objects)  # noqa: S102  written above, users' text by repr only
        return writer.objects[name]

    # ---- features ----------------------------------------------------------------------------------------------

    def _leaf(self, writer: _Writer, leaf: Leaf) -> None:
        kind = type(leaf.aggregate)
        names = [name for name, other in self._compiled.features.items() if other is leaf]
        writer.add(1, f"# {', '.join(names)}".replace("\n", " "))
        if leaf.where is not None or (leaf.since.points and kind is not ExtremeTime):
            _call(writer, leaf)
        elif kind is Count:
            _count(writer, leaf)
        elif kind is MostFrequent:
            _most_frequent(writer, leaf)
        elif kind is ExtremeTime:
            _time(writer, leaf, last=leaf.aggregate.update(1, 2, "", None, 0) == 2)
        elif kind is Sum:
            _sum(writer, leaf)
        elif kind is WindowAtLeast:
            _window(writer, leaf)
        else:
            _call(writer, leaf)

    # ---- conditions --------------------------------------------------------------------------------------------

    def _condition(self, writer: _Writer, node: Node) -> str | None:
        """A condition as a Python expression that is True or False; None where the interpreter has to say."""
        match node:
            case Logical(operator=operator, items=items):
                texts = [self._condition(writer, item) for item in items]
                if any(text is None for text in texts):
                    return None
                return "(" + f" {operator} ".join(text for text in texts if text) + ")"
            case Not(item=item):
                text = self._condition(writer, item)
                return None if text is None else f"(not {text})"
            case Compare(operator=operator, left=left, right=Literal(value=constant)):
                return self._comparison(writer, operator, left, constant)
            case Call(function="missing", arguments=(Name(kind="feature", name=name),)):
                leaf = self._compiled.features[name]
                return f"({leaf.key!r} not in slots)" if type(leaf.aggregate) is ExtremeTime else None
            case Name(kind="segment", name=name):
                return f"({slot_key(f'segment:{name}')!r} in segments)"
        return None

    def _comparison(self, writer: _Writer, operator: str, left: Node, constant: Any) -> str | None:
        if operator not in ("==", "!=", "<", "<=", ">", ">="):
            return None
        match left:
            case Name(kind="feature", name=name):
                return _compare_feature(writer, self._compiled.features[name], operator, constant)
            case Call(function="since", arguments=(Name(kind="feature", name=name),)):
                key, local = self._compiled.features[name].key, f"t{len(writer.objects)}"
                writer.object(None)
                return f"(({local} := slots.get({key!r})) is not None and now - {local} {operator} {constant!r})"
        return None


def _compare_feature(writer: _Writer, leaf: Leaf, operator: str, constant: Any) -> str | None:
    aggregate, key = leaf.aggregate, leaf.key
    number = type(constant) in (int, float)
    if isinstance(aggregate, Count) and number:
        return f"(slots.get({key!r}, 0) {operator} {constant!r})"
    if isinstance(aggregate, Sum) and number:
        units = Fraction(str(constant)) * SCALE
        return f"(slots.get({key!r}, 0) {operator} {units.numerator!r})" if units.denominator == 1 else None
    if isinstance(aggregate, WindowAtLeast) and number:
        value = writer.object(aggregate.value, "value")
        return f"({value}(slots.get({key!r}), now) {operator} {constant!r})"
    if isinstance(aggregate, MostFrequent) and operator == "==" and type(constant) is str:
        local = f"s{len(writer.objects)}"
        writer.object(None)
        return f"(({local} := slots.get({key!r})) is not None and {local}[0] == {constant!r})"
    return None


def _value(writer: _Writer, leaf: Leaf) -> str:
    """What the leaf aggregates: an attribute of the projected event, or what its closure says."""
    if leaf.attribute:
        return f"event.{leaf.attribute}"
    return f"{writer.object(leaf.value_of, 'value')}(None, event)"


def _call(writer: _Writer, leaf: Leaf) -> None:
    writer.add(1, f"touched += {writer.object(leaf.update, 'update')}(profile, event)")


def _tables(writer: _Writer, plan: Plan) -> None:
    for read, table in plan.tables:
        writer.add(1, f"v = {writer.object(read)}(event)")
        writer.add(1, f"for update in {writer.object(table)}.get(v, ()) if type(v) is str else ():")
        writer.add(2, "touched += update(profile, event)")


def _count(writer: _Writer, leaf: Leaf) -> None:
    key = repr(leaf.key)
    writer.add(1, f"slots[{key}] = n = slots.get({key}, 0) + 1")
    if leaf.readers:
        writer.add(1, f"touched += {leaf.readers!r}")
    if leaf.gates.points:
        flips = writer.object(leaf.gates.flips, "flips")
        writer.add(1, f"if n in {flips}: touched += {flips}[n]")


def _time(writer: _Writer, leaf: Leaf, *, last: bool) -> None:
    if leaf.since.points:
        _call(writer, leaf)
        return
    key, whole = repr(leaf.key), tuple(sorted({*leaf.readers, *leaf.gates.every()}))
    writer.add(1, f"t = slots.get({key})")
    writer.add(1, f"if t is None or at {'>' if last else '<'} t:")
    writer.add(2, f"slots[{key}] = at")
    if whole:
        writer.add(2, f"touched += {whole!r}")


def _sum(writer: _Writer, leaf: Leaf) -> None:
    key = repr(leaf.key)
    writer.add(1, f"v = {_value(writer, leaf)}")
    writer.add(1, f"if {_NUMBER.format('v')}:")
    writer.add(2, f"v = v * {SCALE} if type(v) is int else {writer.object(scaled, 'scaled')}(v)")
    writer.add(2, "if v:")
    writer.add(3, f"b = slots.get({key}, 0); slots[{key}] = b + v")
    if leaf.readers:
        writer.add(3, f"touched += {leaf.readers!r}")
    if leaf.gates.points:
        crossed = writer.object(leaf.gates.crossed, "crossed")
        writer.add(3, f"touched += {crossed}(b, b + v)")
    writer.add(1, f"elif type(v) is list: touched += {writer.object(leaf.update, 'update')}(profile, event)")


def _most_frequent(writer: _Writer, leaf: Leaf) -> None:
    key, update = repr(leaf.key), writer.object(leaf.aggregate.update, "update")
    writer.add(1, f"v = {_value(writer, leaf)}")
    writer.add(1, "if type(v) is str:")
    writer.add(2, f"s = slots.get({key})")
    writer.add(2, "if s is not None and v == s[0] and at > 0:  # the top rises: it stays the top")
    writer.add(3, f"r = s[1][v]; b = r & {LATEST}; g = {LATEST} - at")
    writer.add(3, f"s[1][v] = r + {ONE} + (g - b if g < b else 0)")
    writer.add(2, "else:")
    writer.add(3, "b = s[0] if s is not None else None")
    writer.add(3, f"slots[{key}] = s = {update}(s, at, '', v, now)")
    if leaf.readers or leaf.named:
        writer.add(3, f"if s[0] != b: touched += {writer.object(leaf.moved, 'moved')}(b, s[0])")
    writer.add(1, f"elif v is not None: touched += {writer.object(leaf.update, 'update')}(profile, event)")


def _window(writer: _Writer, leaf: Leaf) -> None:
    """In order and nothing expired is the usual case: the newest time goes to the end."""
    aggregate = leaf.aggregate
    assert isinstance(aggregate, WindowAtLeast)  # noqa: S101  the caller chose by it
    key, flips = repr(leaf.key), leaf.gates.flips
    update = writer.object(leaf.update, "update")
    writer.add(1, f"s = slots.get({key})")
    writer.add(1, f"if s and at > 0 and at > now - {aggregate.within}:")
    writer.add(2, "a = at.to_bytes(6, 'big')")
    writer.add(2, f"if s[-6:] <= a and now > {aggregate.within} and s[:6] > (now - {aggregate.within}).to_bytes(6, 'big'):")
    writer.add(3, f"if len(s) >= {aggregate.keep * 6}: slots[{key}] = s[6:] + a")
    writer.add(3, "else:")
    writer.add(4, f"slots[{key}] = s = s + a; n = len(s) // 6")
    lookup, due = writer.object(flips, "flips"), writer.object(leaf.next, "next")
    writer.add(4, f"if n in {lookup}:")
    writer.add(5, f"touched += {lookup}[n]; w = {due}(s, now)")
    writer.add(5, "if w < profile.wake_at: profile.wake_at = w")
    writer.add(2, f"else: touched += {update}(profile, event)")
    writer.add(1, f"else: touched += {update}(profile, event)")
