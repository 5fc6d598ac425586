"""Aggregates over a calendar period: today, this week, this month, in a time zone."""

from __future__ import annotations

from typing import Any

from rtcdp.aggregates.base import NEVER, Aggregate, Slot
from rtcdp.times.zones import Calendar


class During:
    """What has happened in the calendar period that holds now. Slot: [first instant of the period, slot of `inner`].

    At the end of the period the value starts anew, by itself. What occurred in an earlier period does not count.
    Exact at any volume, as far as `inner` is.
    """

    timed = True
    within = 0

    def __init__(self, inner: Aggregate, calendar: Calendar) -> None:
        """Inner: the lifetime aggregate of the same kind."""
        self.inner = inner
        self.zero = inner.zero
        self.numeric = inner.numeric
        self._period = calendar.period

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in."""
        start = self._period(now)[0]
        if at < start:
            return slot
        if slot is None or slot[0] != start:
            return [start, self.inner.update(None, at, tie, value, now)]
        slot[1] = self.inner.update(slot[1], at, tie, value, now)
        return slot

    def began(self, now: int) -> int:
        """When the period that holds now began (ms)."""
        return self._period(now)[0]

    def held(self, slot: Slot, now: int) -> Slot:
        """The slot of `inner` of the period that holds now."""
        return slot[1] if slot is not None and slot[0] == self._period(now)[0] else None

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        return self.inner.value(self.held(slot, now), now)

    def part(self, slot: Slot, now: int, key: str) -> Any:
        """Read one key, where `inner` has several."""
        return self.inner.part(self.held(slot, now), now, key)  # type: ignore[attr-defined] # `inner` is a Keyed

    def units(self, slot: Slot, now: int) -> int:
        """Of a sum, as it is kept."""
        return self.held(slot, now) or 0

    def next_change(self, slot: Slot, now: int) -> int:
        """Return the end of the period, if it holds anything."""
        if slot is None:
            return NEVER
        start, end = self._period(now)
        return end if slot[0] == start and slot[1] is not None else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union; of two periods the later one counts."""
        if one is None or other is None:
            return one or other
        if one[0] != other[0]:
            return max(one, other, key=lambda slot: slot[0])
        return [one[0], self.inner.merge(one[1], other[1], now)]

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return slot is None or self.inner.exact(slot[1])
