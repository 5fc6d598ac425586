"""The tree of a checked expression: what the parser makes and the compiler and `why` read.

Every node has a `type` (inferred) and the text span it came from. Nothing here is evaluated.
Missing is `None` at run time. Times are ms since 1970 UTC, durations are ms.

Nodes are equal when they mean the same: spans do not count, so a node can be the key of a dict. `unparse` gives the
canonical text of a node, and parsing that text gives an equal node.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from typing import Literal as OneOf


class Type(StrEnum):
    """Static types. ANY is what is known only at run time (properties and traits without a tracking plan)."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    DURATION = "duration"
    LIST = "list"
    ANY = "any"


EACH = "[]"  # a path step that fans out over an array
# Vowel signs and accents that stand alone belong to a word too, but not to what `re` calls one.
_MARKS = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))
WORD = re.compile(rf"[^\W\d][\w{_MARKS}]*")  # what can stand in an expression without quotes


@dataclass(frozen=True, slots=True)
class Span:
    """Columns [start, end) of the expression's text, from 0."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: int, float, str, bool; a duration literal (`30d`) is an int of ms with type DURATION."""

    value: Any
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A defined name: feature, tag, segment or list; or `stage`, that of the lifecycle."""

    kind: OneOf["feature", "tag", "segment", "list", "stage"]
    name: str
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """`name['key']`: the value that a keyed feature has for a key, which is written as by `hashable`."""

    name: str
    key: str
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Path:
    """`traits.a.b`, `properties.products[].sku`, `context.app.name`: parts after the root, EACH for `[]`.

    The type is what the tracking plan says (LIST with an EACH in it): whoever reads a value must still look at it,
    since an event older than the plan, or one that only got a warning, may hold anything.
    """

    root: OneOf["traits", "properties", "context"]
    parts: tuple[str, ...]
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of the event itself."""

    name: OneOf["occurred", "event", "channel", "message_id"]
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; a chain `a < b < c` is a `Logical` "and" of two.

    Right of `in` and `not in` stands a ListOf, the Name of a list (`in_list(x, names)` is parsed to `x in names`), or
    anything of type LIST or ANY.
    """

    operator: OneOf["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
    left: Node
    right: Node
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` / `or` over two or more items, none of which is a Logical of the same operator."""

    operator: OneOf["and", "or"]
    items: tuple[Node, ...]
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """`not item`: missing counts as false, so `not` of it is true."""

    item: Node
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+ - * / % //`; missing in, missing out; division by zero is missing."""

    operator: OneOf["+", "-", "*", "/", "%", "//"]
    left: Node
    right: Node
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Negative:
    """`-item`."""

    item: Node
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    """`then if test else otherwise`."""

    test: Node
    then: Node
    otherwise: Node
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `signatures.SIGNATURES`; the pattern of `matches` and the digits of `round` are Literals."""

    function: str
    arguments: tuple[Node, ...]
    type: Type
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal."""

    items: tuple[Node, ...]
    type: Type
    span: Span = field(compare=False)


Node = Literal | Name | Part | Path | EventField | Compare | Logical | Not | Arithmetic | Negative | Conditional | Call | ListOf


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, from left to right."""
    match node:
        case Compare(left=left, right=right) | Arithmetic(left=left, right=right):
            return (left, right)
        case Logical(items=items) | ListOf(items=items):
            return items
        case Not(item=item) | Negative(item=item):
            return (item,)
        case Conditional(test=test, then=then, otherwise=otherwise):
            return (then, test, otherwise)
        case Call(arguments=arguments):
            return arguments
        case _:
            return ()


def moved(node: Node, span: Span) -> Node:
    """The same tree as if it had been written at `span`."""
    match node:
        case Compare() | Arithmetic():
            return replace(node, left=moved(node.left, span), right=moved(node.right, span), span=span)
        case Logical() | ListOf():
            return replace(node, items=tuple(moved(item, span) for item in node.items), span=span)
        case Not() | Negative():
            return replace(node, item=moved(node.item, span), span=span)
        case Conditional():
            test, then, otherwise = (moved(item, span) for item in (node.test, node.then, node.otherwise))
            return replace(node, test=test, then=then, otherwise=otherwise, span=span)
        case Call():
            return replace(node, arguments=tuple(moved(item, span) for item in node.arguments), span=span)
        case _:
            return replace(node, span=span)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


# How tightly each construct binds; what binds less than its place asks for gets parentheses.
_LOOSEST, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _ATOM = range(9)
_ARITHMETIC = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT, "//": _PRODUCT}


def unparse(node: Node) -> str:
    """The canonical text of a node: one spelling for one meaning, whatever spaces, quotes and brackets the user wrote."""
    return _unparse(node, _LOOSEST)


def _unparse(node: Node, place: int) -> str:
    text, binding = _spell(node)
    return f"({text})" if binding < place else text


def _spell(node: Node) -> tuple[str, int]:
    """The text of a node and how tightly it binds."""
    match node:
        case Literal(value=value, type=type_):
            text = _literal(value, type_)
            return text, _UNARY if text.startswith("-") else _ATOM
        case Compare(operator=operator, left=left, right=right):
            return f"{_unparse(left, _SUM)} {operator} {_unparse(right, _SUM)}", _COMPARE
        case Logical(operator=operator, items=items):
            binding = _AND if operator == "and" else _OR
            return f" {operator} ".join(_unparse(item, binding + 1) for item in items), binding
        case Not(item=item):
            return f"not {_unparse(item, _NOT)}", _NOT
        case Arithmetic(operator=operator, left=left, right=right):
            binding = _ARITHMETIC[operator]
            return f"{_unparse(left, binding)} {operator} {_unparse(right, binding + 1)}", binding
        case Negative(item=item):
            return f"-{_unparse(item, _UNARY)}", _UNARY
        case Conditional(test=test, then=then, otherwise=otherwise):
            return f"{_unparse(then, _OR)} if {_unparse(test, _OR)} else {_unparse(otherwise, _LOOSEST)}", _LOOSEST
        case _:
            return _spell_atom(node), _ATOM


def _spell_atom(node: Name | Part | EventField | Path | Call | ListOf) -> str:
    match node:
        case Part(name=name, key=key):
            return f"{name}[{spell_key(key)}]"
        case Path(root=root, parts=parts):
            return root + "".join(map(_step, parts))
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(unparse, arguments))})"
        case ListOf(items=items):
            return f"[{', '.join(map(unparse, items))}]"
        case _:
            return node.name


# ms of each unit of a duration literal, longest first.
UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def spell_duration(ms: int) -> str:
    """A duration as the language writes it, in the largest unit that gives a whole number: 5400000 is `90m`."""
    for unit, size in UNITS.items():
        if unit not in ("y", "w") and ms and ms % size == 0:  # these are read, but days are what people compare
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def _literal(value: Any, type_: Type) -> str:
    if type_ is Type.DURATION:
        return spell_duration(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)


def spell_key(key: str) -> str:
    """A key of a keyed feature as the language writes it: `'shoes'`, `6`, `true`."""
    return key[1:] if key.startswith("\0") else quote(key)


def quote(text: str) -> str:
    """A text literal, in single quotes, with everything escaped that does not print."""
    return "'" + "".join(map(_escape, text)) + "'"


def _escape(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _step(part: str) -> str:
    if part == EACH:
        return "[]"
    return f".{part}" if WORD.fullmatch(part) else f"[{quote(part)}]"
