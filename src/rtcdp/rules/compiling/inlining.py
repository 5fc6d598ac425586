"""Expressions as Python text, for the generated functions. What has no text of its own here calls its closure.

The text means what the closure means; only what is known of the types beforehand is left out of it. Text of users goes
in by `repr` only.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from rtcdp.aggregates import SCALE, Count, ExtremeTime, MostFrequent, Sum, Unique, WindowAtLeast, WindowCount
from rtcdp.aggregates.base import unscaled
from rtcdp.aggregates.lifetime import Average
from rtcdp.profile import slot_key
from rtcdp.rules.compiling.features import Leaf
from rtcdp.rules.compiling.interpreter import COMPUTE, Closure
from rtcdp.rules.expressions.tree import Arithmetic, Call, Compare, Conditional, Literal, Logical, Name, Node, Not, Path

NUMBER = "(type({0}) is float or type({0}) is int)"
_ORDER = ("<", "<=", ">", ">=")
_NUMBERS = (Count, Sum, Average, ExtremeTime, Unique, WindowAtLeast, WindowCount)  # their values are numbers or missing
_COUNTS = (Count, Unique, WindowAtLeast, WindowCount)
_NEVER_MISSING = (Sum, *_COUNTS)


class Writer:
    """Lines of one function, the objects they name, and names for what they compute."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.objects: dict[str, Any] = {}
        self._locals = 0

    def add(self, depth: int, line: str) -> None:
        """Add a line."""
        self.lines.append("    " * depth + line)

    def object(self, value: Any, kind: str = "o") -> str:
        """Name an object."""
        name = f"{kind}{len(self.objects)}"
        self.objects[name] = value
        return name

    def local(self) -> str:
        """Make a name for something computed."""
        self._locals += 1
        return f"x{self._locals}"


class Text(NamedTuple):
    """The text of a value; whether that is surely a number where it is not missing; whether it is never missing.

    counts: it is a whole number that no profile brings beyond what a float holds exactly.
    """

    text: str
    number: bool = False
    never_missing: bool = False
    counts: bool = False


class Leaves(Protocol):
    """The part of an expression that is read from outside."""

    arguments: str

    def text(self, writer: Writer, node: Node) -> Text | None:
        """How the node is read; None where it has no text."""

    def compared(self, writer: Writer, node: Node, operator: str, constant: Any) -> str | None:
        """A shorter way to compare it with a constant."""

    def closure(self, node: Node) -> Closure:
        """The interpreter's meaning of a node."""


class ProfileLeaves:
    """What rules read: features, segments; in a function that has `profile slots segments now`."""

    arguments = "profile, None"

    def __init__(self, features: dict[str, Leaf], closure: Callable[[Node], Closure]) -> None:
        self._features = features
        self.closure = closure

    def text(self, writer: Writer, node: Node) -> Text | None:
        """See `Leaves`."""
        match node:
            case Name(kind="segment", name=name):
                return Text(f"({slot_key(f'segment:{name}')!r} in segments)", never_missing=True)
            case Name(kind="feature", name=name):
                return self._feature(writer, self._features[name])
            case Call(function="since", arguments=(Name(kind="feature", name=name),)):
                leaf = self._features[name]
                if isinstance(leaf.aggregate, ExtremeTime):
                    at = writer.local()
                    return Text(f"(now - {at} if ({at} := slots.get({leaf.key!r})) is not None else None)", number=True)
        return None

    def _feature(self, writer: Writer, leaf: Leaf) -> Text:
        aggregate, key = leaf.aggregate, leaf.key
        if isinstance(aggregate, Count):
            text = f"slots.get({key!r}, 0)"
        elif isinstance(aggregate, ExtremeTime):
            text = f"slots.get({key!r})"
        elif isinstance(aggregate, Sum):
            text = f"{writer.object(unscaled, 'unscaled')}(slots.get({key!r}, 0))"
        else:
            text = f"{writer.object(aggregate.value, 'value')}(slots.get({key!r}), now)"
        counts = isinstance(aggregate, _COUNTS)
        return Text(text, isinstance(aggregate, _NUMBERS), isinstance(aggregate, _NEVER_MISSING), counts)

    def compared(self, writer: Writer, node: Node, operator: str, constant: Any) -> str | None:
        """See `Leaves`."""
        match node:
            case Name(kind="feature", name=name):
                aggregate, key = self._features[name].aggregate, self._features[name].key
                if isinstance(aggregate, Sum) and type(constant) in (int, float) and operator in _ORDER:
                    units = Fraction(str(constant)) * SCALE
                    return f"(slots.get({key!r}, 0) {operator} {units.numerator!r})" if units.denominator == 1 else None
                if isinstance(aggregate, MostFrequent) and operator == "==" and type(constant) is str:
                    local = writer.local()
                    return f"(({local} := slots.get({key!r})) is not None and {local}[0] == {constant!r})"
        return None


