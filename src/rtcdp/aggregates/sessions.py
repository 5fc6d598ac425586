"""Sessions: runs of events, each less than a gap after the one before."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Literal

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Aggregate, Slot

_FIRST, _LAST, _MANY = range(3)
KEPT = 32
"""Sessions over the lifetime that are kept as they are, for what comes late; older ones are totals."""
RECENT = 8
"""The same where only the current session is asked for."""


class Gaps:
    """How long a pause ends a session (ms): one for all events, or one per channel, each with sessions of its own."""

    def __init__(self, gap: int, channels: Mapping[str, int] | None = None) -> None:
        """Channels: where given, events of other channels take no part."""
        self._gap = gap
        self._channels = channels or {}

    def of(self, channel: str) -> int:
        """The gap of a channel."""
        return self._channels.get(channel, self._gap)

    @property
    def apart(self) -> bool:
        """Whether channels have sessions of their own."""
        return bool(self._channels)

    @property
    def longest(self) -> int:
        """The longest of all."""
        return max([self._gap, *self._channels.values()]) if self._channels else self._gap


def _start(run: list[Any]) -> int:
    return int(run[_FIRST])


class SessionStatistics:
    """Sessions in numbers: how many, how many of a single event that are over, or how long they were together (ms).

    Slot: {channel: [[first, last, 1 or 2 for more events], ... ascending; [number, single, ms] of older ones; whether
    something came later than what is kept; [single, ms] of the kept ones]}. With `within` those count whose last event
    lies in the window; the newest MAX_ENTRIES of them are kept. Exact for what comes as late as the kept ones reach;
    `exact` tells where it was later.
    """

    zero = 0
    numeric = False

    def __init__(self, kind: Literal["sessions", "bounces", "time_spent"], gaps: Gaps, within: int = 0) -> None:
        """Within: in ms, 0 for the lifetime."""
        self.kind = kind
        self.gaps = gaps
        self.within = within
        self.timed = within > 0 or kind == "bounces"
        self.rises = kind == "bounces" and not within
        self._most = MAX_ENTRIES if within else KEPT
        self._gap = gaps.of("")

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: its channel, empty where channels are not told apart."""
        if self.within and at <= now - self.within:
            return slot
        slot = {} if slot is None else slot
        held = slot.get(value)
        if held is None:
            held = slot[value] = [[], [0, 0, 0], False, [0, 0]]
        gap, runs, sums = self.gaps.of(value) if value else self._gap, held[0], held[3]
        last = runs[-1] if runs else None
        if last is not None and last[_FIRST] <= at < last[_LAST] + gap:  # in order: the session goes on
            if last[_MANY] == 1:
                last[_MANY], sums[0] = 2, sums[0] - 1
            if at > last[_LAST]:
                sums[1] += at - last[_LAST]
                last[_LAST] = at
        elif last is None or at >= last[_LAST] + gap:
            runs.append([at, at, 1])
            sums[0] += 1
        else:
            self._join(held, [at, at, 1], gap)
            held[3] = self._sums(runs)
        if self.within or len(runs) > KEPT:
            self._bound(held, now, gap)
        return slot

    def unmoved(self, slot: Slot, at: int, value: Any, now: int) -> bool:
        """A session that has just begun or goes on is no bounce, and took none from those that are over."""
        if not self.rises:
            return False
        held = slot.get(value) if slot else None
        gap = self.gaps.of(value) if value else self._gap
        if at + gap <= now:
            return False
        if held is None or not held[0]:
            return True
        last = held[0][-1][_LAST]
        return bool(at >= last + gap or (at >= last and last + gap > now))

    @staticmethod
    def _sums(runs: list[list[int]]) -> list[int]:
        return [sum(1 for run in runs if run[_MANY] == 1), sum(run[_LAST] - run[_FIRST] for run in runs)]

    @staticmethod
    def _join(held: list[Any], run: list[int], gap: int) -> None:
        """Add a run, and make one of all that it connects."""
        runs: list[list[int]] = held[0]
        if held[1][0] and runs and run[_LAST] <= runs[0][_FIRST] - gap:
            held[2] = True  # it may belong to one that is a total already
        place = bisect_right(runs, run[_FIRST], key=_start)
        if place and run[_FIRST] - runs[place - 1][_LAST] < gap:
            place -= 1
            before = runs[place]
            before[_LAST], before[_MANY] = max(before[_LAST], run[_LAST]), 2
        else:
            runs.insert(place, run)
        merged = runs[place]
        while place + 1 < len(runs) and runs[place + 1][_FIRST] - merged[_LAST] < gap:
            after = runs.pop(place + 1)
            merged[_LAST], merged[_MANY] = max(merged[_LAST], after[_LAST]), 2

    def _bound(self, held: list[Any], now: int, gap: int) -> None:
        runs, totals, sums = held[0], held[1], held[3]
        many = len(runs) > self._most
        while runs and (len(runs) > self._most or (self.within and runs[0][_LAST] <= now - self.within - gap)):
            run = runs.pop(0)
            single, lasted = run[_MANY] == 1, run[_LAST] - run[_FIRST]
            sums[0] -= single
            sums[1] -= lasted
            if not self.within:
                totals[:] = [totals[0] + 1, totals[1] + single, totals[2] + lasted]
            elif many and run[_LAST] > now - self.within:
                held[2] = True

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        if not slot:
            return 0
        if len(slot) == 1:
            ((channel, held),) = slot.items()
            return self._number(held, now, self.gaps.of(channel) if channel else self._gap)
        return sum(self._number(held, now, self.gaps.of(channel)) for channel, held in slot.items())

    def _number(self, held: list[Any], now: int, gap: int) -> int:
        runs, totals, _, (single, lasted) = held
        if self.rises:
            last = runs[-1]
            return int(single + totals[1] - (last[_MANY] == 1 and last[_LAST] + gap > now))
        first = 0
        if self.within:
            gone = now - self.within
            while first < len(runs) and runs[first][_LAST] <= gone:
                single -= runs[first][_MANY] == 1
                lasted -= runs[first][_LAST] - runs[first][_FIRST]
                first += 1
        if self.kind == "sessions":
            return int(len(runs) - first + totals[0])
        if self.kind == "time_spent":
            return int(lasted + totals[2])
        going_on = first < len(runs) and runs[-1][_MANY] == 1 and runs[-1][_LAST] + gap > now
        return int(single - going_on + totals[1])

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when a session leaves the window, or is over after one event."""
        due = NEVER
        for channel, held in (slot or {}).items():
            last = held[0][-1] if held[0] else None
            if last is not None and self.kind == "bounces" and last[_MANY] == 1 and last[_LAST] + self.gaps.of(channel) > now:
                due = min(due, last[_LAST] + self.gaps.of(channel))
            if self.within:
                leaves = (run[_LAST] + self.within for run in held[0])
                due = min(due, next((leaving for leaving in leaves if leaving > now), NEVER))
        return due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""
        if not one or not other:
            return one or other
        merged: dict[str, Any] = {}
        for channel in sorted({*one, *other}):
            parts = [slot[channel] for slot in (one, other) if channel in slot]
            totals = [sum(each) for each in zip(*(part[1] for part in parts), strict=True)]
            held: list[Any] = [[], totals, False, [0, 0]]
            for run in sorted(list(run) for part in parts for run in part[0]):
                self._join(held, run, self.gaps.of(channel))
            held[2] = any(part[2] for part in parts) or (len(parts) > 1 and totals[0] > 0)
            held[3] = self._sums(held[0])
            self._bound(held, now, self.gaps.of(channel))
            merged[channel] = held
        return merged

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return not any(held[2] for held in (slot or {}).values())


TOUCH: Any = ...
"""The value of an event that belongs to a session, but is none of those that are aggregated."""


class PerSession:
    """What has happened in the current session, which is over a gap after its last event, by itself.

    Slot: {channel: [[first, last, slot of `inner`], ... ascending, the newest RECENT; 0, 1 once any was let go, 2 once
    something came as late as that]}. Of several channels the one with the latest event counts. `inner` is the lifetime
    aggregate of the same kind; None for the length of the session itself.
    """

    timed = True
    within = 0
    numeric = False  # what only belongs to the session is no number: what reads the events sees to it

    def __init__(self, inner: Aggregate | None, gaps: Gaps) -> None:
        self.inner = inner
        self.gaps = gaps
        self.zero: Any = inner.zero if inner else 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: (channel, what is aggregated or TOUCH)."""
        channel, item = value
        slot = {} if slot is None else slot
        kept = slot.get(channel)
        if kept is None:
            kept = slot[channel] = [[], 0]
        runs, gap, inner = kept[0], self.gaps.of(channel), self.inner
        if runs and runs[-1][_FIRST] <= at < runs[-1][_LAST] + gap:  # in order: the session goes on
            run = runs[-1]
            run[_LAST] = max(run[_LAST], at)
            if item is not TOUCH and inner is not None:
                run[_MANY] = inner.update(run[_MANY], at, tie, item, now)
            return slot
        held = None if item is TOUCH or inner is None else inner.update(None, at, tie, item, now)
        self._join(kept, [at, at, held], gap, now)
        return slot

    def _join(self, kept: list[Any], run: list[Any], gap: int, now: int) -> None:
        """Add a run, and make one of all that it connects."""
        runs: list[list[Any]] = kept[0]
        if kept[1] and runs and run[_LAST] <= runs[0][_FIRST]:
            kept[1] = 2
        place = bisect_right(runs, run[_FIRST], key=_start)
        if place and run[_FIRST] - runs[place - 1][_LAST] < gap:
            place -= 1
            self._unite(runs[place], run, now)
        else:
            runs.insert(place, run)
        while place + 1 < len(runs) and runs[place + 1][_FIRST] - runs[place][_LAST] < gap:
            self._unite(runs[place], runs.pop(place + 1), now)
        if len(runs) > RECENT:
            del runs[0]
            kept[1] = max(kept[1], 1)

    def _unite(self, run: list[Any], other: list[Any], now: int) -> None:
        run[_LAST] = max(run[_LAST], other[_LAST])
        if self.inner is not None and other[_MANY] is not None:
            run[_MANY] = other[_MANY] if run[_MANY] is None else self.inner.merge(run[_MANY], other[_MANY], now)

    def _current(self, slot: Slot, now: int) -> tuple[list[Any], int] | None:
        """The session that is not over, and when it will be."""
        found: tuple[list[Any], int] | None = None
        for channel in sorted(slot or {}) if slot is None or len(slot) > 1 else slot:
            runs = slot[channel][0]
            ends = runs[-1][_LAST] + self.gaps.of(channel)
            if ends > now and (found is None or runs[-1][_LAST] > found[0][_LAST]):
                found = runs[-1], ends
        return found

    def began(self, slot: Slot, now: int) -> int | None:
        """When the current session began (ms), if there is one."""
        found = self._current(slot, now)
        return found[0][_FIRST] if found else None

    def held(self, slot: Slot, now: int) -> Slot:
        """The slot of `inner` of the current session."""
        found = self._current(slot, now)
        return found[0][_MANY] if found else None

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        found = self._current(slot, now)
        if self.inner is None:
            return found[0][_LAST] - found[0][_FIRST] if found else 0
        return self.inner.value(found[0][_MANY] if found else None, now)

    def part(self, slot: Slot, now: int, key: str) -> Any:
        """Read one key, where `inner` has several."""
        found = self._current(slot, now)
        return self.inner.part(found[0][_MANY] if found else None, now, key)  # type: ignore[union-attr] # a Keyed

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the current session is over."""
        found = self._current(slot, now)
        return found[1] if found else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""
        if not one or not other:
            return one or other
        merged: dict[str, Any] = {}
        for channel in sorted({*one, *other}):
            parts = [slot[channel] for slot in (one, other) if channel in slot]
            held: list[Any] = [[], max(part[1] for part in parts)]
            for run in sorted((run for part in parts for run in part[0]), key=_start, reverse=True):
                self._join(held, [*run], self.gaps.of(channel), now)
            merged[channel] = held
        return merged

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return not any(held[1] > 1 for held in (slot or {}).values())
