"""The tree of a checked expression: what the parser makes and the compiler and `why` read.

Every node has a `type` (inferred) and the text span it came from. Nothing here is evaluated.
Missing is `None` at run time. Times are ms since 1970 UTC, durations are ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal as OneOf


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
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    """A defined name: feature, tag, segment or list."""

    kind: OneOf["feature", "tag", "segment", "list"]
    name: str
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Path:
    """`traits.a.b`, `properties.products[].sku`, `context.app.name`: parts after the root, EACH for `[]`."""

    root: OneOf["traits", "properties", "context"]
    parts: tuple[str, ...]
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of the event itself."""

    name: OneOf["occurred", "event", "channel", "message_id"]
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison (a chain `a < b < c` is an `And` of two)."""

    operator: OneOf["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
    left: Node
    right: Node
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` / `or` over two or more items."""

    operator: OneOf["and", "or"]
    items: tuple[Node, ...]
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Not:
    """`not item`: missing counts as false, so `not` of it is true."""

    item: Node
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+ - * / % //`; missing in, missing out; division by zero is missing."""

    operator: OneOf["+", "-", "*", "/", "%", "//"]
    left: Node
    right: Node
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Negative:
    """`-item`."""

    item: Node
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Conditional:
    """`then if test else otherwise`."""

    test: Node
    then: Node
    otherwise: Node
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the documented list."""

    function: str
    arguments: tuple[Node, ...]
    type: Type
    span: Span


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal."""

    items: tuple[Node, ...]
    type: Type
    span: Span


Node = Literal | Name | Path | EventField | Compare | Logical | Not | Arithmetic | Negative | Conditional | Call | ListOf
