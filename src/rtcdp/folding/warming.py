"""Features that came with a switch of definitions and have not seen all that they should have: they are warming.

A partition's position keeps, by slot key, the switch with which such a feature came. A profile that began later has
seen everything; for the others it is warming until what it has missed would count no more.

A count that rules now compare with a larger constant goes on from the newest events that it has kept. Where there are
fewer of them than were kept at most, nothing was let go, and it is exact at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtcdp.aggregates import Aggregate, During, PerSession, Reset, WindowAtLeast, packed_up_to
from rtcdp.position import Came, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled


def after(came: Mapping[str, Came], old: Compiled, new: Compiled, switch: SwitchPoint) -> dict[str, Came]:
    """What is warming after a switch from `old` to `new`, by slot key.

    Features of the first version of a partition are never in it: there was no profile before them.
    """
    found: dict[str, Came] = {}
    for key, leaf in new.leaves.items():
        known, before = came.get(key), old.leaves.get(key)
        if known is not None and not known.time + (leaf.aggregate.within or switch.time) > switch.time:
            known = None  # its window has been full by then
        if before is None:
            found[key] = Came(switch.number, switch.time)
            continue
        kept = at_most(before.aggregate)
        if kept is not None and asks_for_more(kept, at_most(leaf.aggregate)):
            found[key] = Came(switch.number, switch.time, kept if known is None else min(kept, known.kept))
        elif known is not None:
            found[key] = known
    return found


def at_most(aggregate: Aggregate) -> int | None:
    """The value up to which it counts: rules ask no further; None where it counts on."""
    return aggregate.keep if isinstance(aggregate, WindowAtLeast) else None


def asks_for_more(kept: int | None, wanted: int | None) -> bool:
    """Whether a count that was kept up to some number is now asked beyond it; None: it counts on."""
    return kept is not None and (wanted is None or wanted > kept)


def of_profile(came: Mapping[str, Came], profile: Profile) -> dict[str, Came]:
    """What came after the profile began, by slot key."""
    return {key: item for key, item in came.items() if item.number > profile.born}


def misses(came: Came, aggregate: Aggregate, slot: Any, now: int) -> bool:
    """Whether a feature that came with a switch may still lack something that would count at `now` (ms).

    slot: of a profile that began before the switch.
    """
    if aggregate.within and came.time + aggregate.within <= now:
        return False
    if came.kept:
        return _let_go(came, aggregate, slot, now)
    match aggregate:
        case During():
            return aggregate.began(now) <= came.time
        case Reset():
            return slot is None or slot[0] < came.time
        case PerSession():
            began = aggregate.began(slot, now)
            return came.time + aggregate.gaps.longest > now if began is None else began - aggregate.gaps.longest < came.time
    return True


def _let_go(came: Came, aggregate: Aggregate, slot: Any, now: int) -> bool:
    """Of a count: whether as many are left of what occurred before the switch as were kept at most until then."""
    if slot is None:
        return False
    times, buckets = (slot, []) if isinstance(aggregate, WindowAtLeast) else (slot[0], slot[1][0])
    left = packed_up_to(times, came.time) - packed_up_to(times, now - aggregate.within)
    return bool(buckets) or left >= came.kept
