"""Comparisons of an expression: which of them the language allows, and how to write what is meant."""

from __future__ import annotations

import ast
from typing import Any, cast

from rtcdp.rules.expressions.calls import source_of
from rtcdp.rules.expressions.inference import ORDERED, comparable, shown
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.signatures import SIGNATURES
from rtcdp.rules.expressions.tokens import Problem, Rewritten, Unreadable
from rtcdp.rules.expressions.tree import Call, Compare, ListOf, Literal, Logical, Name, Node, Not, Span, Type, walk

MOST_NODES = 1_000


class Comparisons:
    """One expression that is being read: what is wrong with it so far, and its comparisons."""

    def __init__(self, text: str, rewritten: Rewritten, scope: Scope) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._rewritten = rewritten
        self._scope = scope
        self._nodes = 0
        self._depth = 0

    def _count(self, more: int, span: Span) -> None:
        self._nodes += more
        if self._nodes > MOST_NODES:
            raise Unreadable(f"the expression has more than {MOST_NODES} parts", span.start, span.end)

    def _span(self, tree: ast.expr) -> Span:
        return self._rewritten.span(tree.col_offset, tree.end_col_offset or tree.col_offset + 1)

    def _source(self, node: Node) -> str:
        return source_of(node, self._text)

    def _wrong(self, message: str, span: Span, hint: str = "") -> Literal:
        self.problems.append(Problem(message, hint, span.start, span.end))
        return Literal(None, Type.ANY, span)

    def _compare(self, operator: str, left: Node, right: Node, span: Span) -> Node:
        if isinstance(right, Name) and right.kind == "list":
            found = self._in_list(left, right, span)
            return found if operator == "in" else self._not_in_list(left, found, span)
        if operator in ("in", "not in"):
            self._check_member(left, right)
        elif Type.LIST in (left.type, right.type):
            at = left if left.type is Type.LIST else right
            self._wrong(f"{self._source(at)} is a list", at.span, f"write VALUE in {self._source(at)}, or any(...)")
        elif not comparable(left.type, right.type):
            message = (
                f"{self._source(left)} is {shown(left.type)} and cannot be compared "
                f"with {self._source(right)}, which is {shown(right.type)}"
            )
            self._wrong(message, right.span, self._advice(left, right))
        elif operator not in ("==", "!=") and not {left.type, right.type} <= ORDERED:
            self._wrong(f"true and false have no order: '{operator}'", span, "use == or !=")
        return Compare(cast("Any", operator), left, right, Type.BOOLEAN, span)

    def _in_list(self, left: Node, right: Node, span: Span) -> Node:
        if not isinstance(right, Name) or right.kind != "list":
            hint = f"write {SIGNATURES['in_list'].call('in_list')}, with a name of `lists:`"
            named = self._scope.names.get(left.value) if isinstance(left, Literal) else None
            if isinstance(left, Literal) and named is not None and named.kind == "list":
                hint = f"write in_list({self._source(right)}, {left.value})"
            return self._wrong(f"{self._source(right)} is not a list of `lists:`", right.span, hint)
        if left.type not in (Type.TEXT, Type.ANY):
            return self._wrong(f"a list holds text, but {self._source(left)} is {shown(left.type)}", left.span)
        return Call("in_list", (left, right), Type.BOOLEAN, span)

    def _not_in_list(self, left: Node, found: Node, span: Span) -> Node:
        """`x not in names`: false where x is missing, as every comparison is."""
        self._count(sum(1 for _ in walk(left)), span)
        there = Not(Call("missing", (left,), Type.BOOLEAN, span), Type.BOOLEAN, span)
        return Logical("and", (there, Not(found, Type.BOOLEAN, span)), Type.BOOLEAN, span)

    def _check_member(self, left: Node, right: Node) -> None:
        if right.type is Type.TEXT:
            hint = f"write contains({self._source(right)}, {self._source(left)})"
            self._wrong(f"{self._source(right)} is text, not a list", right.span, hint)
        elif right.type not in (Type.LIST, Type.ANY):
            self._wrong(f"{self._source(right)} is {shown(right.type)}, not a list", right.span)
        elif left.type is Type.LIST:
            self._wrong(f"{self._source(left)} is a list", left.span, "write VALUE in LIST")
        elif isinstance(right, ListOf):
            for item in right.items:
                if not comparable(left.type, item.type):
                    message = f"{self._source(left)} is {shown(left.type)}, but {self._source(item)} is {shown(item.type)}"
                    self._wrong(message, item.span, self._advice(left, item))

    def _advice(self, left: Node, right: Node) -> str:
        """How to write a comparison whose types do not agree."""
        for one, other in ((left, right), (right, left)):
            if one.type is Type.TIME and other.type is Type.DURATION:
                return f"write since({self._source(one)})"
            if one.type is Type.TIME and other.type in (Type.TEXT, Type.NUMBER) and isinstance(other, Literal):
                return f"write day({self._source(one)}) > '2026-03-31' to compare days, or since({self._source(one)}) > 30d"
            if one.type is Type.DURATION and isinstance(other, Literal) and other.type is Type.NUMBER:
                return f"write {other.value}d for days, {other.value}h for hours"
            if one.type is Type.DURATION and isinstance(other, Literal) and other.type is Type.TEXT:
                return "write durations without quotes: 30d"
            if one.type is Type.NUMBER and isinstance(other, Literal) and str(other.value).replace(".", "").isdecimal():
                return "write numbers without quotes"
        return ""
