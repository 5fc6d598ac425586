"""Time spent: from each of some events to the next event of the session."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rtcdp.aggregates.base import NEVER, Slot
from rtcdp.aggregates.times import pack, packed_at

KEPT = 32
"""Events that are kept for what comes late between them."""
NO_PAGE = "\0"
"""What stands for an event that is none of those whose time is asked for."""
_TIMES, _NAMES, _TOTALS, _LOST, _DOUBT = range(5)


class Dwell:
    """How long each of these events lasted (ms): until the next event, if that comes within the gap.

    Of events of one instant the last by name lasts. Slot: [packed times of the newest KEPT events, their names, {name:
    ms}, whether any was let go, whether something came later than the kept ones]. Names are empty where nothing is told
    apart. At most `top` names are kept: a new one takes the place of the one that lasted least, and its time (Space-Saving,
    Metwally et al. 2005: too long by no more than that). Exact for what comes as late as the kept events reach.
    """

    zero: Any = 0
    numeric = False
    timed = False
    within = 0

    def __init__(self, gap: int, top: int = 0) -> None:
        """Gap: in ms. top: how many names are kept; 0 where nothing is told apart."""
        self._gap = gap
        self._top = top
        if top:
            self.zero = {}

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: its name, or NO_PAGE."""
        slot = [b"", [], {}, False, False] if slot is None else slot
        times, names = slot[_TIMES], slot[_NAMES]
        packed = pack(at)
        place = len(names)
        while place and (times[place * 6 - 6 : place * 6], names[place - 1]) > (packed, value):
            place -= 1
        if slot[_LOST] and place == 0:
            slot[_DOUBT] = True
        if 0 < place < len(names):
            self._add(slot, names[place - 1], packed_at(times, place) - packed_at(times, place - 1), -1)
        slot[_TIMES] = times = times[: place * 6] + packed + times[place * 6 :]
        names.insert(place, value)
        if place:
            self._add(slot, names[place - 1], packed_at(times, place) - packed_at(times, place - 1), 1)
        if place + 1 < len(names):
            self._add(slot, value, packed_at(times, place + 1) - packed_at(times, place), 1)
        if len(names) > KEPT:
            slot[_TIMES] = times[6:]
            del names[0]
            slot[_LOST] = True
        return slot

    def _add(self, slot: Slot, name: str, lasted: int, sign: int) -> None:
        totals = slot[_TOTALS]
        if name == NO_PAGE or lasted >= self._gap or not lasted or (sign < 0 and name not in totals):
            return
        if name not in totals and len(totals) >= max(self._top, 1):
            least = min(totals, key=lambda other: (totals[other], other))
            totals[name] = totals.pop(least)
            slot[_DOUBT] = True
        totals[name] = totals.get(name, 0) + sign * lasted
        if totals[name] <= 0:
            del totals[name]

    def value(self, slot: Slot, now: int) -> Any:
        """Read: ms, or ms by name."""
        totals = {} if slot is None else slot[_TOTALS]
        return dict(totals) if self._top else totals.get("", 0)

    def part(self, slot: Slot, now: int, key: str) -> Any:
        """Read one name."""
        return 0 if slot is None else slot[_TOTALS].get(key, 0)

    def lasted(self, slot: Slot) -> list[tuple[int, str, int]]:
        """The kept events that lasted: when each occurred, its name, how long (ms)."""
        pairs = pairwise(self._entries(slot))
        found = [(at, name, after - at) for (at, name), (after, _) in pairs if name != NO_PAGE]
        return [entry for entry in found if 0 < entry[2] < self._gap]

    def next_change(self, slot: Slot, now: int) -> int:
        """Time alone changes nothing."""
        return NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union: events of one come between those of the other."""
        if one is None or other is None:
            return one or other
        merged: Slot = [b"", [], {}, one[_LOST] or other[_LOST], one[_DOUBT] or other[_DOUBT]]
        for slot in (one, other):
            for name, lasted in self._settled(slot).items():
                merged[_TOTALS][name] = merged[_TOTALS].get(name, 0) + lasted
        kept = sorted(merged[_TOTALS], key=lambda name: (-merged[_TOTALS][name], name))[: max(self._top, 1)]
        merged[_DOUBT] = merged[_DOUBT] or len(kept) < len(merged[_TOTALS])
        merged[_TOTALS] = {name: merged[_TOTALS][name] for name in kept}
        lost = merged[_LOST]
        merged[_LOST] = False
        for at, name in sorted(entry for slot in (one, other) for entry in self._entries(slot)):
            merged = self.update(merged, at, "", name, now)
        merged[_LOST] = merged[_LOST] or lost
        return merged

    @staticmethod
    def _entries(slot: Slot) -> list[tuple[int, str]]:
        return [(packed_at(slot[_TIMES], place), name) for place, name in enumerate(slot[_NAMES])]

    def _settled(self, slot: Slot) -> dict[str, int]:
        """The totals without what the kept events lasted."""
        totals = dict(slot[_TOTALS])
        for (at, name), (after, _) in pairwise(self._entries(slot)):
            if name != NO_PAGE and after - at < self._gap:
                totals[name] = totals.get(name, 0) - (after - at)
        return {name: lasted for name, lasted in totals.items() if lasted}

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return slot is None or not slot[_DOUBT]
