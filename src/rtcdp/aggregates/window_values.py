"""Different values and the most frequent one within a sliding window, in bounded memory with a stated error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xxhash import xxh3_64_intdigest

from rtcdp.aggregates.base import MAX_VALUES, NEVER, Slot, hashable, unhashable
from rtcdp.aggregates.times import pack, packed_at, packed_insert, packed_up_to
from rtcdp.aggregates.windows import Window


class WindowUnique(Window):
    """How many different values within a window. Slot: [{hash: latest at}, limit, latest].

    Exact up to MAX_VALUES different values, at any number of events. Beyond, the MAX_VALUES smallest hashes are kept;
    `limit` is the smallest that was not, `latest` the last time that one from `limit` on occurred. The count is
    estimated as kept / (limit / 2**64) (Bar-Yossef et al. 2002), standard error 1 / sqrt(kept), until that time has
    left the window: then it is exact again.
    """

    numeric = False
    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        digest = f"{xxh3_64_intdigest(hashable(value).encode()):016x}"
        return self._with([{}, "", 0] if slot is None else slot, digest, at, gone)

    def _with(self, slot: Slot, digest: str, at: int, gone: int) -> Slot:
        times = slot[0]
        if slot[1] and slot[2] <= gone:
            slot[1:] = ["", 0]
        if slot[1] and digest >= slot[1]:
            slot[2] = max(slot[2], at)
        elif digest in times:
            times[digest] = max(times[digest], at)
        else:
            for left in [name for name, then in times.items() if then <= gone]:
                del times[left]
            times[digest] = at
            if len(times) > MAX_VALUES:
                slot[1] = max(times)
                slot[2] = max(slot[2], times.pop(slot[1]))
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return 0
        times, limit, latest = slot
        gone, kept = now - self.within, len(times)
        if kept and min(times.values()) <= gone:
            kept = sum([at > gone for at in times.values()])
        return round(kept * 2.0**64 / (int(limit, 16) + 1)) if limit and latest > gone else kept

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, limit, latest = slot
        gone = now - self.within
        oldest = min(times.values(), default=NEVER)
        if oldest <= gone:
            oldest = min([at for at in times.values() if at > gone], default=NEVER)
        if limit and gone < latest < oldest:
            oldest = latest
        return oldest + self.within if oldest < NEVER else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        gone = now - self.within
        live = [slot for slot in (one, other) if slot[1] and slot[2] > gone]
        merged: Slot = [{}, min((slot[1] for slot in live), default=""), max((slot[2] for slot in live), default=0)]
        for digest, at in (*one[0].items(), *other[0].items()):
            if at > gone:
                self._with(merged, digest, at, gone)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class WindowMostFrequent(Window):
    """The value that occurs most often within a window, which may end `offset` ms before now.

    Slot: {text of the value: its packed times}. The newest `entries` are kept, and one more that tells that there
    were more: then the value is that of these, and `exact` says so. Among equals the one whose latest event is oldest.
    """

    numeric = False
    zero: Any = None

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        return slot if at <= gone else self._bounded(self._with({} if slot is None else slot, at, hashable(value)), gone)

    def add(self, slot: Slot, at: int, text: str, now: int) -> tuple[Slot, str | None, int, int]:
        """As `update` of a value by its text that lies in the window, with `standing` after it."""
        slot = self._bounded(self._with({} if slot is None else slot, at, text), now - self.within)
        return slot, *self._standing(slot.items(), now)

    @staticmethod
    def _with(slot: dict[str, bytes], at: int, text: str) -> dict[str, bytes]:
        times, packed = slot.get(text, b""), pack(at)
        slot[text] = times + packed if times[-6:] <= packed else packed_insert(times, at)
        return slot

    def _bounded(self, slot: dict[str, bytes], gone: int) -> dict[str, bytes]:
        """Without what has left, and without the oldest where there are too many."""
        edge = pack(gone)
        if min(slot.values())[:6] <= edge:
            for text in [text for text, times in slot.items() if times[:6] <= edge]:
                self._drop(slot, text, packed_up_to(slot[text], gone))
        if sum(map(len, slot.values())) > (self._most + 1) * 6:
            self._drop(slot, min(slot, key=lambda text: (slot[text][:6], text)), 1)
        return slot

    @staticmethod
    def _drop(slot: dict[str, bytes], text: str, count: int) -> None:
        slot[text] = slot[text][count * 6 :]
        if not slot[text]:
            del slot[text]

    def _inside(self, times: bytes, now: int) -> bytes:
        """The times that lie in the window."""
        end = packed_up_to(times, now - self.offset) * 6 if self.offset else len(times)
        return times[packed_up_to(times, now - self.within) * 6 : end]

    def standing(self, slot: Slot, now: int) -> tuple[str | None, int, int]:
        """The text of the value, when that may first be another by time alone (ms), and its lead in events.

        Of a window that ends now. What is in front has to lose its lead before, one event after the other.
        """
        if not slot:
            return None, NEVER, 0
        if min(slot.values())[:6] > pack(now - self.within):
            return self._standing(slot.items(), now)
        return self._standing([(text, self._inside(times, now)) for text, times in slot.items()], now)

    def _standing(self, inside: Iterable[tuple[str, bytes]], now: int) -> tuple[str | None, int, int]:
        """The same of texts and their times, which all lie in the window."""
        top, best, most, second = "", b"", 0, 0
        for text, times in inside:
            size = len(times)
            if size > most or (size and size == most and (times[-6:], text) < (best[-6:], top)):
                top, best, most, second = text, times, size, most
            elif size > second:
                second = size
        if not most:
            return None, NEVER, 0
        lead = (most - second) // 6
        return top, packed_at(best, max(lead, 1) - 1) + self.within, lead

    def full(self, slot: dict[str, bytes]) -> bool:
        """Whether each event more takes the place of the oldest."""
        return sum(map(len, slot.values())) > self._most * 6

    def value(self, slot: Slot, now: int) -> Any:
        if not self.offset:
            text = self.standing(slot, now)[0]
            return None if text is None else unhashable(text)
        top, most = "", b""
        for text, times in (slot or {}).items():
            inside = self._inside(times, now)
            size = len(inside)
            if size > len(most) or (size and size == len(most) and (inside[-6:], text) < (most[-6:], top)):
                top, most = text, inside
        return unhashable(top) if most else None

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the value may next differ: where the window ends before now, when any enters or leaves."""
        if not self.offset:
            return self.standing(slot, now)[1]
        due = NEVER
        for times in (slot or {}).values():
            for delay in (self.within, self.offset) if self.offset else (self.within,):
                place = packed_up_to(times, now - delay)
                if place < len(times) // 6:
                    due = min(due, packed_at(times, place) + delay)
        return due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        merged: dict[str, bytes] = {}
        newest = sorted(
            (times[place : place + 6], text)
            for slot in (one, other)
            for text, times in (slot or {}).items()
            for place in range(0, len(times), 6)
        )
        for time, text in newest[-self._most - 1 :]:
            merged[text] = merged.get(text, b"") + time
        return self._bounded(merged, now - self.within) or None if merged else None

    def exact(self, slot: Slot) -> bool:
        return sum(map(len, (slot or {}).values())) <= self._most * 6


class OffsetUnique(WindowMostFrequent):
    """How many different values within a window that ends `offset` ms before now, of its newest `entries`.

    A value may be in, out and in again, so its times are kept, not the latest alone.
    """

    zero = 0

    def value(self, slot: Slot, now: int) -> Any:
        return sum(1 for times in (slot or {}).values() if self._inside(times, now))
