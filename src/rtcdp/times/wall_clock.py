"""What the clock on the wall shows at an instant, and when it shows a time.

That is an integer too: ms since 1970 as the clock shows them. A local time that the clocks skip is the
instant at which they jump; one that comes twice is the first.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from rtcdp.times.timestamps import EPOCH, MILLISECOND

DAY_MS = 86_400_000
_NAIVE = datetime(1970, 1, 1)  # noqa: DTZ001  the wall's own clock


def local(where: ZoneInfo, instant: int) -> int:
    """What the clock shows at an instant (ms). Raises OverflowError outside the years 1 to 9999."""
    return _local(where, instant // 60_000) + instant % 60_000  # offsets are whole seconds, today's whole minutes


@lru_cache(maxsize=16_384)
def _local(where: ZoneInfo, minute: int) -> int:
    offset = (EPOCH + timedelta(minutes=minute)).astimezone(where).utcoffset()
    return minute * 60_000 + (offset or timedelta()) // MILLISECOND


def instants(where: ZoneInfo, shown: int) -> tuple[int, int]:
    """The first and the second instant (ms) at which the clock shows a local time; usually the same.

    Raises OverflowError outside the years 1 to 9999.
    """
    moment = (_NAIVE + timedelta(milliseconds=shown)).replace(tzinfo=where)
    before, after = ((moment.replace(fold=fold).utcoffset() or timedelta()) // MILLISECOND for fold in (0, 1))
    if before >= after:
        return shown - before, shown - after
    low, high = shown - after - 1, shown - before  # skipped: the clocks jump in between
    while high - low > 1:
        middle = (low + high) // 2
        if local(where, middle) - middle == after:
            high = middle
        else:
            low = middle
    return high, high
