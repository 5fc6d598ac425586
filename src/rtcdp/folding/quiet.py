"""Quiet hours: whether the clock on the profile's wall shows one, and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.times.wall_clock import DAY_MS, instants, local

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from rtcdp.rules.sending import Quiet


def is_quiet(quiet: Quiet, where: ZoneInfo, instant: int) -> bool:
    """Whether the clock shows a time from `begin` on and before `end`; the hours may go over midnight."""
    time = local(where, instant) % DAY_MS
    if quiet.begin < quiet.end:
        return quiet.begin <= time < quiet.end
    return time >= quiet.begin or time < quiet.end


def end(quiet: Quiet, where: ZoneInfo, instant: int) -> int:
    """The first instant (ms) from `instant` on that is not quiet."""
    while is_quiet(quiet, where, instant):
        shown = local(where, instant)
        day, time = divmod(shown, DAY_MS)
        day += time >= quiet.end
        first, second = instants(where, day * DAY_MS + quiet.end)
        ahead = first if first > instant else second
        instant = ahead if ahead > instant else instant + 1
    return instant
