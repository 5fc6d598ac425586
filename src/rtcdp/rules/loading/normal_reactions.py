"""The normal form of triggers, groups, channels, consent, the lifecycle and the end: see `rtcdp.rules.loading.normal`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rtcdp.rules.definitions import ConsentPlan, Expire, Purpose, Stage
from rtcdp.rules.expressions.tree import Node, spell_duration, unparse
from rtcdp.rules.loading.clock_times import spell_moment, spell_share, spell_time
from rtcdp.rules.sending import (
    DAY_MS,
    Again,
    At,
    Await,
    Branch,
    Channel,
    Every,
    Exit,
    Group,
    Limits,
    On,
    Quiet,
    Send,
    Split,
    Step,
    Trigger,
    Unless,
    Wait,
    Zone,
)

Document = dict[str, Any]


def sparse(document: Document) -> Document:
    """Without what is absent: None and empty texts, lists and mappings; zero and false stay."""
    return {key: value for key, value in document.items() if value is not None and value not in ("", [], {})}


def text(node: Node | None) -> str | None:
    """An expression's text; None where there is none."""
    return None if node is None else unparse(node)


def _time(ms: int | None) -> str | None:
    return spell_duration(ms) if ms else None


def _texts(nodes: Iterable[Node]) -> list[str]:
    return [unparse(node) for node in nodes]


def trigger_document(trigger: Trigger) -> Document:
    """A trigger in long form."""
    debounce = {"for": spell_duration(trigger.debounce), "at_most": _time(trigger.at_most)} if trigger.debounce else {}
    return sparse(
        {
            "on": _on(trigger.on),
            "after": _time(trigger.after),
            "debounce": sparse(debounce),
            "unless": _unless(trigger.unless) if trigger.unless else None,
            "if": text(trigger.condition),
            "one per": _texts(trigger.one_per),
            "again": _again(trigger.again),
            **_limits(trigger.limits),
            "priority": trigger.priority or None,
            "max_age": spell_duration(trigger.max_age) if trigger.max_age != DAY_MS else None,
            "payload": _payload(trigger.payload),
            "channel": trigger.channel,
            "steps": [_step(step) for step in trigger.steps],
            "purpose": trigger.purpose,
            "description": trigger.description,
        }
    )


def _on(on: On) -> Document:
    if isinstance(on.schedule, At):
        at = on.schedule
        return sparse(
            {
                "at": unparse(at.path),
                "time": None if at.time is None else spell_time(at.time),
                "yearly": at.yearly or None,
                "before": _time(at.before * DAY_MS),
                **_zone(at.zone),
            }
        )
    if isinstance(on.schedule, Every):
        moments = [spell_moment(moment) for moment in on.schedule.moments]
        return sparse({"every": moments, "in": on.name, "over": _time(on.schedule.over), **_zone(on.schedule.zone)})
    return sparse({on.kind: on.name, "where": text(on.where)})


def _zone(zone: Zone) -> Document:
    default = zone.default if zone.default != "UTC" else None
    return {"zone": default} if zone.path is None else {"zone": unparse(zone.path), "default": default}


def _unless(unless: Unless) -> Document:
    same = _texts(unless.same)
    return sparse({"event": list(unless.events), "where": text(unless.where), "same": same, "if": text(unless.condition)})


def _again(again: Again) -> str | Document | None:
    if again.kind == "exited":
        return {"exited": again.segment}
    if again.kind == "after":
        return spell_duration(again.after)
    return None if again.kind == "always" else again.kind


def _limits(limits: Limits) -> Document:
    return {
        "cap": [{"times": cap.times, "per": spell_duration(cap.per)} for cap in limits.caps],
        "cooldown": _time(limits.cooldown),
        "quiet": _quiet(limits.quiet) if limits.quiet else None,
        "holdout": spell_share(limits.holdout) if limits.holdout else None,
    }


def _quiet(quiet: Quiet) -> Document:
    hours = {"from": spell_time(quiet.begin), "to": spell_time(quiet.end)}
    return sparse({**hours, **_zone(quiet.zone), "then": None if quiet.held else "drop"})


def _payload(payload: Mapping[str, Node]) -> Document:
    return {name: unparse(node) for name, node in payload.items()}


def _step(step: Step) -> Document:
    match step:
        case Send(name, payload, channel, condition):
            return sparse({"send": name, "payload": _payload(payload), "channel": channel, "when": text(condition)})
        case Wait(time):
            return {"wait": spell_duration(time)}
        case Await(events, up_to, where, same, then, otherwise):
            waits = {"wait_for": list(events), "up_to": spell_duration(up_to), "where": text(where), "same": _texts(same)}
            return sparse({**waits, "then": _steps(then), "else": _steps(otherwise)})
        case Branch(condition, then, otherwise):
            return sparse({"if": text(condition), "then": _steps(then), "else": _steps(otherwise)})
        case Split(ways):
            return {"split": {way.name: sparse({"share": spell_share(way.share), "steps": _steps(way.steps)}) for way in ways}}
        case Exit():
            return {"exit": True}


def _steps(steps: tuple[Step, ...]) -> list[Document]:
    return [_step(step) for step in steps]


def _group(group: Group) -> Document:
    pick = group.pick if group.pick != "each" else None
    shared = {"triggers": list(group.triggers), **_limits(group.limits), "pick": pick, "pause": _time(group.pause)}
    return sparse({**shared, "description": group.description})


def _granted(yes: bool) -> str:  # noqa: FBT001  the one thing it spells
    return "granted" if yes else "denied"


def _purpose(purpose: Purpose) -> Document:
    regions = {region: _granted(yes) for region, yes in purpose.regions.items()}
    found = {"default": _granted(purpose.granted), "regions": regions, "categories": list(purpose.categories)}
    return sparse({**found, "description": purpose.description})


def consent_document(plan: ConsentPlan) -> Document:
    """`consent:` in long form."""
    purposes = {name: _purpose(purpose) for name, purpose in plan.purposes.items()}
    return {"purposes": purposes, **sparse({"region": text(plan.region)})}


def document(
    stages: tuple[Stage, ...], groups: Mapping[str, Group], channels: Mapping[str, Channel], expire: Expire
) -> Document:
    """These sections as a document in long form."""
    written = [{stage.name: sparse({"if": unparse(stage.condition), "stay": _time(stage.stay)})} for stage in stages]
    return sparse(
        {
            "lifecycle": {"stages": written} if written else None,
            "groups": {name: _group(group) for name, group in groups.items()},
            "channels": {
                name: sparse({**_limits(channel.limits), "description": channel.description})
                for name, channel in channels.items()
            },
            "expire": sparse({"anonymous": _time(expire.anonymous), "known": _time(expire.known)}),
        }
    )
