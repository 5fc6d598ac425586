"""What stands between a trigger's start and its sending for a profile, and what was decided last."""

from __future__ import annotations

import msgspec

from rtcdp.profile import Profile
from rtcdp.rules.compiled_triggers import CompiledTrigger
from rtcdp.rules.expressions import spell_duration, unparse
from rtcdp.rules.sending import On, Trigger
from rtcdp.timestamps import rfc3339
from rtcdp.triggers import waiting_of


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
    return min((profile.waiting[key].due for key in waiting_of(profile, trigger)), default=None)


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
    found = [Decision("sent", rfc3339(at)) for at in reversed(memory.sent)]
    if memory.last and [memory.last[0]] != memory.sent[-1:]:
        at, reason, by = memory.last
        found.insert(0, Decision(f"{reason} ({by})" if by else reason, rfc3339(at)))
    if memory.false:
        found.append(Decision("if", rfc3339(memory.false_at), times=memory.false))
    return found


def _start(on: On) -> str:
    text = on.name if on.kind == "event" else f"{on.kind} {on.name}"
    return f"{text} where {unparse(on.where)}" if on.where is not None else text


def _waiting(profile: Profile, trigger: CompiledTrigger) -> str:
    waiting = [profile.waiting[key] for key in waiting_of(profile, trigger)]
    if not waiting:
        return "nothing waits"
    first = min(waiting, key=lambda start: (start.due, start.occurred))
    by = f"message {first.message_id}" if first.message_id else first.cause
    more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"started at {rfc3339(first.occurred)} by {by}{more}"


def _unless(profile: Profile, compiled: CompiledTrigger, trigger: Trigger) -> Gate:
    unless = trigger.unless
    assert unless is not None  # noqa: S101  the caller looked
    text = " or ".join(unless.events)
    if unless.where is not None:
        text += f" where {unparse(unless.where)}"
    if unless.same:
        text += f" with the same {', '.join(map(unparse, unless.same))}"
    memory = profile.triggers.get(compiled.key)
    latest = memory.cancelled if memory else None
    if isinstance(latest, dict):
        latest = max(latest.values(), default=None)
    return Gate("unless", text, "" if latest is None else f"last called off by an event of {rfc3339(latest)}")


def _cap(profile: Profile, trigger: CompiledTrigger, times: int, per: int) -> Gate:
    memory = profile.triggers.get(trigger.key)
    used = [at for at in (memory.sent if memory else []) if at > profile.now - per]
    full = len(used) >= times
    state = f"{min(len(used), times)} of {times} used"
    return Gate("cap", f"{times} per {spell_duration(per)}", state, rfc3339(used[-times] + per) if full else "")
