"""What would have to change for one comparison to hold, or to hold no longer, in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtcdp.rules.compiling.functions import is_number
from rtcdp.rules.definitions import Definitions, Feature
from rtcdp.rules.expressions.tree import Call, Compare, Literal, Name, Node, Type, quote, unparse
from rtcdp.rules.wording import events_of, spelled

_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "==", "in": "not in", "not in": "in"}
_MUST = {
    ">=": "reach",
    ">": "exceed",
    "<": "fall below",
    "<=": "fall to",
    "==": "become",
    "!=": "differ from",
    "in": "be in",
    "not in": "not be in",
}


@dataclass(frozen=True)
class Needs:
    """Sentences about what must change.

    definitions: what names mean.
    value:       reads an expression's value now.
    """

    definitions: Definitions
    value: Callable[[Node], Any]

    def of(self, node: Node, *, want: bool) -> str:
        """What must change for a node that is not what is wanted to become so."""
        match node:
            case Compare(operator=operator, left=left, right=right):
                wanted = operator if want else _OPPOSITE[operator]
                if isinstance(left, Literal) and wanted in _MIRROR:
                    return self._comparison(right, _MIRROR[wanted], left)
                return self._comparison(left, wanted, right)
            case Name(kind="segment", name=name):
                return f"the profile must {'enter' if want else 'leave'} {name}"
            case Call(function="missing", arguments=(inner,)):
                return f"{unparse(inner)} must {'have no' if want else 'have a'} value"
            case _:
                return f"{unparse(node)} must become {'true' if want else 'anything but true'}"

    def _comparison(self, left: Node, operator: str, right: Node) -> str:
        """`left operator right` must come to hold."""
        now, limit = self.value(left), self.value(right)
        if isinstance(left, Call) and left.function == "since" and isinstance(limit, int):
            return self._since(left.arguments[0], operator, limit, now)
        feature = self.definitions.features.get(left.name) if isinstance(left, Name) and left.kind == "feature" else None
        text = self._shown(now, left)
        if is_number(now) and is_number(limit) and operator in (">", ">=", "<", "<="):
            by = _more(feature, operator, limit - now)
        else:
            falls = is_number(now) and is_number(limit) and limit < now
            by = "" if falls else _events(feature)
        return f"{unparse(left)} must {_MUST[operator]} {self._written(right, limit)} (now {text}){by}"

    def _since(self, of: Node, operator: str, limit: int, now: int | None) -> str:
        name = unparse(of)
        feature = self.definitions.features.get(name)
        if now is None:
            return f"{name} must have a value{_events(feature)}"
        if operator in (">", ">="):
            return f"{spelled(limit - now + (operator == '>'))} more must pass since {name}"
        return f"{name} must be less than {spelled(limit)} ago (now {spelled(now)}){_events(feature)}"

    def _written(self, node: Node, value: Any) -> str:
        """The other side: a constant as it stands, anything else with its value."""
        return unparse(node) if isinstance(node, Literal) else f"{unparse(node)} ({self._shown(value, node)})"

    def _shown(self, value: Any, node: Node) -> str:
        if value is None:
            return "missing"
        if node.type is Type.DURATION and isinstance(value, int):
            return spelled(value)
        return quote(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _more(feature: Feature | None, operator: str, missing: float) -> str:
    """`: 2 more Order Completed`, where events of one kind bring the value up."""
    if feature is None:
        return ""
    if operator in (">", ">=") and feature.aggregate == "count":
        count = max(1, int(missing) + (operator == ">"))
        return f": {count} more {events_of(feature)}"
    return _events(feature) if operator in (">", ">=") else ""


def _events(feature: Feature | None) -> str:
    return f": by {events_of(feature)}" if feature is not None else ""
