"""Sequences: how far a profile has come through a row of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Slot
from rtcdp.aggregates.times import pack, packed_at, packed_up_to

_TIMES, _MARKS, _KEYS, _BEST, _OPEN, _LOST = range(6)
_NONE = -1
KEY = 8
"""Bytes of a key: a hash of what must be the same in all steps."""

Entries = Iterable[tuple[int, int]]


class Steps:
    """How far one row of entries gets.

    excluded: for each item of the sequence, in order, whether it is an event that must not come there.
    strict:   the steps follow each other directly.
    restart:  the first step begins anew, unless it is the next step: the latest attempt counts, not the furthest.
    """

    def __init__(self, excluded: Sequence[bool], *, strict: bool, restart: bool) -> None:
        self.strict = strict
        self.restart = restart
        self.bits: list[int] = []
        self.bars: list[int] = []
        for place, bars in enumerate(excluded):
            if bars:
                self.bars[-1] |= 1 << place
            else:
                self.bits.append(1 << place)
                self.bars.append(0)
        self.count = len(self.bits)

    def advance(self, best: list[int], open_: list[int], at: int, mark: int) -> None:
        """One entry more, at the end.

        best:  for each step the latest first step (ms) of a row that has reached it; _NONE for none.
        open_: the same of the rows that may still go on from it. With `restart`: [step reached, its first step].
        """
        if self.restart:
            self._attempt(open_, at, mark)
            return
        bits, bars, strict = self.bits, self.bars, self.strict
        for step in range(self.count - 1, -1, -1):
            start = (at if step == 0 else open_[step - 1]) if mark & bits[step] else _NONE
            if strict or mark & bars[step]:
                open_[step] = _NONE
            open_[step] = max(open_[step], start)
            best[step] = max(best[step], start)

    def _attempt(self, attempt: list[int], at: int, mark: int) -> None:
        step = attempt[0]
        if 0 < step < self.count and mark & self.bits[step]:
            attempt[0] = step + 1
        elif mark & self.bits[0]:
            attempt[:] = [1, at]
        elif 0 < step < self.count and (self.strict or mark & self.bars[step - 1]):
            attempt[:] = [0, _NONE]

    def fresh(self) -> tuple[list[int], list[int]]:
        """Where every row begins."""
        return [_NONE] * self.count, [0, _NONE] if self.restart else [_NONE] * self.count

    def run(self, entries: Entries) -> tuple[list[int], list[int]]:
        """All entries, in order."""
        best, open_ = self.fresh()
        for at, mark in entries:
            self.advance(best, open_, at, mark)
        return best, open_


class Sequenced:
    """The furthest step reached, from 0; excluded events are no steps.

    Entries of one instant count in the order of the steps. Slot: [packed times, marks (two bytes each: which items of the
    sequence the event is), keys, best, open, latest time that was let go or -1]; `best` and `open` as in `Steps`.
    The newest MAX_ENTRIES that are relevant are kept and ordered by time: exact within them; `exact` tells where there
    were more. In order nothing is gone through: only what comes late is.
    """

    zero = 0
    numeric = False

    def __init__(self, steps: Steps, within: int = 0, *, keyed: bool = False) -> None:
        """Within: in ms, 0 for the lifetime. keyed: all steps must have the same key."""
        self.steps = steps
        self.within = within
        self.timed = within > 0
        self._keyed = keyed
        self._afresh = steps.restart and keyed  # what ends may have been the furthest
        self.grows = not (steps.restart or steps.strict or any(steps.bars))  # no event can take back what others made

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: (mark, key): which items it is, as bits; bytes, empty without `same`."""
        gone = now - self.within if self.within else _NONE
        if at <= gone:
            return slot
        mark, key = value
        if slot is None:
            slot = [b"", b"", b"", *self.steps.fresh(), _NONE]
        elif self._final(slot):
            return slot
        at = max(at, 0)
        times = slot[_TIMES]
        packed, marked = pack(at), mark.to_bytes(2, "big")
        last = (times[-6:], slot[_MARKS][-2:], slot[_KEYS][-KEY:])
        if last <= (packed, marked, key):
            slot[_TIMES] = times + packed
            slot[_MARKS] += marked
            slot[_KEYS] += key
            self._append(slot, at, mark, key)
        else:
            self._insert(slot, packed, marked, key)
        self._bound(slot, gone)
        return self._complete() if self._final(slot) else slot

    def _final(self, slot: Slot) -> bool:
        """Whether nothing can change the value any more: the last step is reached, for good."""
        return self.grows and not self.within and slot[_BEST][-1] > _NONE

    def _complete(self) -> Slot:
        return [b"", b"", b"", [0] * self.steps.count, self.steps.fresh()[1], _NONE]

    def _append(self, slot: Slot, at: int, mark: int, key: bytes) -> None:
        if self._afresh:
            self._rerun(slot, _NONE)
        elif not self._keyed:
            self.steps.advance(slot[_BEST], slot[_OPEN], at, mark)
        else:
            best, _ = self.steps.run(self._of(slot, key))
            slot[_BEST] = list(map(max, slot[_BEST], best))

    def _insert(self, slot: Slot, packed: bytes, marked: bytes, key: bytes) -> None:
        entries = [*self._entries(slot), (packed, marked, key)]
        entries.sort()
        before = slot[_BEST]
        self._fill(slot, entries)
        if self.grows:  # what was let go has counted
            slot[_BEST] = list(map(max, slot[_BEST], before))

    def _entries(self, slot: Slot) -> list[tuple[bytes, bytes, bytes]]:
        times, marks, keys = slot[_TIMES], slot[_MARKS], slot[_KEYS]
        return [
            (times[6 * n : 6 * n + 6], marks[2 * n : 2 * n + 2], keys[KEY * n : KEY * n + KEY]) for n in range(len(times) // 6)
        ]

    def _fill(self, slot: Slot, entries: list[tuple[bytes, bytes, bytes]]) -> None:
        slot[_TIMES], slot[_MARKS], slot[_KEYS] = (b"".join(part) for part in zip(*entries, strict=True))
        self._rerun(slot, _NONE)

    def _of(self, slot: Slot, key: bytes) -> Entries:
        """The entries of one key."""
        times, marks, keys = slot[_TIMES], slot[_MARKS], slot[_KEYS]
        place = keys.find(key)
        while place >= 0:
            if place % KEY == 0:
                n = place // KEY
                yield packed_at(times, n), int.from_bytes(marks[2 * n : 2 * n + 2], "big")
            place = keys.find(key, place + 1)

    def _live(self, slot: Slot, gone: int) -> Entries:
        times, marks = slot[_TIMES], slot[_MARKS]
        for n in range(packed_up_to(times, gone), len(times) // 6):
            yield packed_at(times, n), int.from_bytes(marks[2 * n : 2 * n + 2], "big")

    def _result(self, slot: Slot, gone: int) -> tuple[list[int], list[int]]:
        """`best` and `open` of the entries after `gone`; of several keys the furthest."""
        steps = self.steps
        if not self._keyed:
            return steps.run(self._live(slot, gone))
        rows: dict[bytes, list[tuple[int, int]]] = {}
        first = packed_up_to(slot[_TIMES], gone)
        for packed, marked, key in self._entries(slot)[first:]:
            rows.setdefault(key, []).append((int.from_bytes(packed, "big"), int.from_bytes(marked, "big")))
        best, open_ = steps.fresh()
        for row in rows.values():
            found, last = steps.run(row)
            best = list(map(max, best, found))
            open_ = max(open_, last) if steps.restart else open_
        return best, open_

    def _rerun(self, slot: Slot, gone: int) -> None:
        slot[_BEST], slot[_OPEN] = self._result(slot, gone)

    def _bound(self, slot: Slot, gone: int) -> None:
        """Without what has left the window, and without the oldest where there are too many."""
        left = packed_up_to(slot[_TIMES], gone)
        if left:
            self._drop(slot, left)
            if self.steps.restart:
                self._rerun(slot, gone)
        if slot[_LOST] > _NONE and slot[_LOST] <= gone:
            slot[_LOST] = _NONE
        more = len(slot[_TIMES]) // 6 - MAX_ENTRIES
        if more > 0:
            slot[_LOST] = max(slot[_LOST], packed_at(slot[_TIMES], more - 1))
            self._drop(slot, more)

    @staticmethod
    def _drop(slot: Slot, count: int) -> None:
        slot[_TIMES], slot[_MARKS] = slot[_TIMES][6 * count :], slot[_MARKS][2 * count :]
        slot[_KEYS] = slot[_KEYS][KEY * count :]

    def _state(self, slot: Slot, now: int) -> tuple[int, int]:
        """The step reached, and the first step of that row (ms)."""
        gone = now - self.within if self.within else _NONE
        if self.steps.restart:
            open_ = slot[_OPEN]
            if gone >= 0 and slot[_TIMES][:6] <= pack(gone):  # what has left may have decided what the rest is
                open_ = self._result(slot, gone)[1]
            return open_[0], open_[1]
        best = slot[_BEST]
        for step in range(len(best), 0, -1):
            if best[step - 1] > max(gone, _NONE):
                return step, best[step - 1]
        return 0, _NONE

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        return 0 if slot is None else self._state(slot, now)[0]

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the row that got furthest begins to leave. With `restart`, when any event leaves."""
        if slot is None or not self.within:
            return NEVER
        if self.steps.restart:
            place = packed_up_to(slot[_TIMES], now - self.within)
            return packed_at(slot[_TIMES], place) + self.within if place < len(slot[_TIMES]) // 6 else NEVER
        step, start = self._state(slot, now)
        return start + self.within if step else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""
        if one is None or other is None:
            return one or other
        if self._final(one) or self._final(other):
            return self._complete()
        merged: Slot = [b"", b"", b"", [], [], max(one[_LOST], other[_LOST])]
        self._fill(merged, sorted([*self._entries(one), *self._entries(other)]))
        if self.grows:
            merged[_BEST] = [max(steps) for steps in zip(merged[_BEST], one[_BEST], other[_BEST], strict=True)]
        self._bound(merged, now - self.within if self.within else _NONE)
        return self._complete() if self._final(merged) else merged

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return slot is None or slot[_LOST] == _NONE
