"""What stands between a trigger's start and its sending for a profile, and what was decided last."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from rtcdp.folding.deciding import in_control
from rtcdp.folding.quiet import end, is_quiet
from rtcdp.folding.schedules import local_zone
from rtcdp.folding.triggers import waiting_of
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled_triggers import CompiledLimits, CompiledTrigger
from rtcdp.rules.compiling.programs import Deliver
from rtcdp.rules.compiling.purposes import refused
from rtcdp.rules.expressions.tree import spell_duration, unparse
from rtcdp.rules.loading.clock_times import spell_moment, spell_share, spell_time
from rtcdp.rules.sending import At, Every, On, Trigger
from rtcdp.times.timestamps import rfc3339


class Gate(msgspec.Struct, omit_defaults=True):
    """One thing that a start has to pass.

    gate:  on, after, debounce, one per, unless, consent, if, again, quiet, cooldown, cap, holdout, priority, max_age; steps.
    text:  what the definition says.
    state: how it stands for the profile now; empty where there is nothing to tell.
    until: when that changes by itself; empty where it does not.
    """

    gate: str
    text: str
    state: str = ""
    until: str = ""


class Decision(msgspec.Struct, omit_defaults=True):
    """What was decided. gate: what stopped it, or `sent`; at: when; times: how often, of an `if` that did not hold."""

    gate: str
    at: str
    times: int = 1


def waits_until(profile: Profile, trigger: CompiledTrigger) -> int | None:
    """When a waiting start is due (ms); None where none waits."""
    return min((profile.waiting[key].due for key in waiting_of(profile, trigger)), default=None)


def gates(profile: Profile, compiled: CompiledTrigger, trigger: Trigger) -> list[Gate]:
    """The gates of a trigger in the order in which a start meets them."""
    found = [Gate("on", _start(trigger.on), _waiting(profile, compiled))]
    due = waits_until(profile, compiled)
    until = rfc3339(due) if due is not None else ""
    if trigger.debounce:
        most = f", at most {spell_duration(trigger.at_most)}" if trigger.at_most else ""
        found.append(Gate("debounce", spell_duration(trigger.debounce) + most, until=until))
    elif trigger.after:
        found.append(Gate("after", spell_duration(trigger.after), until=until))
    if trigger.one_per:
        found.append(Gate("one per", ", ".join(map(unparse, trigger.one_per))))
    if trigger.unless is not None:
        found.append(_unless(profile, compiled, trigger))
    if compiled.purpose is not None or profile.consent:
        found += _consent(profile, compiled)
    if trigger.condition is not None:
        found.append(Gate("if", unparse(trigger.condition)))
    if trigger.again.kind != "always":
        found.append(_again(profile, compiled, trigger))
    limits = {limit.key: limit for several in compiled.limits.values() for limit in several}
    found += [gate for limit in limits.values() for gate in _limited(profile, compiled, limit)]
    if compiled.group is not None:
        found.append(Gate("priority", f"{trigger.priority} in group {compiled.group.name}"))
    found.append(Gate("max_age", spell_duration(trigger.max_age)))
    if trigger.steps:
        found.append(Gate("steps", f"{len(trigger.steps)} steps", _under_way(profile, compiled)))
    return found


def decisions(profile: Profile, trigger: CompiledTrigger) -> list[Decision]:
    """The last decisions that the profile remembers, newest first; a false `if` is counted, and the last one remembered."""
    memory = profile.triggers.get(trigger.key)
    if memory is None:
        return []
    found = [(at, Decision(f"{reason} ({by})" if by else reason, rfc3339(at))) for at, reason, by in memory.last]
    if memory.false:
        found.append((memory.false_at, Decision("if", rfc3339(memory.false_at), memory.false)))
    return [decision for _, decision in sorted(found, key=lambda one: -one[0])]


def _start(on: On) -> str:
    text = on.name if on.kind == "event" else f"{on.kind} {on.name}".rstrip()
    if isinstance(on.schedule, At):
        text = f"at {unparse(on.schedule.path)}{' every year' if on.schedule.yearly else ''}"
    elif isinstance(on.schedule, Every):
        text = f"every {', '.join(map(spell_moment, on.schedule.moments))} in {on.name}"
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
    texts = [" or ".join(unless.events)] if unless.events else []
    text = " or ".join([*texts, *([f"if {unparse(unless.condition)}"] if unless.condition is not None else [])])
    if unless.where is not None:
        text += f" where {unparse(unless.where)}"
    if unless.same:
        text += f" with the same {', '.join(map(unparse, unless.same))}"
    memory = profile.triggers.get(compiled.key)
    latest = memory.cancelled if memory else None
    if isinstance(latest, dict):
        latest = max(latest.values(), default=None)
    return Gate("unless", text, "" if latest is None else f"last called off by an event of {rfc3339(latest)}")


def _consent(profile: Profile, trigger: CompiledTrigger) -> Iterator[Gate]:
    """The purpose and each channel, where somebody has said no to one."""
    if trigger.purpose is not None:
        yield Gate("consent", f"purpose {trigger.purpose.name}", trigger.purpose.told(profile))
    for channel in sorted({operation.channel for operation in trigger.program if isinstance(operation, Deliver)}):
        whose = refused(profile, trigger.purpose, channel)
        if "channel" in whose:
            yield Gate("consent", whose, "refused")


def _again(profile: Profile, compiled: CompiledTrigger, trigger: Trigger) -> Gate:
    again = trigger.again
    text = {"exited": f"after {again.segment} was left", "after": spell_duration(again.after)}.get(again.kind, again.kind)
    memory = profile.triggers.get(compiled.key)
    latest = max((when for when, _ in memory.latest.values()), default=None) if memory else None
    until = rfc3339(latest + again.after) if latest is not None and latest + again.after > profile.now else ""
    return Gate("again", text, "not yet" if latest is None else f"last at {rfc3339(latest)}", until)


def _limited(profile: Profile, trigger: CompiledTrigger, limit: CompiledLimits) -> Iterator[Gate]:
    """The limits of one owner, in the order in which they are asked."""
    limits, of = limit.limits, f" of {limit.owner}" if limit.owner else ""
    memory = profile.triggers.get(limit.key)
    sent = memory.sent if memory else []
    if limits.quiet is not None and limit.zone is not None:
        zone = local_zone(profile, limit.zone)
        quiet = is_quiet(limits.quiet, zone, profile.now)
        text = f"{spell_time(limits.quiet.begin)} to {spell_time(limits.quiet.end)}, {zone.key}{of}"
        until = rfc3339(end(limits.quiet, zone, profile.now)) if quiet else ""
        yield Gate("quiet", text, "now" if quiet else "not now", until)
    if limits.cooldown:
        over = sent[-1] + limits.cooldown if sent else 0
        until = rfc3339(over) if over > profile.now else ""
        yield Gate("cooldown", spell_duration(limits.cooldown) + of, f"last at {rfc3339(sent[-1])}" if sent else "", until)
    for cap in limits.caps:
        used = [at for at in sent if at > profile.now - cap.per]
        state = f"{min(len(used), cap.times)} of {cap.times} used"
        until = rfc3339(used[-cap.times] + cap.per) if len(used) >= cap.times else ""
        yield Gate("cap", f"{cap.times} per {spell_duration(cap.per)}{of}", state, until)
    if limits.holdout:
        control = in_control(profile.key, limit.owner or trigger.name, limits.holdout)
        yield Gate("holdout", spell_share(limits.holdout) + of, "control: gets nothing" if control else "treated")


def _under_way(profile: Profile, trigger: CompiledTrigger) -> str:
    """Where a journey is."""
    starts = [profile.waiting[key] for key in waiting_of(profile, trigger)]
    return f"next: {trigger.texts[starts[0].place]}" if starts else ""