class EventLeaves:
    """What `where` reads: an event; in a function that has `event`."""

    arguments = "None, event"

    def __init__(self, attribute: Callable[[Node], str], closure: Callable[[Node], Closure]) -> None:
        self._attribute = attribute
        self.closure = closure

    def text(self, writer: Writer, node: Node) -> Text | None:
        """See `Leaves`."""
        attribute = self._attribute(node) if isinstance(node, Path) else ""
        return Text(f"event.{attribute}") if attribute else None

    def compared(self, writer: Writer, node: Node, operator: str, constant: Any) -> str | None:
        """See `Leaves`."""
        return None


def value(writer: Writer, node: Node, leaves: Leaves) -> Text:
    """Text of a value."""
    match node:
        case Literal(value=constant):
            return Text(repr(constant), type(constant) in (int, float), never_missing=True)
        case Arithmetic(operator=operator, left=left, right=right):
            one, other = value(writer, left, leaves), value(writer, right, leaves)
            if one.counts and isinstance(right, Literal) and type(right.value) in (int, float) and right.value:
                return Text(f"({one.text} {operator} {other.text})", number=True, never_missing=True)  # neither overflows
            # only texts are joined into something else than a number, and what is surely a number is none
            number = operator != "+" or one.number or other.number
            return Text(f"{writer.object(COMPUTE[operator], 'compute')}({one.text}, {other.text})", number)
        case Conditional(test=test, then=then, otherwise=otherwise):
            one, other = value(writer, then, leaves), value(writer, otherwise, leaves)
            text = f"({one.text} if {condition(writer, test, leaves)} else {other.text})"
            return Text(text, one.number and other.number, one.never_missing and other.never_missing)
        case Compare() | Logical() | Not():
            return Text(condition(writer, node, leaves), never_missing=True)
    return leaves.text(writer, node) or Text(_called(writer, node, leaves))


def _called(writer: Writer, node: Node, leaves: Leaves) -> str:
    return f"{writer.object(leaves.closure(node), 'closure')}({leaves.arguments})"


def condition(writer: Writer, node: Node, leaves: Leaves) -> str:
    """Text of a condition: True or False, nothing else."""
    match node:
        case Logical(operator=operator, items=items):
            return "(" + f" {operator} ".join(condition(writer, item, leaves) for item in items) + ")"
        case Not(item=item):
            return f"(not {condition(writer, item, leaves)})"
        case Compare():
            return _comparison(writer, node, leaves)
        case Call(function="missing", arguments=(of,)):
            return f"({value(writer, of, leaves).text} is None)"
        case Name(kind="segment"):
            return value(writer, node, leaves).text
    return f"({value(writer, node, leaves).text} is True)"


def _comparison(writer: Writer, node: Compare, leaves: Leaves) -> str:
    operator, left, right = node.operator, node.left, node.right
    constant = right.value if isinstance(right, Literal) else None
    if constant is not None and (short := leaves.compared(writer, left, operator, constant)):
        return short
    if operator == "==" and type(constant) is str:
        return f"({value(writer, left, leaves).text} == {constant!r})"
    if operator not in (*_ORDER, "=="):
        return _called(writer, node, leaves)
    one, other = value(writer, left, leaves), value(writer, right, leaves)
    if one.number and other.number:
        return _numbers(writer, operator, one, other)
    if operator in _ORDER and type(constant) in (int, float):
        local = writer.local()
        return f"((type({local} := {one.text}) is float or type({local}) is int) and {local} {operator} {constant!r})"
    return _called(writer, node, leaves)


def _numbers(writer: Writer, operator: str, one: Text, other: Text) -> str:
    """Compare what can only be numbers or missing."""
    tests, names = [], []
    for side in (one, other):
        names.append(side.text if side.never_missing else writer.local())
        if not side.never_missing:
            tests.append(f"({names[-1]} := {side.text}) is not None")
    return "(" + " and ".join([*tests, f"{names[0]} {operator} {names[1]}"]) + ")"
