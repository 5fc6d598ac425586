"""What types an operator takes and gives, and the folding of constants. No coercion anywhere: ANY passes, nothing else does."""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Iterable
from typing import Any

from rtcdp.rules.expressions.tokens import LARGEST_NUMBER, plain_number
from rtcdp.rules.expressions.tree import (
    Arithmetic,
    Compare,
    Conditional,
    Literal,
    Logical,
    Negative,
    Node,
    Not,
    Type,
)

ORDERED = frozenset({Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION, Type.ANY})
_SHOWN = {
    Type.NUMBER: "a number",
    Type.TEXT: "text",
    Type.BOOLEAN: "true or false",
    Type.TIME: "a time",
    Type.DURATION: "a duration",
    Type.LIST: "a list",
    Type.ANY: "anything",
}

TYPE_OF = {str: Type.TEXT, int: Type.NUMBER, float: Type.NUMBER, bool: Type.BOOLEAN}
"""Of constants that are no times and no durations."""
_N, _T, _D = Type.NUMBER, Type.TIME, Type.DURATION
# (operator, left, right) -> result; what is not here is refused. Rows with ANY follow from the others.
_ARITHMETIC: dict[tuple[str, Type, Type], Type] = {
    **{(sign, _N, _N): _N for sign in ("+", "-", "*", "/", "%", "//")},
    **{(sign, _D, _D): _D for sign in ("+", "-", "%")},
    ("+", Type.TEXT, Type.TEXT): Type.TEXT,
    ("/", _D, _D): _N,
    ("//", _D, _D): _N,
    ("*", _D, _N): _D,
    ("*", _N, _D): _D,
    ("/", _D, _N): _D,
    ("//", _D, _N): _D,
    ("+", _T, _D): _T,
    ("+", _D, _T): _T,
    ("-", _T, _D): _T,
    ("-", _T, _T): _D,
}


def shown(type_: Type) -> str:
    """A type in a sentence: `a number`."""
    return _SHOWN[type_]


def comparable(left: Type, right: Type) -> bool:
    """Whether values of the two types can be equal."""
    return left is right or Type.ANY in (left, right)


def common(types: Iterable[Type]) -> Type | None:
    """The one type of several values: ANY if one may be anything, None if they cannot agree."""
    found = set(types)
    known = found - {Type.ANY}
    if len(known) > 1:
        return None
    return Type.ANY if Type.ANY in found or not known else known.pop()


def arithmetic(operator: str, left: Type, right: Type) -> Type | None:
    """The type of `left operator right`; None where that has no meaning.

    ANY comes from events and traits, where a value that can be calculated with is a number, or text for `+`.
    """
    if operator == "+" and Type.ANY in (left, right) and {left, right} <= {Type.ANY, Type.TEXT}:
        return Type.TEXT if Type.TEXT in (left, right) else Type.ANY
    left = Type.NUMBER if left is Type.ANY else left
    right = Type.NUMBER if right is Type.ANY else right
    return _ARITHMETIC.get((operator, left, right))


class ConstantFault(ValueError):
    """A constant that can never be of use; the message says why."""


_CALCULATE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operators.add,
    "-": operators.sub,
    "*": operators.mul,
    "/": operators.truediv,
    "%": operators.mod,
    "//": operators.floordiv,
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def fold(node: Node) -> Node:
    """The literal that a node of literals stands for; any other node as it is.

    Raises ConstantFault where it would always be missing or is too large.
    """
    match node:
        case Negative(item=Literal(value=value), type=type_, span=span) if value is not None:
            return Literal(plain_number(-value), type_, span)
        case Not(item=Literal(value=bool(value)), type=type_, span=span):
            return Literal(not value, type_, span)
        case Arithmetic(operator=operator, left=Literal(value=left), right=Literal(value=right)):
            if left is None or right is None:
                return node
            return Literal(_calculate(operator, left, right, node.type), node.type, node.span)
        case Compare(operator=operator, left=Literal() as left, right=Literal() as right) if operator in _COMPARE:
            if left.value is None or right.value is None:
                return node
            return Literal(_COMPARE[operator](left.value, right.value), node.type, node.span)
        case Logical(operator=operator, items=items) if all(_is_boolean(item) for item in items):
            values = [isinstance(item, Literal) and item.value for item in items]
            return Literal(all(values) if operator == "and" else any(values), node.type, node.span)
        case Conditional(test=Literal(value=bool(value)), then=then, otherwise=otherwise):
            return then if value else otherwise
        case _:
            return node


def _is_boolean(node: Node) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, bool)


def _calculate(operator: str, left: Any, right: Any, type_: Type) -> Any:
    if operator in ("/", "//", "%") and right == 0:
        raise ConstantFault("a division by zero is always missing")
    value = _CALCULATE[operator](left, right)
    if isinstance(value, str):
        return value
    if not (math.isfinite(value) and abs(value) < LARGEST_NUMBER):
        raise ConstantFault("the number is too large")
    value = plain_number(value)
    if type_ is Type.DURATION:
        if value != int(value):
            raise ConstantFault("a duration is a whole number of milliseconds")
        return int(value)
    return value
