"""`score`, `tier` and `rfm`: building blocks that are written out as comparisons with the constants of `cuts:`.

So they cost what comparisons cost, are followed as time passes, and `rtcdp why` shows them; nothing else knows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtcdp.rules.expressions.inference import shown
from rtcdp.rules.expressions.tokens import Problem
from rtcdp.rules.expressions.tree import (
    Arithmetic,
    Call,
    Compare,
    Conditional,
    ListOf,
    Literal,
    Node,
    Span,
    Type,
)

SCORES = frozenset({"score", "tier", "rfm"})
RFM = ("recency", "frequency", "monetary")
MOST_CUTS = 20

Cuts = tuple[Literal, ...]


@dataclass(frozen=True)
class Scored:
    """An expression that is compared with cuts. cuts: their name, as `value` or `customers.recency`."""

    cuts: str
    node: Node


def fault_of_value(value: Node, cuts: Cuts, name: str, text: str) -> Problem | None:
    """What is wrong with an expression that is compared with these cuts."""
    if not cuts:
        return None  # reported where they are written
    wanted = cuts[0].type
    type_ = Type.DURATION if value.type is Type.TIME else value.type
    if type_ in (wanted, Type.ANY):
        return None
    span = value.span
    source = text[span.start : span.end]
    return Problem(
        f"the cuts {name} are {'durations' if wanted is Type.DURATION else 'numbers'}, but {source} is {shown(value.type)}",
        "",
        span.start,
        span.end,
    )


def score(value: Node, cuts: Cuts, names: Sequence[Literal], span: Span) -> Node:
    """The name of the step that a value has reached: `names` has one more than there are cuts, the lowest first.

    Of a time or a duration, the shorter the higher.
    """
    if value.type is Type.TIME:
        value = Call("since", (value,), Type.DURATION, value.span)
    recent = value.type is Type.DURATION
    found: Node = names[0]
    for name, cut in zip(names[1:], reversed(cuts) if recent else cuts, strict=True):
        test = Compare("<=" if recent else ">=", value, cut, Type.BOOLEAN, span)
        found = Conditional(test, name, found, name.type, span)
    return found


def numbers(cuts: Cuts, span: Span) -> list[Literal]:
    """1 and one more for each cut."""
    return [Literal(place, Type.NUMBER, span) for place in range(1, len(cuts) + 2)]


def digits(cuts: Cuts, span: Span) -> list[Literal]:
    """The same as texts."""
    return [Literal(str(place), Type.TEXT, span) for place in range(1, len(cuts) + 2)]


def joined(parts: Sequence[Node], span: Span) -> Node:
    """Texts one after the other."""
    found = parts[0]
    for part in parts[1:]:
        found = Arithmetic("+", found, part, Type.TEXT, span)
    return found


def fault_of_names(names: Node, cuts: Cuts) -> Problem | None:
    """What is wrong with the names of tiers."""
    span = names.span
    if not isinstance(names, ListOf) or not all(isinstance(item, Literal) and item.type is Type.TEXT for item in names.items):
        return Problem("the names of the tiers are a list of texts, the lowest first", "", span.start, span.end)
    if cuts and len(names.items) != len(cuts) + 1:
        message = f"{len(cuts)} cuts make {len(cuts) + 1} tiers, but {len(names.items)} are named"
        return Problem(message, "", span.start, span.end)
    return None
