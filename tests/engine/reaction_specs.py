"""Triggers, limits and groups as the oracle knows them, and the same as people write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DAY = 86_400_000
HOUR = 3_600_000
Expression = tuple[Any, ...]
Steps = tuple[Any, ...]


@dataclass(frozen=True)
class LimitSpec:
    """caps: (times, per ms). quiet: hours (from, to, zone, held)."""

    caps: tuple[tuple[int, int], ...] = ()
    cooldown: int = 0
    quiet: tuple[int, int, str, bool] | None = None


@dataclass(frozen=True)
class GroupSpec:
    """picks: one of those that are due together; pause in ms."""

    triggers: tuple[str, ...]
    limits: LimitSpec = LimitSpec()
    picks: bool = False
    pause: int = 0


@dataclass(frozen=True)
class TriggerSpec:
    """on: (event | entered | exited | stage | changed, name) or ("every", segment, hour). Durations in ms.

    same, per: a property. again: ("always",) ("once",) ("after", ms) ("exited", segment). debounce: (for, at most or 0).
    guard: the condition of `unless`. steps: of a journey.
    """

    on: tuple[Any, ...]
    where: Expression | None = None
    after: int = 0
    unless: tuple[str, ...] = ()
    unless_where: Expression | None = None
    same: str | None = None
    condition: Expression | None = None
    caps: tuple[tuple[int, int], ...] = ()
    max_age: int = DAY
    payload: dict[str, Expression] = field(default_factory=dict)
    limits: LimitSpec = LimitSpec()
    per: str | None = None
    again: tuple[Any, ...] = ("always",)
    debounce: tuple[int, int] | None = None
    guard: Expression | None = None
    priority: int = 0
    channel: str = ""
    steps: Steps = ()


def limits_text(limits: LimitSpec, text: Any) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if limits.caps:
        written["cap"] = [{"times": times, "per": f"{per}ms"} for times, per in limits.caps]
    if limits.cooldown:
        written["cooldown"] = f"{limits.cooldown}ms"
    if limits.quiet is not None:
        begin, end, zone, held = limits.quiet
        written["quiet"] = {"from": f"{begin}:00", "to": f"{end}:00", "zone": zone, "then": "hold" if held else "drop"}
    return written


def trigger_text(trigger: TriggerSpec, text: Any) -> dict[str, Any]:
    """A trigger as the language writes it. text: spells an expression."""
    on: dict[str, Any] = {trigger.on[0]: trigger.on[1]}
    if trigger.on[0] == "every":
        on = {"every": f"day {trigger.on[2]}:00", "in": trigger.on[1]}
    if trigger.where is not None:
        on["where"] = text(trigger.where)
    written: dict[str, Any] = {"on": on, "max_age": f"{trigger.max_age}ms"}
    if trigger.debounce is not None:
        wait, most = trigger.debounce
        written["debounce"] = {"for": f"{wait}ms"} | ({"at_most": f"{most}ms"} if most else {})
    else:
        written["after"] = f"{trigger.after}ms"
    written |= _unless_text(trigger, text)
    if trigger.condition is not None:
        written["if"] = text(trigger.condition)
    if trigger.payload:
        written["payload"] = {name: text(value) for name, value in trigger.payload.items()}
    if trigger.per is not None:
        written["one per"] = f"properties.{trigger.per}"
    if trigger.again[0] in ("always", "once"):
        written["again"] = trigger.again[0]
    else:
        written["again"] = f"{trigger.again[1]}ms" if trigger.again[0] == "after" else {"exited": trigger.again[1]}
    if trigger.channel:
        written["channel"] = trigger.channel
    if trigger.steps:
        written["steps"] = [step_text(step, text) for step in trigger.steps]
    caps = {"cap": limits_text(LimitSpec(trigger.caps), text)["cap"]} if trigger.caps else {}
    return written | caps | {"priority": trigger.priority} | limits_text(trigger.limits, text)


def _unless_text(trigger: TriggerSpec, text: Any) -> dict[str, Any]:
    unless: dict[str, Any] = {}
    if trigger.unless:
        unless["event"] = list(trigger.unless)
        if trigger.unless_where is not None:
            unless["where"] = text(trigger.unless_where)
        if trigger.same is not None:
            unless["same"] = f"properties.{trigger.same}"
    if trigger.guard is not None:
        unless["if"] = text(trigger.guard)
    return {"unless": unless} if unless else {}


def step_text(step: Any, text: Any) -> dict[str, Any]:
    kind, *rest = step
    if kind == "send":
        return {"send": rest[0]} | ({"when": text(rest[1])} if rest[1] is not None else {})
    if kind == "wait":
        return {"wait": f"{rest[0]}ms"}
    if kind == "exit":
        return {"exit": True}
    ways = {name: [step_text(one, text) for one in way] for name, way in zip(("then", "else"), rest[-2:], strict=True) if way}
    if kind == "if":
        return {"if": text(rest[0])} | ways
    return {"wait_for": list(rest[0]), "up_to": f"{rest[1]}ms"} | ways


def group_text(group: GroupSpec, text: Any) -> dict[str, Any]:
    picks = {"pick": "priority", "pause": f"{group.pause}ms"} if group.picks else {}
    return {"triggers": list(group.triggers)} | picks | limits_text(group.limits, text)


# ---- one profile -----------------------------------------------------------------------------------------------------
