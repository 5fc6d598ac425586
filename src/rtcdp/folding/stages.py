"""The lifecycle of one profile: the stage that it is in.

Stages are looked at whenever something that they read changes, by an event or by time. The first whose condition holds is
wanted; the present one is kept at least for its `stay`, and left at the very instant at which that is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.aggregates import NEVER

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled import Rule
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
    from rtcdp.rules.compiling.gates import Rules

_NAME, _SINCE, _DUE = 0, 1, 2


def look(rule: Rule, profile: Profile, outbox: Outbox, starts: list[CompiledTrigger]) -> Rules:
    """Move to the stage that is wanted, unless the present one has to be kept. Returns the rules that read a change."""
    wanted, stage, now = rule.value(profile, None), profile.stage, profile.now
    if stage and wanted == stage[_NAME]:
        stage[_DUE] = 0
        return ()
    if stage:
        due = stage[_SINCE] + rule.stays.get(stage[_NAME], 0)
        if now < due:
            stage[_DUE] = due
            profile.wake_at = min(profile.wake_at, due)
            return ()
    old = stage[_NAME] if stage else None
    profile.stage = [wanted, now, 0]
    outbox.change(profile, "stage", "stage", old=old, new=wanted)
    starts += rule.starts.get(wanted, ())
    return rule.dependents


def leave(profile: Profile, outbox: Outbox) -> None:
    """Be in no stage any more: the definitions have none now."""
    if profile.stage:
        outbox.change(profile, "stage", "stage", old=profile.stage[_NAME])
        profile.stage = []


def due(profile: Profile) -> int:
    """When a stage may be left for the one that is wanted (ms), or NEVER."""
    return int(profile.stage[_DUE] or NEVER) if profile.stage else NEVER
