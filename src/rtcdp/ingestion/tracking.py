"""The tracking plan applied to one event: types corrected, defaults filled, violations found.

A correction changes the form of a value and never guesses its meaning: `"12.50"` is a number, `"12,50"` is a violation.
Pure; the event's trees are copied where they change.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rtcdp.errors import Unfit
from rtcdp.ingestion.cleaning import MAX_INTEGER
from rtcdp.rules.definitions import PlannedEvent, Property, TrackingPlan
from rtcdp.times import timestamps

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_VIOLATION: Any = object()

Tree = dict[str, Any]


class Dropped(Exception):
    """The plan says that this event is to be dropped: no record, no dead letter."""

    def __init__(self, detail: str, field: str = "") -> None:
        self.detail = detail
        self.field = field
        super().__init__(detail)


def apply_to_event(plan: TrackingPlan, event: str, properties: Tree, fixes: Counter[str]) -> Tree:
    """The properties of a track event as the plan wants them.

    Raises Dropped or Unfit (`unplanned`, `violation`) where the plan says so.
    """
    planned = plan.events.get(event)
    if planned is None:
        if plan.unplanned != "accept":
            fixes["plan_unplanned"] += 1
            _act(plan.unplanned, "unplanned", f"the tracking plan does not name the event {event!r}", "event")
        return properties
    properties, violations = correct(properties, planned.properties, fixes)
    if violations:
        _violated(planned, violations, fixes)
    return properties


def apply_to_traits(plan: TrackingPlan, traits: Tree, fixes: Counter[str]) -> Tree:
    """The traits of an event as the plan wants them. A call carries some traits only: none is required, and no default
    is filled, since it would overwrite what is known. Violations are counted.
    """
    present = {path: rule for path, rule in plan.traits.items() if _get(traits, path.split(".")) is not None}
    traits, violations = correct(traits, present, fixes)
    if violations:
        fixes["plan_violations"] += len(violations)
    return traits


def correct(tree: Tree, rules: Mapping[str, Property], fixes: Counter[str]) -> tuple[Tree, list[str]]:
    """The tree with types corrected and defaults filled; and the paths that violate the rules, sorted.

    Values that violate a rule stay as they are: a rule of the engine that reads one finds another type and says so.
    """
    violations = []
    for path, rule in rules.items():
        names = path.split(".")
        value = _get(tree, names)
        if value is None:
            if rule.default is not None:
                tree = _with(tree, names, rule.default)
                fixes["plan_defaults"] += 1
            elif rule.required:
                violations.append(path)
            continue
        corrected = correct_value(value, rule.type)
        if corrected is _VIOLATION:
            violations.append(path)
        elif corrected is not value:
            tree = _with(tree, names, corrected)
            fixes["plan_corrected"] += 1
    return tree, sorted(violations)


def correct_value(value: Any, wanted: str) -> Any:
    """The value as the type `wanted`; the very same object where it is of it; a private mark where it cannot be.

    number:  text of a decimal number. Not: thousands separators, decimal commas, booleans.
    boolean: true/false, yes/no, 1/0 as text; 1 and 0.
    text:    numbers and booleans, as JSON writes them.
    time:    epoch numbers (s, ms, us, ns) and their text become RFC 3339 in UTC; RFC 3339 stays as it is.
    list:    nothing is made a list.
    """
    return _CORRECTIONS[wanted](value)


def is_violation(value: Any) -> bool:
    """Whether `correct_value` found that the value cannot be of the type."""
    return value is _VIOLATION


def _number(value: Any) -> Any:
    if type(value) is int or type(value) is float:
        return value
    if type(value) is not str or not _NUMBER.fullmatch(value.strip()):
        return _VIOLATION
    text = value.strip()
    if text.lstrip("+-").isdigit() and abs(int(text)) <= MAX_INTEGER:
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else _VIOLATION


def _boolean(value: Any) -> Any:
    if type(value) is bool:
        return value
    if type(value) is str:
        return _BOOLEANS.get(value.strip().casefold(), _VIOLATION)
    if type(value) is int and value in (0, 1):
        return bool(value)
    return _VIOLATION


def _text(value: Any) -> Any:
    if type(value) is str:
        return value
    return msgspec.json.encode(value).decode() if type(value) in (int, float, bool) else _VIOLATION


def _time(value: Any) -> Any:
    if type(value) is str and "-" in value[1:]:
        return value if timestamps.parse(value) is not None else _VIOLATION
    moment = timestamps.parse(value)
    if moment is None:
        return _VIOLATION
    try:
        return timestamps.render(moment)
    except OverflowError:
        return _VIOLATION


def _list(value: Any) -> Any:
    return value if type(value) is list else _VIOLATION


_CORRECTIONS: Mapping[str, Callable[[Any], Any]] = {
    "number": _number,
    "boolean": _boolean,
    "text": _text,
    "time": _time,
    "list": _list,
    "any": lambda value: value,
}


def _violated(planned: PlannedEvent, paths: list[str], fixes: Counter[str]) -> None:
    fixes["plan_violations"] += len(paths)
    shown = ", ".join(paths[:10])
    detail = f"{planned.event!r} violates its tracking plan: {shown}"
    _act(planned.violation, "violation", detail, f"properties.{paths[0]}")


def _act(action: str, reason: str, detail: str, field: str) -> None:
    if action == "dead-letter":
        raise Unfit(reason, detail, field)
    if action == "drop":
        raise Dropped(detail, field)


def _get(tree: Tree, names: list[str]) -> Any:
    value: Any = tree
    for name in names:
        if type(value) is not dict:
            return None
        value = value.get(name)
    return value


def _with(tree: Tree, names: list[str], value: Any) -> Tree:
    """A copy of the tree with one value set. Where something else than an object is in the way, nothing is set."""
    head, *rest = names
    if not rest:
        return {**tree, head: value}
    inner = tree.get(head)
    if inner is not None and type(inner) is not dict:
        return tree
    return {**tree, head: _with(inner or {}, rest, value)}
