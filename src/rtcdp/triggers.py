"""Triggers of one profile: starting, waiting, cancelling, deciding.

Waiting, under the trigger's key: [due, occurred, received, cause, message id, captured, same]; times in ms.
Memory, under the trigger's key: [instants of sending, newest last; latest cancelling event; times `if` was false]. The
latest cancelling event is a time (ms), or {what must be the same: time} where the definition says `same`; it is kept
so that a start that comes late is still cancelled by what happened after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtcdp.outbox import Cause, Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiler import CompiledTrigger

MAX_SAME = 64
_SENT, _CANCELLED, _FALSE = 0, 1, 2
_to_json = msgspec.json.Encoder(order="deterministic").encode


def _memory(profile: Profile, trigger: CompiledTrigger) -> list[Any]:
    memory = profile.triggers.get(trigger.key)
    if memory is None:
        memory = profile.triggers[trigger.key] = [[], {} if trigger.same else None, 0]
    return memory


def _same(trigger: CompiledTrigger, event: Any) -> str:
    """What must be equal in a starting and a cancelling event, as text; "" where the definition asks for nothing."""
    if not trigger.same or event is None:
        return ""
    return _to_json([read(None, event) for read in trigger.same]).decode()


def cancel(profile: Profile, trigger: CompiledTrigger, event: Any, outbox: Outbox) -> None:
    """An event that cancels: what waits and began before it is dropped, and recorded."""
    if trigger.unless_where is not None and not trigger.unless_where(None, event):
        return
    occurred, same = event.occurred, _same(trigger, event)
    memory = _memory(profile, trigger)
    if trigger.same:
        latest = memory[_CANCELLED]
        latest[same] = max(latest.get(same, occurred), occurred)
        if len(latest) > MAX_SAME:
            del latest[min(latest, key=lambda text: (latest[text], text))]
    elif memory[_CANCELLED] is None or occurred > memory[_CANCELLED]:
        memory[_CANCELLED] = occurred
    waiting = profile.waiting.get(trigger.key)
    if waiting is not None and waiting[1] < occurred and waiting[6] == same:
        del profile.waiting[trigger.key]
        outbox.change(profile, "not_sent", trigger.name, reason="cancelled")


def start(
    profile: Profile,
    trigger: CompiledTrigger,
    event: Any,
    cause: tuple[Cause, str],
    times: tuple[int, int],
    outbox: Outbox,
) -> None:
    """Something that starts the trigger: it waits, or a wait begins anew.

    event: the record that started it; None where time did.
    cause: kind and message id.
    times: when it occurred and was received (ms).
    """
    occurred, received = times
    same = _same(trigger, event)
    memory = profile.triggers.get(trigger.key)
    if memory is not None and trigger.unless is not None:
        latest = memory[_CANCELLED].get(same) if trigger.same else memory[_CANCELLED]
        if latest is not None and latest > occurred:
            outbox.change(profile, "not_sent", trigger.name, reason="cancelled")
            return
    waiting = profile.waiting.get(trigger.key)
    if waiting is not None and waiting[1] > occurred:
        return
    captured = [] if event is None else [read(None, event) for read in trigger.captures]
    due = occurred + trigger.after
    profile.waiting[trigger.key] = [due, occurred, received, *cause, captured, same]
    if profile.now < due < profile.wake_at:
        profile.wake_at = due


def decide(profile: Profile, triggers: Mapping[str, CompiledTrigger], revealed: int, outbox: Outbox) -> None:
    """Decide everything that is due at the profile's time, in the order of the due instants.

    revealed: time (ms) of the record or tick that shows what is due; where time is simulated, the profile's own.
    """
    now = profile.now
    due = [(waiting[0], key) for key, waiting in profile.waiting.items() if waiting[0] <= now]
    if len(due) > 1:
        due.sort(key=lambda entry: (entry[0], triggers[entry[1]].index if entry[1] in triggers else -1))
    for instant, key in due:
        waiting = profile.waiting.pop(key)
        trigger = triggers.get(key)
        if trigger is None:
            continue
        if revealed - instant > trigger.max_age:
            outbox.change(profile, "not_sent", trigger.name, reason="max_age")
        elif trigger.condition is not None and not trigger.condition(profile, waiting[5]):
            _memory(profile, trigger)[_FALSE] += 1
            outbox.condition_false(trigger)
        elif _capped(profile, trigger):
            outbox.change(profile, "not_sent", trigger.name, reason="cap")
        else:
            _send(profile, trigger, waiting, outbox)


def _capped(profile: Profile, trigger: CompiledTrigger) -> bool:
    memory = profile.triggers.get(trigger.key)
    sent = memory[_SENT] if memory else []
    return any(len(sent) >= cap.times and sent[-cap.times] > profile.now - cap.per for cap in trigger.caps)


def _send(profile: Profile, trigger: CompiledTrigger, waiting: list[Any], outbox: Outbox) -> None:
    payload = {name: value(profile, waiting[5]) for name, value in trigger.payload}
    outbox.trigger(profile, trigger, waiting, payload)
    if trigger.caps:
        memory = _memory(profile, trigger)
        keep = max(cap.times for cap in trigger.caps)
        memory[_SENT] = [*memory[_SENT], profile.now][-keep:]


def migrate(profile: Profile, old: CompiledTrigger, new: CompiledTrigger) -> None:
    """Take a trigger over from other definitions: what waits keeps its due instant and what both captured."""
    waiting, memory = profile.waiting.get(new.key), profile.triggers.get(new.key)
    if waiting is not None and old.captured != new.captured and waiting[5]:
        held = dict(zip(old.captured, waiting[5], strict=False))
        waiting[5] = [held.get(text) for text in new.captured]
    if old.unless == new.unless:
        return
    if waiting is not None and not new.same:
        waiting[6] = ""
    if memory is not None:
        memory[_CANCELLED] = {} if new.same else None
