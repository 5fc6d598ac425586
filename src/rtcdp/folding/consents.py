"""What a person agrees to, and what goes when they no longer do. Pure.

Of several answers the one that was given later counts (by its time, then its id, then no before yes). Without consent
nothing exists that a definition keeps for that purpose: its features, tags and memberships go, what waits is called off,
and what was sent and is not delivered yet is withdrawn. What was sent is remembered, so that caps hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtcdp.folding.triggers import MAX_DECISIONS, not_sent, waiting_of
from rtcdp.profile import Answer, Profile
from rtcdp.rules.compiling.programs import Deliver
from rtcdp.rules.compiling.purposes import CHANNEL, EVERY, CompiledPurpose

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Outbox
    from rtcdp.rules.compiling.compiled import Compiled
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger

MOST_ANSWERS = 128
"""Names that a profile keeps answers to."""
REASON = "consent"


@dataclass(frozen=True)
class Said:
    """What is to be taken: answers by name; None takes one back. at, id: of that."""

    answers: Mapping[str, Answer | None]
    at: int
    id: str


def joined(one: Answer | None, other: Answer) -> Answer:
    """Two answers about the same as one, in any order the same. `since` is never before a no that is known."""
    if one is None:
        return other
    old, new = sorted((one, other), key=lambda answer: (answer.at, answer.id, not answer.granted))
    denied = max(old.denied, new.denied, *(answer.at for answer in (old, new) if not answer.granted), 0)
    since = new.since
    if new.granted:
        starts = [answer.since for answer in (old, new) if answer.granted and answer.since > denied]
        since = min(starts, default=new.at)
    return Answer(new.granted, new.at, new.id, new.by, since, new.until, denied)


def take(profile: Profile, said: Said, compiled: Compiled, outbox: Outbox) -> bool:
    """Take answers, and do what follows of them; whether any purpose holds now that did not, or the other way round."""
    if _again(profile, said):
        return False
    purposes = compiled.consent.purposes if compiled.consent is not None else {}
    held = {name: purpose.holds(profile) for name, purpose in purposes.items()}
    lapsed: set[str] = set()
    for name, given in said.answers.items():
        old = profile.consent.get(name)
        if given is None:
            if old is not None and (said.at, said.id) > (old.at, old.id):
                del profile.consent[name]
                outbox.change(profile, "consent", name, old=old.granted)
            continue
        new = joined(old, given)
        if new == old or (old is None and len(profile.consent) >= MOST_ANSWERS):
            continue
        profile.consent[name] = new
        if old is not None and old.granted and new.granted and new.since > old.since:
            lapsed.add(name)  # a no came late that lies between: what was gathered before it goes
        if old is None or old.granted != new.granted:
            outbox.change(profile, "consent", name, old=None if old is None else old.granted, new=new.granted)
        if CHANNEL in name and not new.granted and new == given:
            _stop_channel(profile, name, compiled, outbox)
    moved = [name for name, purpose in purposes.items() if purpose.holds(profile) != held[name]]
    for name in sorted({*moved, *(lapsed & purposes.keys())}):
        if name in lapsed or held[name]:
            withdraw(profile, purposes[name], compiled, outbox)
    return bool(moved or lapsed)


def _again(profile: Profile, said: Said) -> bool:
    """Whether all of it was said before: most events repeat what the first one said. Then only the times move on."""
    consent, repeated = profile.consent, {}
    for name, given in said.answers.items():
        old = consent.get(name)
        if old is None or given is None or old.granted is not given.granted or given.at <= old.at:
            return False
        granted, since, denied = given.granted, given.since, given.at
        if granted:
            if old.since <= old.denied:
                return False  # a no and a yes of one instant: the next yes is what counts
            since, denied = old.since, old.denied
        repeated[name] = Answer(granted, given.at, given.id, given.by, since, given.until, denied)
    consent.update(repeated)
    return True


def enforce(profile: Profile, compiled: Compiled, outbox: Outbox) -> None:
    """See to it that nothing is there for a purpose that does not hold: after a merge, under other definitions."""
    if compiled.consent is None:
        return
    for purpose in compiled.consent.purposes.values():
        if not purpose.holds(profile):
            withdraw(profile, purpose, compiled, outbox)


def withdraw(profile: Profile, purpose: CompiledPurpose, compiled: Compiled, outbox: Outbox) -> None:
    """Drop what is kept for a purpose, call off what waits, withdraw what was sent. Rules are looked at by the caller."""
    for key, leaf in compiled.leaves.items():
        if leaf.purpose is purpose:
            profile.slots.pop(key, None)
    for trigger in compiled.triggers:
        if trigger.purpose is not purpose:
            continue
        for key in sorted(waiting_of(profile, trigger)) if profile.waiting else ():
            del profile.waiting[key]
            not_sent(profile, trigger, outbox, REASON, f"purpose {purpose.name}")
        _recall(profile, trigger, "", outbox)


def _stop_channel(profile: Profile, name: str, compiled: Compiled, outbox: Outbox) -> None:
    """Withdraw what was sent by a channel that is no longer wanted; what waits is stopped when it is due."""
    about, _, channel = name.partition(CHANNEL)
    for trigger in compiled.triggers:
        if about and (trigger.purpose is None or trigger.purpose.name != about):
            continue
        channels = {operation.channel for operation in trigger.program if isinstance(operation, Deliver)}
        if channel == EVERY or channel in channels:
            _recall(profile, trigger, "" if channel == EVERY else channel, outbox)


def _recall(profile: Profile, trigger: CompiledTrigger, channel: str, outbox: Outbox) -> None:
    """Withdraw what a trigger has sent lately, under each of the person's keys: it may be with a deliverer still."""
    memory = profile.triggers.get(trigger.key)
    lately = [what for at, what, _ in memory.last if at > profile.now - trigger.max_age] if memory is not None else []
    if "sent" not in lately and len(lately) < MAX_DECISIONS:  # where all that is remembered is lately, one may lie before it
        return
    for key in (profile.key, *sorted(profile.links)):
        outbox.cancel(profile, key, trigger.name, channel, REASON)
