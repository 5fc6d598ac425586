"""A person about whom something was wrong: what the command `correct` does in the person's part of the log. Pure.

Traits are set like those of an event at the command's time. Events that should never have been are left out of a state that
comes with the command, made from the log (see `rtcdp.folding.contributions`); it counts only where the person's state is
still the one it was made from. What was decided stays decided: memberships are looked at again, nothing starts, what was
sent was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.folding.parting import digest, given, hold
from rtcdp.rules.compiling.functions import same

if TYPE_CHECKING:
    from rtcdp.folding.engine import Engine
    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile
    from rtcdp.records import Correct

OUTDATED, UNKNOWN = "outdated", "unknown"


def correct(profile: Profile, command: Correct, engine: Engine, outbox: Outbox) -> None:
    """Put it right, or say that the command is outdated, or the person unknown: a record for each trait and event."""
    if profile.fresh:
        for name in (*command.traits, *command.without):
            outbox.corrected(profile, name, UNKNOWN)
        return
    if command.without and digest(profile) != command.expected:
        for message_id in command.without:
            outbox.corrected(profile, message_id, OUTDATED)
        return
    if command.without:
        made, waiting = given(profile.key, command.state), profile.waiting
        hold(profile, made)
        profile.waiting = {key: start for key, start in profile.waiting.items() if key in waiting}
        for message_id in command.without:
            outbox.corrected(profile, message_id, "event")
    at = command.at
    for name, value in command.traits.items():
        before = profile.traits.get(name)
        if before is not None and (before[0] > at or same(before[1], value)):
            continue
        if before is not None or value is not None:
            profile.traits[name] = [at, value]
            outbox.corrected(profile, name, "trait")
    engine.look_again(profile, outbox, revealed=profile.now if command.simulated else command.received)
