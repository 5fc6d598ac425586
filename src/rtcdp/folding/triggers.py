"""Triggers of one profile: starting, restarting and calling off. What falls due is decided in `rtcdp.folding.deciding`.

A start waits under the key of its trigger, six characters, followed by a hash of what tells it from others: the values of
`one per`, or else of `same`. So each cart waits for itself.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import msgspec
from xxhash import xxh3_64_digest

from rtcdp.profile import Memory, Start
from rtcdp.rules.compiling.programs import Missed

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Cause, Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled import Rule
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
    from rtcdp.rules.compiling.gates import Rules
    from rtcdp.rules.compiling.interpreter import Closure

MAX_SAME = 64
MAX_INSTANCES = 64
MAX_DECISIONS = 4
CONSENT_AGAIN_MS = 86_400_000
"""So long after a record that a trigger lacks consent there is none for its further starts."""
KEY = 6  # characters of a trigger's key
_to_json = msgspec.json.Encoder(order="deterministic").encode


def memory_of(profile: Profile, key: str) -> Memory:
    """The memory under a key, made where there is none."""
    memory = profile.triggers.get(key)
    if memory is None:
        memory = profile.triggers[key] = Memory()
    return memory


def decided(profile: Profile, trigger: CompiledTrigger, what: str, by: str = "") -> None:
    """Remember a decision: `sent`, or the reason why not and whose limit it was."""
    memory = memory_of(profile, trigger.key)
    memory.last = [[profile.now, what, by], *memory.last[: MAX_DECISIONS - 1]]


def not_sent(
    profile: Profile, trigger: CompiledTrigger, outbox: Outbox, reason: str, by: str = "", step: str = "", arm: str = ""
) -> None:
    """Record a decision not to send."""
    decided(profile, trigger, reason, by)
    outbox.not_sent(profile, trigger.name, reason, by, step, arm)


def _text(getters: tuple[Closure, ...], event: Any) -> str:
    """Values of an event as one text; "" where nothing is asked for."""
    if not getters or event is None:
        return ""
    return _to_json([_plain(read(None, event)) for read in getters]).decode()


def _plain(value: Any) -> Any:
    """1.0 is 1."""
    return int(value) if type(value) is float and value.is_integer() else value


def _hash(text: str) -> str:
    return urlsafe_b64encode(xxh3_64_digest(text.encode()))[:11].decode()


def waiting_of(profile: Profile, trigger: CompiledTrigger) -> list[str]:
    """Keys of the starts of a trigger that wait."""
    key = trigger.key
    return [found for found in profile.waiting if found.startswith(key)]


# ---- calling off -------------------------------------------------------------------------------------------------------


def cancel(profile: Profile, trigger: CompiledTrigger, event: Any, outbox: Outbox) -> None:
    """An event that cancels: what waits and began before it is dropped, and recorded."""
    if trigger.unless_where is not None and not trigger.unless_where(None, event):
        return
    occurred, same = event.occurred, _text(trigger.same, event)
    memory = memory_of(profile, trigger.key)
    if trigger.same:
        latest = memory.cancelled
        if latest is None:
            latest = memory.cancelled = {}
        latest[same] = max(latest.get(same, occurred), occurred)
        if len(latest) > MAX_SAME:
            del latest[min(latest, key=lambda text: (latest[text], text))]
    elif memory.cancelled is None or occurred > memory.cancelled:
        memory.cancelled = occurred
    for key in waiting_of(profile, trigger) if profile.waiting else ():
        waiting = profile.waiting[key]
        if waiting.occurred < occurred and waiting.same == same:
            del profile.waiting[key]
            not_sent(profile, trigger, outbox, "cancelled")


def guard(rule: Rule, profile: Profile, outbox: Outbox, starts: list[CompiledTrigger]) -> Rules:  # noqa: ARG001  one of several
    """Call off what waits for a trigger once its `unless` condition holds. Nothing reads that."""
    trigger = rule.trigger
    assert trigger is not None  # noqa: S101  only such rules come here
    found = waiting_of(profile, trigger) if profile.waiting else []
    if found and rule.value(profile, None) is True:
        for key in sorted(found):
            del profile.waiting[key]
            not_sent(profile, trigger, outbox, "cancelled")
    return ()


def _called_off(profile: Profile, trigger: CompiledTrigger, same: str, occurred: int) -> bool:
    """Whether something that is known already calls off what started at `occurred`."""
    if trigger.guard is not None and trigger.guard(profile, None):
        return True
    memory = profile.triggers.get(trigger.key)
    if memory is None or memory.cancelled is None:
        return False
    latest = memory.cancelled.get(same) if trigger.same else memory.cancelled
    return latest is not None and latest > occurred


# ---- starting ----------------------------------------------------------------------------------------------------------


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
    same = _text(trigger.same, event)
    instance = _text(trigger.per, event) or same
    key = trigger.key + _hash(instance) if instance else trigger.key
    if trigger.purpose is not None and not trigger.purpose.holds(profile):
        _without_consent(profile, trigger, f"purpose {trigger.purpose.name}", outbox)
        return
    reason = _refused(profile, trigger, key, same, occurred)
    if reason:
        not_sent(profile, trigger, outbox, reason)
        return
    before = profile.waiting.get(key)
    if before is not None and before.occurred > occurred:
        return
    first = before.first if before is not None else occurred
    due = occurred + trigger.after
    if trigger.at_most:
        due = min(due, first + trigger.at_most)
    captured = [] if event is None else [read(None, event) for read in trigger.captures]
    profile.waiting[key] = Start(due, occurred, received, *cause, captured, same, first=first)
    if profile.now < due < profile.wake_at:
        profile.wake_at = due


def _without_consent(profile: Profile, trigger: CompiledTrigger, by: str, outbox: Outbox) -> None:
    """A start that the person has not agreed to: told once a day, since most people are never asked, and not kept."""
    memory = profile.triggers.get(trigger.key)
    since = profile.now - CONSENT_AGAIN_MS
    if memory is None or not any(reason == "consent" and whose == by and at > since for at, reason, whose in memory.last):
        not_sent(profile, trigger, outbox, "consent", by)


def _refused(profile: Profile, trigger: CompiledTrigger, key: str, same: str, occurred: int) -> str:
    """Why a start counts for nothing; "" where it counts."""
    if (trigger.unless is not None) and _called_off(profile, trigger, same, occurred):
        return "cancelled"
    before = profile.waiting.get(key)
    if before is None:
        if len(profile.waiting) >= MAX_INSTANCES and len(waiting_of(profile, trigger)) >= MAX_INSTANCES:
            return "too_many"
    elif before.place:
        return "running"
    if trigger.waits and _overtaken(profile, trigger, key, occurred):
        return "superseded"
    return "" if may_again(profile, trigger, key) else "again"


def _overtaken(profile: Profile, trigger: CompiledTrigger, key: str, occurred: int) -> bool:
    """Whether a start that occurred then or later has been sent already: in order, it would have taken the place of this."""
    memory = profile.triggers.get(trigger.key)
    latest = memory.latest.get(key[KEY:]) if memory is not None else None
    return latest is not None and latest[1] >= occurred


def may_again(profile: Profile, trigger: CompiledTrigger, key: str) -> bool:
    """Whether a trigger that was sent may be sent again, for this instance."""
    again = trigger.again
    if again.kind == "always":
        return True
    memory = profile.triggers.get(trigger.key)
    latest = memory.latest.get(key[KEY:]) if memory is not None else None
    if latest is None:
        return True
    if again.kind == "after":
        return latest[0] + again.after <= profile.now
    if again.kind == "exited":  # it stands in the segment since it was entered last
        entered = profile.segments.get(trigger.again_in)
        return entered is None or entered > latest[0]
    return False


def remember(profile: Profile, trigger: CompiledTrigger, key: str, occurred: int) -> None:
    """Note that an instance was sent, or went under way; of too many the oldest are forgotten."""
    if not trigger.waits and trigger.again.kind == "always":
        return
    latest = memory_of(profile, trigger.key).latest
    latest[key[KEY:]] = [profile.now, occurred]
    if len(latest) > MAX_INSTANCES:
        del latest[min(latest, key=lambda name: (latest[name], name))]


def arrive(profile: Profile, trigger: CompiledTrigger, event: Any) -> None:
    """An event that steps of a journey wait for: they are due at once."""
    for key in waiting_of(profile, trigger):
        start = profile.waiting[key]
        here = trigger.program[start.place]
        if not isinstance(here, Missed) or start.due - here.up_to >= event.occurred:
            continue
        if event.event not in here.events and "*" not in here.events:
            continue
        if here.where is not None and not here.where(None, event):
            continue
        expected = [start.captured[place] for place in here.places] if start.captured else []
        if here.places and _to_json(list(map(_plain, expected))).decode() != _text(here.same, event):
            continue
        start.place += 1
        start.due = profile.now


def recheck(profile: Profile, trigger: CompiledTrigger, outbox: Outbox) -> None:
    """After a merge: call off what waits and is called off by what the other side knew."""
    for key in sorted(waiting_of(profile, trigger)) if profile.waiting and trigger.unless is not None else ():
        start = profile.waiting[key]
        if _called_off(profile, trigger, start.same, start.occurred):
            del profile.waiting[key]
            not_sent(profile, trigger, outbox, "cancelled")


# ---- other definitions -------------------------------------------------------------------------------------------------


def withdraw(profile: Profile, trigger: CompiledTrigger, outbox: Outbox) -> None:
    """A trigger that is no longer defined: what waits for it is dropped, and recorded."""
    for key in sorted(waiting_of(profile, trigger)):
        del profile.waiting[key]
        outbox.not_sent(profile, trigger.name, "withdrawn")
    profile.triggers.pop(trigger.key, None)
    profile.schedules.pop(trigger.key, None)


def migrate(profile: Profile, old: CompiledTrigger, new: CompiledTrigger, outbox: Outbox) -> None:
    """Take a trigger over from other definitions: what waits keeps its due instant and what both captured."""
    if new.schedule is None:
        profile.schedules.pop(new.key, None)
    for key in sorted(waiting_of(profile, new)):
        waiting = profile.waiting[key]
        if old.texts[: waiting.place + 1] != new.texts[: waiting.place + 1] and (waiting.place or new.journey != old.journey):
            del profile.waiting[key]
            not_sent(profile, new, outbox, "withdrawn")
            continue
        if old.captured != new.captured and waiting.captured:
            held = dict(zip(old.captured, waiting.captured, strict=False))
            waiting.captured = [held.get(text) for text in new.captured]
        if old.unless != new.unless and not new.same:
            waiting.same = ""
    memory = profile.triggers.get(new.key)
    if memory is not None and old.unless != new.unless:
        memory.cancelled = None
