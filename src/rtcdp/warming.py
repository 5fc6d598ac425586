"""Features that came with a switch of definitions and have not seen all that they should have: they are warming.

A partition's position keeps, by slot key, the switch with which such a feature came. A profile that began later has
seen everything; for the others it is warming until its window is full, and for good where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from rtcdp.evidence import at_most
from rtcdp.position import SwitchPoint
from rtcdp.profile import Profile
from rtcdp.rules.compiled import Compiled
from rtcdp.rules.features import Leaf

Came = dict[str, tuple[int, int]]
"""Slot key of a feature -> number and time (ms) of the switch with which it came."""


def after(came: Mapping[str, tuple[int, int]], old: Compiled, new: Compiled, switch: SwitchPoint) -> Came:
    """What is warming after a switch from `old` to `new`.

    Features of the first version of a partition are never in it: there was no profile before them.
    """
    found: Came = {}
    for key, leaf in new.leaves.items():
        before = old.leaves.get(key)
        if before is None or _remembers_more(before, leaf):
            found[key] = switch.number, switch.time
        elif key in came and came[key][1] + (leaf.aggregate.within or switch.time) > switch.time:
            found[key] = came[key]
    return found


def of_profile(came: Mapping[str, tuple[int, int]], profile: Profile) -> dict[str, int]:
    """Slot key -> since when (ms), for what came after the profile began."""
    return {key: time for key, (number, time) in came.items() if number > profile.born}


def _remembers_more(before: Leaf, now: Leaf) -> bool:
    """Whether a count that was kept up to some number is now asked beyond it."""
    kept, wanted = at_most(before.aggregate), at_most(now.aggregate)
    return kept is not None and (wanted is None or wanted > kept)
