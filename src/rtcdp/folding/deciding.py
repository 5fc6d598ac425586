"""What happens to starts of triggers that are due: they go on through their programs, and what they send is decided.

Before something is sent, in this order: too old; consent; quiet hours; others of its group are waited for; its condition;
whether it may again; one of its group was picked already; cooldown; caps; holdout. All but a false condition is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from rtcdp.folding.quiet import end, is_quiet
from rtcdp.folding.schedules import local_zone
from rtcdp.folding.triggers import KEY, decided, may_again, memory_of, not_sent, remember
from rtcdp.profile import Profile, Start
from rtcdp.rules.compiling.programs import Begin, Deliver, Divide, End, Expect, Jump, Missed, Pause, Test
from rtcdp.rules.compiling.purposes import refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtcdp.folding.outbox import Outbox
    from rtcdp.rules.compiling.compiled_triggers import CompiledLimits, CompiledTrigger

_ALL = 1 << 64
_ARMS = {True: ("control", "treated"), False: ("treated", "control")}  # the one that holds, and the other


def decide(profile: Profile, triggers: Mapping[str, CompiledTrigger], revealed: int, outbox: Outbox) -> None:
    """Decide everything that is due at the profile's time, in the order of the due instants.

    revealed: time (ms) of the record or tick that shows what is due; where time is simulated, the profile's own.
    """
    now, waiting = profile.now, profile.waiting
    while True:
        due = [key for key, start in waiting.items() if start.due <= now]
        if not due:
            return
        key = due[0] if len(due) == 1 else min(due, key=lambda key: _order(triggers.get(key[:KEY]), key, waiting[key]))
        trigger = triggers.get(key[:KEY])
        if trigger is None or _over(profile, trigger, key, revealed, outbox):
            del waiting[key]
        elif now < waiting[key].due < profile.wake_at:
            profile.wake_at = waiting[key].due


def _order(trigger: CompiledTrigger | None, key: str, start: Start) -> tuple[int, bool, int, int, int, str]:
    """By due instant, then those of a group from which one is picked, the highest priority first."""
    if trigger is None:
        return (start.due, False, 0, -1, 0, key)
    return (
        start.due,
        start.contends,
        -trigger.priority if start.contends else 0,
        trigger.index,
        start.occurred,
        start.message_id + key,
    )


def _over(profile: Profile, trigger: CompiledTrigger, key: str, revealed: int, outbox: Outbox) -> bool:
    """Go on from one place of the program to the next. Whether it is over."""
    start = profile.waiting[key]
    match trigger.program[start.place]:
        case Deliver() as message:
            if not _delivered(profile, trigger, key, message, revealed, outbox):
                return False
            start.contends = False
            start.place += 1
        case Begin(condition):
            if not _begins(profile, trigger, key, condition, revealed, outbox):
                return True
            start.place += 1
        case Pause(time):
            start.due += time
            start.place += 1
        case Expect(up_to=up_to):
            start.due += up_to
            start.place += 1
        case Missed(target=target) | Jump(target):
            start.place = target
        case Test(condition, target):
            start.place = start.place + 1 if condition(profile, start.captured) else target
        case Divide(name, ways, target):
            share = xxh3_64_intdigest(f"{profile.key}\0split\0{trigger.name}\0{name}".encode()) / _ALL
            start.place = next((place for upper, place in ways if share < upper), target)
        case End():
            return True
    return start.due <= profile.now and isinstance(trigger.program[start.place], End)


def _begins(profile: Profile, trigger: CompiledTrigger, key: str, condition: object, revealed: int, outbox: Outbox) -> bool:
    """Whether a journey begins."""
    start = profile.waiting[key]
    if revealed - start.due > trigger.max_age:
        not_sent(profile, trigger, outbox, "max_age")
        return False
    if callable(condition) and not condition(profile, start.captured):
        _false(profile, trigger, outbox)
        return False
    if not may_again(profile, trigger, key):
        not_sent(profile, trigger, outbox, "again")
        return False
    remember(profile, trigger, key, start.occurred)
    return True


def _false(profile: Profile, trigger: CompiledTrigger, outbox: Outbox) -> None:
    memory = memory_of(profile, trigger.key)
    memory.false += 1
    memory.false_at = profile.now
    outbox.condition_false(trigger)


def _delivered(profile: Profile, trigger: CompiledTrigger, key: str, message: Deliver, revealed: int, outbox: Outbox) -> bool:
    """Send, or decide not to; False where it is held until later."""
    start, limits, step = profile.waiting[key], trigger.limits[message.channel], message.name
    if revealed - start.due > trigger.max_age:
        not_sent(profile, trigger, outbox, "max_age", step=step)
        return True
    if (profile.consent or trigger.purpose is not None) and (whose := refused(profile, trigger.purpose, message.channel)):
        not_sent(profile, trigger, outbox, "consent", whose, step)
        return True
    for limit in limits:
        if limit.quiet is None or not (until := _quiet_until(profile, limit, revealed)):
            continue
        if not limit.quiet.held:
            not_sent(profile, trigger, outbox, "quiet", limit.owner, step)
            return True
        start.due, start.contends = until, False
        return False
    if trigger.group is not None and not start.contends:
        start.contends, start.due = True, _contend(profile, trigger)
        return False
    if message.condition is not None and not message.condition(profile, start.captured):
        _false(profile, trigger, outbox)
        return True
    if message.once and not may_again(profile, trigger, key):
        not_sent(profile, trigger, outbox, "again", step=step)
        return True
    reason, by = _stopped(profile, trigger, limits)
    if reason:
        not_sent(profile, trigger, outbox, reason, by, step)
        return True
    _send(profile, trigger, key, message, outbox)
    return True


def _quiet_until(profile: Profile, limit: CompiledLimits, revealed: int) -> int:
    """When quiet hours end in which the decision, or what reveals it, falls; 0 where neither does."""
    quiet, where = limit.quiet, limit.zone
    assert quiet is not None  # noqa: S101  the caller has looked
    assert where is not None  # noqa: S101  quiet hours have a zone
    zone = local_zone(profile, where)
    for instant in (profile.now, revealed):
        if instant >= profile.now and is_quiet(quiet, zone, instant):
            return end(quiet, zone, instant)
    return 0


def _contend(profile: Profile, trigger: CompiledTrigger) -> int:
    """When one of the group is picked: at once, or after the pause that the first of them began."""
    group = trigger.group
    assert group is not None  # noqa: S101  the caller has looked
    if not group.pause:
        return profile.now
    memory = memory_of(profile, group.key)
    if memory.until <= profile.now:
        memory.until = profile.now + group.pause
    return memory.until


def _stopped(profile: Profile, trigger: CompiledTrigger, limits: tuple[CompiledLimits, ...]) -> tuple[str, str]:
    """The limit that stops it, and whose it is."""
    now, group = profile.now, trigger.group
    if group is not None:
        memory = profile.triggers.get(group.key)
        if memory is not None and memory.picked == now:
            return "priority", f"group {group.name}"
    for limit in limits:
        memory = profile.triggers.get(limit.key)
        if memory is None or not memory.sent:
            continue
        sent = memory.sent
        if limit.limits.cooldown and sent[-1] > now - limit.limits.cooldown:
            return "cooldown", limit.owner
        if any(len(sent) >= cap.times and sent[-cap.times] > now - cap.per for cap in limit.limits.caps):
            return "cap", limit.owner
    return "", ""


def _send(profile: Profile, trigger: CompiledTrigger, key: str, message: Deliver, outbox: Outbox) -> None:
    """Send, or give nothing to the control arm. Both count for the trigger's own caps, so that the arms stay alike."""
    start, now, arm, by = profile.waiting[key], profile.now, "", ""
    mixed = False
    for limit in trigger.limits[message.channel]:
        if limit.limits.holdout and arm != "control":
            arm = "control" if in_control(profile.key, limit.owner or trigger.name, limit.limits.holdout) else "treated"
            by = limit.owner if arm == "control" else ""
        if limit.limits.holdout:
            held = profile.triggers.get(limit.key)
            mixed = mixed or (held is not None and held.mixed)
    for limit in trigger.limits[message.channel]:
        if limit.keep and not (limit.owner and arm == "control"):
            memory = memory_of(profile, limit.key)
            sent = [*memory.sent, now]
            if len(sent) > 1 and sent[-2] > now:  # the other side of a merge has sent later
                sent.sort()
            memory.sent = sent[-limit.keep :]
    if trigger.group is not None:
        memory_of(profile, trigger.group.key).picked = now
    if message.once:
        remember(profile, trigger, key, start.occurred)
    if arm == "control":
        not_sent(profile, trigger, outbox, "holdout", by, message.name, "changed" if mixed else arm)
        return
    payload = {name: value(profile, start.captured) for name, value in message.payload}
    outbox.trigger(profile, trigger, start, payload, message, "changed" if mixed else arm)
    decided(profile, trigger, "sent")


def changed_arms(
    profile: Profile, other: Profile, triggers: Iterable[CompiledTrigger]
) -> list[tuple[CompiledLimits, str, str, str]]:
    """Holdouts that treated `other` unlike the profile that it becomes part of: (limits, trigger's name, arm, arm before)."""
    found: dict[str, tuple[CompiledLimits, str, str, str]] = {}
    for trigger in triggers:
        memory = other.triggers.get(trigger.key)
        if memory is None or not (memory.sent or any(what in ("sent", "holdout") for _, what, _ in memory.last)):
            continue
        for limit in (limit for limits in trigger.limits.values() for limit in limits if limit.limits.holdout):
            name, share = limit.owner or trigger.name, limit.limits.holdout
            arm, before = (in_control(key, name, share) for key in (profile.key, other.key))
            if arm != before:
                found[limit.key] = (limit, trigger.name, *_ARMS[arm])
    return list(found.values())


def in_control(key: str, owner: str, share: float) -> bool:
    """Whether a profile gets nothing of a trigger or a group: always the same answer."""
    return xxh3_64_intdigest(f"{key}\0holdout\0{owner}".encode()) / _ALL < share
