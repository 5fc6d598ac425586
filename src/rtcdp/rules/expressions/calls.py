"""What can be wrong with the call of a function: number and types of arguments, patterns, and `since()` out of place."""

from __future__ import annotations

import re2

from rtcdp.rules.expressions.inference import common, shown
from rtcdp.rules.expressions.signatures import Signature
from rtcdp.rules.expressions.tokens import Problem
from rtcdp.rules.expressions.tree import Arithmetic, Call, Compare, Literal, Name, Node, Type, children, walk

LONGEST_PATTERN = 1_000
MOST_DIGITS = 9


def source_of(node: Node, text: str) -> str:
    """The text that a node came from, shortened for messages."""
    source = text[node.span.start : node.span.end]
    return source if len(source) <= 60 else f"{source[:57]}..."


def fault_of_count(function: Signature, given: int) -> str:
    """What is wrong with the number of arguments, as the end of a sentence; empty if nothing is."""
    most = len(function.arguments)
    if given >= function.least and (given <= most or function.more):
        return ""
    needed = str(function.least) if function.least == most else f"{function.least} or {most}"
    needed = f"at least {function.least}" if function.more else needed
    return f"takes {needed} argument{'' if needed.endswith(' 1') or needed == '1' else 's'}, not {given}"


def problems_of_call(name: str, function: Signature, arguments: tuple[Node, ...], text: str) -> list[Problem]:
    """What is wrong with the arguments of a call whose number of arguments is right."""
    problems = [
        problem
        for index, node in enumerate(arguments)
        if (problem := _problem_of_argument(name, function, index, node, len(arguments), text))
    ]
    if problems:
        return problems
    if function.more and common(node.type for node in arguments) is None:
        return [_problem(f"the arguments of {name} must be of one type", arguments[-1])]
    if name == "since" and not isinstance(arguments[0], Name) and not _is_hole(arguments[0]):
        hint = "define a feature with first_time or last_time, and write since(FEATURE)"
        source = source_of(arguments[0], text)
        return [_problem(f"since takes a feature that holds a time, not {source}", arguments[0], hint)]
    if name == "matches":
        return _problems_of_pattern(arguments[1])
    if name == "round" and len(arguments) > 1:
        return _problems_of_digits(arguments[1])
    return []


def _problem(message: str, node: Node, hint: str = "") -> Problem:
    return Problem(message, hint, node.span.start, node.span.end)


def _is_hole(node: Node) -> bool:
    """Whether something wrong, reported already, stood here."""
    return isinstance(node, Literal) and node.value is None


def _problem_of_argument(name: str, function: Signature, index: int, node: Node, given: int, text: str) -> Problem | None:
    argument = function.arguments[min(index, len(function.arguments) - 1)]
    allowed = argument.types
    if function.more and function.least == 1:  # min, max, sum: either one list or several values
        allowed = frozenset({Type.LIST}) if given == 1 else allowed - {Type.LIST}
    if node.type is not Type.ANY and node.type not in allowed:
        wanted = " or ".join(sorted(shown(type_) for type_ in allowed))
        return _problem(f"{name} takes {wanted}, but {source_of(node, text)} is {shown(node.type)}", node)
    if argument.literal and not isinstance(node, Literal):
        return _problem(f"the {argument.name} of {name} must be written out, not calculated", node)
    return None


def _problems_of_pattern(node: Node) -> list[Problem]:
    if not isinstance(node, Literal) or not isinstance(node.value, str):
        return []
    if len(node.value) > LONGEST_PATTERN:
        return [_problem(f"the pattern is longer than {LONGEST_PATTERN} characters", node)]
    fault = _fault_of_pattern(node.value)
    hint = "patterns are RE2: without lookaround and backreferences"
    return [_problem(f"the pattern cannot be used: {fault}", node, hint)] if fault else []


def _fault_of_pattern(pattern: str) -> str:
    """RE2's own words for what is wrong with a pattern; empty if it compiles."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else b""
        return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
    return ""


def _problems_of_digits(node: Node) -> list[Problem]:
    if isinstance(node, Literal) and (_is_hole(node) or node.value in range(MOST_DIGITS + 1)):
        return []
    return [_problem(f"the digits of round are a whole number from 0 to {MOST_DIGITS}", node)]


def problems_of_since(node: Node, text: str) -> list[Problem]:
    """Each `since()` whose next change cannot be told in advance.

    A segment or tag is kept up to date by waking the profile at the very instant at which it changes: that instant is
    known only where `since()` is compared with a constant.
    """
    problems = [
        _problem_of_use(parent, child, text)
        for parent in walk(node)
        for child in children(parent)
        if _is_since(child) and not (isinstance(parent, Compare) and _is_fixed(parent, child))
    ]
    return [_problem_of_use(node, node, text)] if _is_since(node) else problems


def _problem_of_use(parent: Node, child: Node, text: str) -> Problem:
    source = source_of(child, text)
    hint = f"write {source} > 30d, with a fixed duration on the other side"
    if isinstance(parent, Arithmetic):
        hint = f"move the arithmetic to the other side: {source} > 30d + 12h"
    elif isinstance(parent, Compare) and _is_since(parent.left) and _is_since(parent.right):
        one, other = (source_of(children(side)[0], text) for side in (parent.left, parent.right))
        flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(parent.operator, parent.operator)
        hint = f"compare the times themselves: {one} {flipped} {other}"
    message = f"{source} changes with every millisecond and can only be compared with a duration"
    return _problem(message, child, hint)


def _is_since(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "since"


def _is_fixed(compare: Compare, child: Node) -> bool:
    """Whether the other side of a comparison is a constant."""
    other = compare.right if compare.left is child else compare.left
    return isinstance(other, Literal) and compare.operator not in ("in", "not in")
