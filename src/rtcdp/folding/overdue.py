"""What two profiles owed when they became one.

Each side of a merge stands at its own time. What the one that is behind had still to decide by the later of both times
is decided once, over the union, at its own instant: a wait that runs out, a date of the calendar. Memberships are looked
at once, at the later time, so that nothing that was decided is entered or left again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.aggregates import NEVER
from rtcdp.folding import deciding, schedules, triggers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger


def owed(profile: Profile, other: Profile) -> tuple[int, list[str]]:
    """From when on (ms) the one that is behind has not decided, and the keys of its calendar triggers due by the later time.

    What the other has armed too it has decided already.
    """
    behind, ahead = (profile, other) if profile.now < other.now else (other, profile)
    due = [key for key, at in behind.schedules.items() if at <= ahead.now and key not in ahead.schedules]
    return behind.now, due


def decide(
    profile: Profile,
    since: int,
    due: Iterable[str],
    known: Mapping[str, CompiledTrigger],
    outbox: Outbox,
    revealed: int | None,
) -> None:
    """Decide what the union owes before its time, at its instants, in order; what is due at its time itself is left.

    since, due: of `owed`. known: triggers by key. revealed: time (ms) of the merge; None where time is simulated.
    """
    until = profile.now
    profile.now = since
    for key in due:
        if key in known:
            schedules.arm(profile, known[key])
    while (now := _earliest(profile)) < until:
        profile.now = now
        for trigger, at in schedules.due(profile, known):
            triggers.start(profile, trigger, None, ("time", ""), (at, at), outbox)
        deciding.decide(profile, known, now if revealed is None else revealed, outbox)
    profile.now = until


def _earliest(profile: Profile) -> int:
    waits = (start.due for start in profile.waiting.values())
    return min(*waits, *profile.schedules.values(), NEVER, NEVER)
