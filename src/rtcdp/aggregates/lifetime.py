"""Aggregates over the whole life of a profile: time alone never changes them."""

from __future__ import annotations

from typing import Any

from xxhash import xxh3_64_intdigest

from rtcdp.aggregates.base import MAX_VALUES, NEVER, SCALE, Slot, hashable, plain, scaled, unhashable, unscaled

_KEPT = MAX_VALUES + 1  # one more tells that there are more
LATEST = (1 << 44) - 1  # ms: the year 2527
ONE = 1 << 44


class Lifetime:
    """What holds for every aggregate over the whole life: time alone never changes it."""

    zero: Any = None
    numeric = False
    timed = False
    within = 0

    def next_change(self, slot: Slot, now: int) -> int:
        return NEVER

    def exact(self, slot: Slot) -> bool:
        return True


class Count(Lifetime):
    """How many events. Slot: int."""

    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + 1

    def value(self, slot: Slot, now: int) -> Any:
        return slot or 0

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Sum(Lifetime):
    """Sum of numbers. Slot: scaled int."""

    zero = 0
    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + scaled(value)

    def value(self, slot: Slot, now: int) -> Any:
        return unscaled(slot or 0)

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Average(Lifetime):
    """Mean of numbers. Slot: [scaled sum, count]."""

    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return [slot[0] + scaled(value), slot[1] + 1] if slot else [scaled(value), 1]

    def value(self, slot: Slot, now: int) -> Any:
        return slot[0] / (slot[1] * SCALE) if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return [one[0] + other[0], one[1] + other[1]] if one and other else one or other


class Extreme(Lifetime):
    """Smallest or largest number. Slot: the number."""

    numeric = True

    def __init__(self, *, largest: bool) -> None:
        self._pick = max if largest else min

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        number = plain(value)
        return number if slot is None else self._pick(slot, number)

    def value(self, slot: Slot, now: int) -> Any:
        return slot

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, 0, "", other, now) if other is not None else one


class ExtremeTime(Lifetime):
    """When it first or last occurred. Slot: ms."""

    def __init__(self, *, last: bool) -> None:
        self._pick = max if last else min

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return at if slot is None else self._pick(slot, at)

    def value(self, slot: Slot, now: int) -> Any:
        return slot

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, other, "", None, now) if other is not None else one


class Edge(Lifetime):
    """The first or last value, by time of occurrence, then message id, then place in an array. Slot: [at, tie, value]."""

    def __init__(self, *, last: bool) -> None:
        self._last = last

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        if slot is None or (((at, tie) >= (slot[0], slot[1])) if self._last else ((at, tie) < (slot[0], slot[1]))):
            return [at, tie, value]
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        return slot[2] if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, other[0], other[1], other[2], now) if other else one


class Unique(Lifetime):
    """How many different values. Slot: sorted 8-byte hashes, concatenated.

    Exact up to MAX_VALUES. Beyond, the k = MAX_VALUES + 1 smallest hashes are kept and the count is estimated as
    `(k - 1) / kth smallest` (Bar-Yossef et al. 2002, k minimum values), standard error `1 / sqrt(k - 2)`: 6 %.
    """

    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        digest = xxh3_64_intdigest(hashable(value).encode()).to_bytes(8, "big")
        return self._with(slot or b"", digest)

    def _with(self, slot: bytes, digest: bytes) -> bytes:
        low, high = 0, len(slot) // 8
        while low < high:
            middle = (low + high) // 2
            if slot[middle * 8 : middle * 8 + 8] < digest:
                low = middle + 1
            else:
                high = middle
        place = low * 8
        if slot[place : place + 8] == digest:
            return slot
        return (slot[:place] + digest + slot[place:])[: _KEPT * 8]

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return 0
        kept: int = len(slot) // 8
        if kept < _KEPT:
            return kept
        return max(_KEPT, round((kept - 1) * 2.0**64 / (int.from_bytes(slot[-8:], "big") + 1)))

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        merged = one or b""
        for place in range(0, len(other or b""), 8):
            merged = self._with(merged, other[place : place + 8])
        return merged or None

    def exact(self, slot: Slot) -> bool:
        return len(slot or b"") < _KEPT * 8


class MostFrequent(Lifetime):
    """The value that occurs most often. Slot: [its text, {text: rank}].

    Among equals the one that reached the count first, that is whose latest event is oldest; then by text. So the rank
    is one integer: the count above, and below it how far the latest event lies before `LATEST`. Bounded to
    MAX_VALUES by Space-Saving (Metwally et al. 2005): a new value takes the place of the rarest and its count.
    """

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        text = value if type(value) is str else hashable(value)
        age = LATEST - at if at > 0 else LATEST
        if slot is None:
            return [text, {text: ONE + age}]
        top, ranks = slot
        rank = ranks.get(text)
        if rank is not None:
            before = rank & LATEST
            rank += ONE + (age if age < before else before) - before
        elif len(ranks) < MAX_VALUES:
            rank = ONE + age
        else:
            rarest = min(ranks, key=lambda name: (ranks[name], name))
            rank = (ranks.pop(rarest) & ~LATEST) + ONE + age
            if rarest == top:
                top = slot[0] = text
        ranks[text] = rank
        if text != top:
            leader = ranks[top]
            if rank > leader or (rank == leader and text < top):
                slot[0] = text
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        return unhashable(slot[0]) if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        merged = dict(one[1])
        for text, rank in other[1].items():
            mine = merged.get(text, LATEST)
            merged[text] = (mine & ~LATEST) + (rank & ~LATEST) + min(mine & LATEST, rank & LATEST)
        order = sorted(merged, key=lambda name: (-merged[name], name))
        return [order[0], {text: merged[text] for text in order[:MAX_VALUES]}]

    def exact(self, slot: Slot) -> bool:
        return slot is None or len(slot[1]) < MAX_VALUES
