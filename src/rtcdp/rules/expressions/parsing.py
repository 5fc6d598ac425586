"""Expression text to a checked tree: read by Python's own parser, kept only where the language allows it, and typed.

`parse(text, scope)` gives a Node or raises ExpressionErrors with everything that is wrong, each at its exact columns.
Nothing is evaluated but constants.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, cast
from typing import Literal as OneOf

from rtcdp.rules.expressions.calls import fault_of_count, problems_of_call, problems_of_since, source_of
from rtcdp.rules.expressions.inference import ConstantFault, arithmetic, common, fold, shown
from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.score_calls import Scores
from rtcdp.rules.expressions.scoring import SCORES
from rtcdp.rules.expressions.signatures import SIGNATURES
from rtcdp.rules.expressions.tokens import Problem, Rewritten, Unreadable, rewrite
from rtcdp.rules.expressions.tree import (
    Arithmetic,
    Call,
    Conditional,
    ListOf,
    Literal,
    Logical,
    Name,
    Negative,
    Node,
    Not,
    Span,
    Type,
    walk,
)

DEEPEST = 50


class ExpressionErrors(ValueError):
    """Everything that is wrong with one expression, in the order of its columns."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.start, problem.end))
        super().__init__("; ".join(problem.message for problem in self.problems))


def parse(text: str, scope: Scope) -> Node:
    """The checked tree of an expression. Raises ExpressionErrors."""
    try:
        rewritten = rewrite(text)
    except Unreadable as error:
        raise ExpressionErrors([error.problem]) from None
    converter = _Converter(text, rewritten, scope)
    try:
        node = converter.convert(_read(rewritten, text))
        if scope.continuous:
            converter.problems += problems_of_since(node, text)
    except Unreadable as error:
        raise ExpressionErrors([*converter.problems, error.problem]) from None
    if converter.problems:
        raise ExpressionErrors(converter.problems)
    return node


def parse_condition(text: str, scope: Scope) -> Node:
    """As `parse`, of something that is true or false."""
    node = parse(text, scope)
    if problem := not_a_condition(node, text):
        raise ExpressionErrors([problem])
    return node


def not_a_condition(node: Node, text: str) -> Problem | None:
    """What is wrong where a node is not true or false; None if it is."""
    if node.type in (Type.BOOLEAN, Type.ANY):
        return None
    source = source_of(node, text)
    hint = f"write {source} > 0" if node.type is Type.NUMBER else f"write not missing({source})"
    if isinstance(node, Literal):
        hint = ""
    message = f"true or false is expected, but {source} is {shown(node.type)}"
    return Problem(message, hint, node.span.start, node.span.end)


def _read(rewritten: Rewritten, text: str) -> ast.expr:
    """Python's tree of the rewritten text."""
    try:
        return ast.parse(rewritten.text.strip(), mode="eval").body
    except SyntaxError as error:
        at = max((error.offset or 1) - 1, 0)
        span = rewritten.span(at, at + 1)
        found = text[span.start : span.end]
        hint = "write 'x if condition else y'" if " if " in text else ""
        raise Unreadable(f"the expression cannot be read at '{found}'", span.start, span.end, hint) from None
    except (RecursionError, MemoryError, ValueError):
        raise Unreadable("the expression is nested too deep", 0, len(text)) from None


_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.FloorDiv: "//",
}


