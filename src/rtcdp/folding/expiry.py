"""The end of a profile: so long after its last event, nothing of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.aggregates import NEVER
from rtcdp.folding import stages
from rtcdp.folding.triggers import not_sent, waiting_of

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled import Compiled, Ending, Rule
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
    from rtcdp.rules.compiling.gates import Rules


def due(profile: Profile, ending: Ending) -> int:
    """When a profile ends by itself (ms), or NEVER: so long after its person was last active; not in the instant of an event.

    Where it has only been told of, by events of what the person did not do, it is so long after the first of these.
    """
    slots = profile.slots
    last = slots.get(ending.last_seen, slots.get(ending.first_seen))
    after = ending.anonymous if is_anonymous(profile, ending) else ending.known
    return NEVER if last is None or after is None else int(last + after)


def is_anonymous(profile: Profile, ending: Ending) -> bool:
    """Whether nobody knows who it is."""
    return profile.key.partition("/")[2].partition(":")[0] in ending.namespaces


def look(rule: Rule, profile: Profile, outbox: Outbox, starts: list[CompiledTrigger]) -> Rules:  # noqa: ARG001  one of several
    """See to it that the profile is woken when it ends, also where that is over already. Nothing reads that."""
    ending = rule.ending
    assert ending is not None  # noqa: S101  only such a rule comes here
    profile.wake_at = min(profile.wake_at, max(due(profile, ending), profile.now + 1))
    return ()


def end(profile: Profile, compiled: Compiled, outbox: Outbox) -> None:
    """End a profile: it leaves its segments, loses its tags and stage, nothing waits; only a no is kept."""
    for rule in compiled.rules:
        if rule.kind == "tag" and rule.key in profile.tags:
            outbox.change(profile, "tag", rule.name, old=rule.shown(profile.tags[rule.key]))
        elif rule.kind == "segment" and rule.key in profile.segments:
            outbox.change(profile, "exited", rule.name, old=True, new=False)
    stages.leave(profile, outbox)
    for trigger in compiled.triggers:
        for _ in waiting_of(profile, trigger):
            not_sent(profile, trigger, outbox, "expired")
    if profile.links:
        outbox.ended.append((profile.key, sorted(profile.links), profile.now))
    refusals = {name: answer for name, answer in profile.consent.items() if not answer.granted}
    profile.begin_anew()
    if compiled.ending is not None and not is_anonymous(profile, compiled.ending):  # a no is honoured if they come back
        profile.consent = refusals
