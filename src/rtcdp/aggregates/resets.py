"""Aggregates that start anew with an event: what is in the cart since the last order."""

from __future__ import annotations

from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Aggregate, Slot, plain
from rtcdp.aggregates.lifetime import Count, Edge, ExtremeTime
from rtcdp.aggregates.times import pack, packed_at, packed_up_to

RESET: Any = ...
"""The value of an event that resets."""
_WHEN, _TIMES, _VALUES, _HELD, _LOST, _DOUBT = range(6)


class Reset:
    """What has occurred after the latest event that resets; that takes with it what occurred at its very instant.

    Slot: [latest reset or -1, packed times since, their values, slot of `inner` over all since, latest time that was
    let go or -1, doubt].
    `inner` is the lifetime aggregate of the same kind: what comes late is folded into it as everything else. The newest
    `MAX_ENTRIES` are kept for the reset that comes late itself: exact, unless it lies before them; then only they
    count, and `exact` says so until the next reset.
    """

    timed = False
    within = 0
    numeric = False  # a reset is no number: what reads the events sees to it

    def __init__(self, inner: Aggregate) -> None:
        self.inner = inner
        self.zero = inner.zero
        self._numeric = inner.numeric
        self._bare = isinstance(inner, Count | ExtremeTime)
        self._tied = isinstance(inner, Edge)

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in; a value of RESET resets."""
        slot = [-1, b"", [], None, -1, False] if slot is None else slot
        if value is RESET:
            self._reset(slot, at, now)
        elif at > slot[_WHEN]:
            slot[_HELD] = self.inner.update(slot[_HELD], at, tie, value, now)
            self._keep(slot, at, self._entry(tie, value))
        return slot

    def _entry(self, tie: str, value: Any) -> Any:
        """A value as it is kept, and as it is read back."""
        if self._tied:
            return [tie, value]
        return plain(value) if self._numeric else [*value] if type(value) is tuple else value

    def _keep(self, slot: Slot, at: int, value: Any) -> None:
        times, packed = slot[_TIMES], pack(at)
        place = len(times) // 6 if times[-6:] <= packed else packed_up_to(times, at)
        slot[_TIMES] = times = times[: place * 6] + packed + times[place * 6 :]
        if not self._bare:
            slot[_VALUES].insert(place, value)
        if len(times) > MAX_ENTRIES * 6:
            slot[_LOST] = max(slot[_LOST], packed_at(times, 0))
            slot[_TIMES] = times[6:]
            del slot[_VALUES][:1]

    def _reset(self, slot: Slot, at: int, now: int) -> None:
        if at <= slot[_WHEN]:
            return
        slot[_WHEN] = at
        slot[_DOUBT] = slot[_LOST] > at
        if slot[_LOST] <= at:
            slot[_LOST] = -1
        gone = packed_up_to(slot[_TIMES], at)
        slot[_TIMES] = slot[_TIMES][gone * 6 :]
        del slot[_VALUES][:gone]
        slot[_HELD] = None
        for place, entry in enumerate(self._entries(slot)):
            tie, value = entry if self._tied else ("", entry)
            slot[_HELD] = self.inner.update(slot[_HELD], packed_at(slot[_TIMES], place), tie, value, now)

    def _entries(self, slot: Slot) -> list[Any]:
        return [None] * (len(slot[_TIMES]) // 6) if self._bare else slot[_VALUES]

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        return self.inner.value(None if slot is None else slot[_HELD], now)

    def part(self, slot: Slot, now: int, key: str) -> Any:
        """Read one key, where `inner` has several."""
        return self.inner.part(None if slot is None else slot[_HELD], now, key)  # type: ignore[attr-defined] # a Keyed

    def next_change(self, slot: Slot, now: int) -> int:
        """Time alone changes nothing."""
        return NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union: the later reset counts for both."""
        if one is None or other is None:
            return one or other
        when = max(one[_WHEN], other[_WHEN])
        for slot in (one, other):
            self._reset(slot, when, now)
        entries = [
            (packed_at(slot[_TIMES], place), entry) for slot in (one, other) for place, entry in enumerate(self._entries(slot))
        ]
        entries.sort(key=lambda item: item[0])
        merged: Slot = [when, b"", [], self.inner.merge(one[_HELD], other[_HELD], now)]
        merged += [max(one[_LOST], other[_LOST]), one[_DOUBT] or other[_DOUBT]]
        for at, entry in entries:
            self._keep(merged, at, entry)
        return merged

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return slot is None or (not slot[_DOUBT] and self.inner.exact(slot[_HELD]))
