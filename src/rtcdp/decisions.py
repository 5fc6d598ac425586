"""What stands between a trigger's start and its sending for a profile, and what was decided last."""

from __future__ import annotations

import msgspec

from rtcdp.profile import Profile
from rtcdp.rules.compiler import CompiledTrigger
from rtcdp.rules.definitions import On, Trigger
from rtcdp.rules.expressions import spell_duration, unparse
from rtcdp.timestamps import rfc3339

_SENT, _CANCELLED, _FALSE = 0, 1, 2  # places in a trigger's memory: see `rtcdp.triggers`


class Gate(msgspec.Struct, omit_defaults=True):
    """One thing that a start has to pass.

    gate:  on, after, unless, if, cap, max_age.
    text:  what the definition says.
    state: how it stands for the profile now; empty where there is nothing to tell.
    until: when that changes by itself; empty where it does not.
    """

    gate: str
    text: str
    state: str = ""
    until: str = ""


class Decision(msgspec.Struct, omit_defaults=True):
    """What was decided. at: when, empty where only the number is kept; gate: what stopped it, or `sent`."""

    gate: str
    at: str = ""
    times: int = 1


def waits_until(profile: Profile, trigger: CompiledTrigger) -> int | None:
    """When a waiting start is due (ms); None where none waits."""
    waiting = profile.waiting.get(trigger.key)
    return waiting[0] if waiting else None


def gates(profile: Profile, compiled: CompiledTrigger, trigger: Trigger) -> list[Gate]:
    """The gates of a trigger in the order in which a start meets them."""
    found = [Gate("on", _start(trigger.on), _waiting(profile, compiled))]
    if trigger.after:
        due = waits_until(profile, compiled)
        found.append(Gate("after", spell_duration(trigger.after), until=rfc3339(due) if due is not None else ""))
    if trigger.unless is not None:
        found.append(_unless(profile, compiled, trigger))
    if trigger.condition is not None:
        found.append(Gate("if", unparse(trigger.condition)))
    found += [_cap(profile, compiled, cap.times, cap.per) for cap in trigger.caps]
    found.append(Gate("max_age", spell_duration(trigger.max_age)))
    return found


def decisions(profile: Profile, trigger: CompiledTrigger) -> list[Decision]:
    """The last decisions that the profile remembers, newest first; those without a time last."""
    memory = profile.triggers.get(trigger.key)
    if memory is None:
        return []
    found = [Decision("sent", rfc3339(at)) for at in reversed(memory[_SENT])]
    if memory[_FALSE]:
        found.append(Decision("if", times=memory[_FALSE]))
    return found


def _start(on: On) -> str:
    text = on.name if on.kind == "event" else f"{on.kind} {on.name}"
    return f"{text} where {unparse(on.where)}" if on.where is not None else text


def _waiting(profile: Profile, trigger: CompiledTrigger) -> str:
    waiting = profile.waiting.get(trigger.key)
    if not waiting:
        return "nothing waits"
    _, occurred, _, cause, message_id = waiting[:5]
    by = f"message {message_id}" if message_id else cause
    return f"started at {rfc3339(occurred)} by {by}"


def _unless(profile: Profile, compiled: CompiledTrigger, trigger: Trigger) -> Gate:
    unless = trigger.unless
    assert unless is not None  # noqa: S101  the caller looked
    text = " or ".join(unless.events)
    if unless.where is not None:
        text += f" where {unparse(unless.where)}"
    if unless.same:
        text += f" with the same {', '.join(map(unparse, unless.same))}"
    memory = profile.triggers.get(compiled.key)
    latest = memory[_CANCELLED] if memory else None
    if isinstance(latest, dict):
        latest = max(latest.values(), default=None)
    return Gate("unless", text, "" if latest is None else f"last called off by an event of {rfc3339(latest)}")


def _cap(profile: Profile, trigger: CompiledTrigger, times: int, per: int) -> Gate:
    memory = profile.triggers.get(trigger.key)
    used = [at for at in (memory[_SENT] if memory else []) if at > profile.now - per]
    full = len(used) >= times
    state = f"{min(len(used), times)} of {times} used"
    return Gate("cap", f"{times} per {spell_duration(per)}", state, rfc3339(used[-times] + per) if full else "")