class _Converter(Scores):
    """Python's tree to ours. What is wrong is collected, and a hole of type ANY stands in its place."""

    def convert(self, tree: ast.expr) -> Node:
        """The node of a Python expression."""
        span = self._span(tree)
        self._count(1, span)
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable(f"the expression is nested more than {DEEPEST} deep", span.start, span.end)
        node = self._node(tree, span)
        self._depth -= 1
        try:
            return fold(node)
        except ConstantFault as error:
            return self._wrong(str(error), span)

    def _node(self, tree: ast.expr, span: Span) -> Node:
        match tree:
            case ast.Name(id=name):
                return self._name(name, span)
            case ast.Attribute() | ast.Subscript():
                return self._path(tree, span)
            case ast.BoolOp(op=op, values=values):
                return self._logical("and" if isinstance(op, ast.And) else "or", values, span)
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(op, operand, span)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _SIGNS:
                return self._arithmetic(_SIGNS[type(sign)], self.convert(left), self.convert(right), span)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._chain(left, [_COMPARISONS[type(op)] for op in ops], comparators, span)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._conditional(test, body, orelse, span)
            case ast.Call(func=func, args=args):
                return self._call(func, args, span)
            case ast.List(elts=items):
                return self._list(items, span)
        return self._wrong("this has no meaning here", span, "lists are written [a, b]")

    # Operators

    def _logical(self, operator: OneOf["and", "or"], trees: Sequence[ast.expr], span: Span) -> Node:
        items: list[Node] = []
        for tree in trees:
            item = self._condition(tree)
            if isinstance(item, Logical) and item.operator == operator:
                items.extend(item.items)
            else:
                items.append(item)
        return Logical(operator, tuple(items), Type.BOOLEAN, span)

    def _condition(self, tree: ast.expr) -> Node:
        node = self.convert(tree)
        if problem := not_a_condition(node, self._text):
            self.problems.append(problem)
        return node

    def _unary(self, op: ast.unaryop, operand: ast.expr, span: Span) -> Node:
        if isinstance(op, ast.Not):
            return Not(self._condition(operand), Type.BOOLEAN, span)
        item = self.convert(operand)
        if item.type not in (Type.NUMBER, Type.DURATION, Type.ANY):
            return self._wrong(f"{self._source(item)} is {shown(item.type)}, not a number", item.span)
        if isinstance(op, ast.UAdd):
            return item
        return Negative(item, Type.NUMBER if item.type is Type.ANY else item.type, span)

    def _arithmetic(self, operator: str, left: Node, right: Node, span: Span) -> Node:
        type_ = arithmetic(operator, left.type, right.type)
        if type_ is None:
            fans = Type.LIST in (left.type, right.type)
            message = (
                f"'{operator}' cannot join {self._source(left)} ({shown(left.type)}) "
                f"and {self._source(right)} ({shown(right.type)})"
            )
            return self._wrong(message, right.span, "a list is read by any, all, sum, min, max and length" if fans else "")
        return Arithmetic(cast("Any", operator), left, right, type_, span)

    def _chain(self, first: ast.expr, operators: list[str], rest: list[ast.expr], span: Span) -> Node:
        left = self.convert(first)
        links: list[Node] = []
        for index, (operator, tree) in enumerate(zip(operators, rest, strict=True)):
            right = self._container(tree) if operator in ("in", "not in") else self.convert(tree)
            if index:  # the middle of a chain stands in two comparisons: it counts twice
                self._count(sum(1 for _ in walk(left)), span)
            link = fold(self._compare(operator, left, right, Span(left.span.start, right.span.end)))
            links += link.items if isinstance(link, Logical) else (link,)
            left = right
        return links[0] if len(links) == 1 else Logical("and", tuple(links), Type.BOOLEAN, span)

    def _container(self, tree: ast.expr) -> Node:
        """What stands right of `in`: the name of a list, or any expression."""
        if isinstance(tree, ast.Name):
            name = self._rewritten.words.get(tree.id, tree.id)
            defined = self._scope.names.get(name)
            if defined is not None and defined.kind == "list":
                self._count(1, self._span(tree))
                return Name("list", name, Type.LIST, self._span(tree))
        return self.convert(tree)

    def _conditional(self, test: ast.expr, body: ast.expr, orelse: ast.expr, span: Span) -> Node:
        then, condition, otherwise = self.convert(body), self._condition(test), self.convert(orelse)
        type_ = common((then.type, otherwise.type))
        if type_ is None:
            message = f"{self._source(then)} is {shown(then.type)}, but {self._source(otherwise)} is {shown(otherwise.type)}"
            return self._wrong(message, otherwise.span, "both sides must be of one type")
        return Conditional(condition, then, otherwise, type_, span)

    def _list(self, trees: Sequence[ast.expr], span: Span) -> Node:
        items = tuple(self.convert(tree) for tree in trees)
        if not items:
            return self._wrong("the list is empty", span, "nothing is in it")
        if common(item.type for item in items) is None:
            return self._wrong("the items of a list must be of one type", span)
        if any(item.type is Type.LIST for item in items):
            return self._wrong("a list cannot hold lists", span)
        return ListOf(items, Type.LIST, span)

    # Calls

    def _method(self, func: ast.expr, span: Span) -> Node:
        """Why something that is no name cannot be called."""
        hint = ""
        if isinstance(func, ast.Attribute) and func.attr in SIGNATURES:
            value = self._span(func.value)
            hint = f"write {func.attr}({self._text[value.start : value.end]})"
        return self._wrong("only the functions of the language can be called", span, hint)

    def _call(self, func: ast.expr, trees: Sequence[ast.expr], span: Span) -> Node:
        if not isinstance(func, ast.Name):
            return self._method(func, span)
        name = self._rewritten.words.get(func.id, func.id)
        function = SIGNATURES.get(name)
        if function is None:
            at = self._span(func)
            hint = did_you_mean(name, SIGNATURES)
            return self._wrong(f"unknown function '{name}': expected one of {listed(SIGNATURES, 40)}", at, hint)
        if fault := fault_of_count(function, len(trees)):
            return self._wrong(f"{name} {fault}", span, f"write {function.call(name)}")
        if name in SCORES:
            return self._score(name, trees, span)
        if name == "in_list":
            return self._in_list(self.convert(trees[0]), self._container(trees[1]), span)
        if name == "top":
            return self._top(trees[0], span)
        arguments = tuple(self.convert(tree) for tree in trees)
        problems = problems_of_call(name, function, arguments, self._text)
        if problems:
            self.problems += problems
            return Literal(None, Type.ANY, span)
        return Call(name, arguments, function.result or _result(arguments), span)

    def _top(self, tree: ast.expr, span: Span) -> Node:
        """`top(name)` of a keyed feature whose values have an order."""
        at = self._span(tree)
        name = self._rewritten.words.get(tree.id, tree.id) if isinstance(tree, ast.Name) else ""
        defined = self._scope.names.get(name)
        if defined is None or not defined.keyed:
            source = self._text[at.start : at.end]
            return self._wrong(f"top takes a feature that has 'by', not {source}", at, "write {count: EVENT, by: VALUE}")
        if defined.type not in (Type.NUMBER, Type.TIME, Type.DURATION, Type.ANY):
            return self._wrong(f"top takes a feature of numbers, but {name} has {shown(defined.type)} for each key", at)
        self._count(1, at)
        return Call("top", (Name("feature", name, Type.ANY, at),), defined.key, span)


def _result(arguments: tuple[Node, ...]) -> Type:
    """The type of a function that gives one of its arguments, or one item of its list."""
    if arguments[0].type is Type.LIST:
        return Type.ANY
    return common(node.type for node in arguments) or Type.ANY
