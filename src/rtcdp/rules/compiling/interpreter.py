"""An expression's tree as a Python closure `(profile, event) -> value`: the executable meaning of the language.

Missing is None: a comparison with it is false, arithmetic with it is missing. Types never coerce: what does not match
is false. `Reader` says where names and paths are found, so that one meaning serves events, profiles and payloads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any, Protocol

import re2

from rtcdp.rules.compiling.functions import FUNCTIONS, contains, is_number, same
from rtcdp.rules.expressions.tree import (
    EACH,
    Arithmetic,
    Call,
    Compare,
    Conditional,
    EventField,
    ListOf,
    Literal,
    Logical,
    Name,
    Negative,
    Node,
    Not,
    Part,
    Path,
)

Closure = Callable[[Any, Any], Any]


class Reader(Protocol):
    """Where the leaves of an expression are read."""

    def name(self, node: Name) -> Closure:
        """A feature, tag, segment or list."""

    def part(self, node: Part) -> Closure:
        """One key of a keyed feature."""

    def path(self, node: Path) -> Closure:
        """Traits, properties, context."""

    def field(self, node: EventField) -> Closure:
        """A field of the event."""

    def since(self, node: Node) -> Closure:
        """How long ago a time was (ms)."""


def closure(node: Node, reader: Reader) -> Closure:
    """Make the closure of a checked expression."""
    return _MAKERS[type(node)](node, reader)


def condition(node: Node | None, reader: Reader) -> Closure | None:
    """Make the closure of a condition: true only where the value is True. None stays None."""
    if node is None:
        return None
    value = closure(node, reader)
    return lambda profile, event: value(profile, event) is True


def follow(value: Any, parts: tuple[str, ...]) -> Any:
    """Follow a path into a JSON value; EACH fans out over an array into a flat list."""
    for place, part in enumerate(parts):
        if part == EACH:
            if not isinstance(value, list):
                return None
            found: list[Any] = []
            for item in value:
                inner = follow(item, parts[place + 1 :])
                if isinstance(inner, list):
                    found += inner
                elif inner is not None:
                    found.append(inner)
            return found
        if type(value) is not dict:
            return None
        value = value.get(part)
    return value


def _literal(node: Literal, reader: Reader) -> Closure:
    value = node.value
    return lambda profile, event: value


def _list(node: ListOf, reader: Reader) -> Closure:
    items = [closure(item, reader) for item in node.items]
    return lambda profile, event: [item(profile, event) for item in items]


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def ordered(one: Any, other: Any) -> bool:
    """Whether two values may be compared by order: two numbers or two texts."""
    return (is_number(one) and is_number(other)) or (type(one) is str and type(other) is str)


def _compare(node: Compare, reader: Reader) -> Closure:
    left, right = closure(node.left, reader), closure(node.right, reader)
    if node.operator in _ORDER:
        return _compare_order(_ORDER[node.operator], left, right, node.right)
    if node.operator == "==":
        if isinstance(node.right, Literal) and type(node.right.value) is str:
            text = node.right.value
            return lambda profile, event: left(profile, event) == text
        return lambda profile, event: same(left(profile, event), right(profile, event))
    if node.operator == "!=":
        return lambda profile, event: _differs(left(profile, event), right(profile, event))
    if node.operator == "in":
        return lambda profile, event: contains(right(profile, event), left(profile, event))

    def not_in(profile: Any, event: Any) -> bool:
        one, other = left(profile, event), right(profile, event)
        return one is not None and other is not None and not contains(other, one)

    return not_in


def _compare_order(order: Callable[[Any, Any], bool], left: Closure, right: Closure, limit: Node) -> Closure:
    if isinstance(limit, Literal) and is_number(limit.value):
        constant = limit.value

        def against_number(profile: Any, event: Any) -> bool:
            one = left(profile, event)
            return type(one) in (int, float) and order(one, constant)

        return against_number

    def against_any(profile: Any, event: Any) -> bool:
        one, other = left(profile, event), right(profile, event)
        return ordered(one, other) and order(one, other)

    return against_any


def _differs(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    if is_number(one) and is_number(other):
        return bool(one != other)
    return type(one) is type(other) and one != other


def _logical(node: Logical, reader: Reader) -> Closure:
    items = [closure(item, reader) for item in node.items]
    if len(items) == 2:
        one, other = items
        if node.operator == "and":
            return lambda profile, event: one(profile, event) is True and other(profile, event) is True
        return lambda profile, event: one(profile, event) is True or other(profile, event) is True
    if node.operator == "and":
        return lambda profile, event: all(item(profile, event) is True for item in items)
    return lambda profile, event: any(item(profile, event) is True for item in items)


def _not(node: Not, reader: Reader) -> Closure:
    item = closure(node.item, reader)
    return lambda profile, event: item(profile, event) is not True


def _divide(one: Any, other: Any) -> Any:
    return one / other if other else None


def _floor_divide(one: Any, other: Any) -> Any:
    return one // other if other else None


def _modulo(one: Any, other: Any) -> Any:
    return one % other if other else None


def _computing(operation: Callable[[Any, Any], Any], *, joins: bool) -> Callable[[Any, Any], Any]:
    """Make `(one, other) -> value`: missing in, missing out, and missing where it is no number that a float can hold."""

    def compute(one: Any, other: Any) -> Any:
        if is_number(one) and is_number(other):
            try:
                found = operation(one, other)
            except OverflowError:
                return None
            return found if type(found) is not float or isfinite(found) else None
        if joins and type(one) is str and type(other) is str:
            return one + other
        return None

    return compute


COMPUTE = {
    "+": _computing(operator.add, joins=True),
    "-": _computing(operator.sub, joins=False),
    "*": _computing(operator.mul, joins=False),
    "/": _computing(_divide, joins=False),
    "%": _computing(_modulo, joins=False),
    "//": _computing(_floor_divide, joins=False),
}


def _arithmetic(node: Arithmetic, reader: Reader) -> Closure:
    left, right, compute = closure(node.left, reader), closure(node.right, reader), COMPUTE[node.operator]
    return lambda profile, event: compute(left(profile, event), right(profile, event))


def _negative(node: Negative, reader: Reader) -> Closure:
    item = closure(node.item, reader)

    def compute(profile: Any, event: Any) -> Any:
        value = item(profile, event)
        return -value if is_number(value) else None

    return compute


def _conditional(node: Conditional, reader: Reader) -> Closure:
    test = closure(node.test, reader)
    then, otherwise = closure(node.then, reader), closure(node.otherwise, reader)
    return lambda profile, event: (then if test(profile, event) is True else otherwise)(profile, event)


def _call(node: Call, reader: Reader) -> Closure:
    if node.function == "since":
        return reader.since(node.arguments[0])
    if node.function == "matches":
        return _matches(node, reader)
    if node.function == "in_list":
        return _in_list(node, reader)
    function = FUNCTIONS[node.function]
    arguments = [closure(argument, reader) for argument in node.arguments]
    if len(arguments) == 1:
        only = arguments[0]
        return lambda profile, event: function(only(profile, event))
    return lambda profile, event: function(*[argument(profile, event) for argument in arguments])


def _matches(node: Call, reader: Reader) -> Closure:
    text, pattern = node.arguments
    if not isinstance(pattern, Literal):
        message = "matches() takes a constant pattern"
        raise TypeError(message)
    value, search = closure(text, reader), re2.compile(pattern.value).search

    def compute(profile: Any, event: Any) -> bool:
        found = value(profile, event)
        return type(found) is str and search(found) is not None

    return compute


def _in_list(node: Call, reader: Reader) -> Closure:
    value, members = (closure(argument, reader) for argument in node.arguments)

    def compute(profile: Any, event: Any) -> bool:
        found = value(profile, event)
        return type(found) is str and found in members(profile, event)

    return compute


_MAKERS: dict[type, Callable[[Any, Reader], Closure]] = {
    Literal: _literal,
    ListOf: _list,
    Compare: _compare,
    Logical: _logical,
    Not: _not,
    Arithmetic: _arithmetic,
    Negative: _negative,
    Conditional: _conditional,
    Call: _call,
    Name: lambda node, reader: reader.name(node),
    Part: lambda node, reader: reader.part(node),
    Path: lambda node, reader: reader.path(node),
    EventField: lambda node, reader: reader.field(node),
}
