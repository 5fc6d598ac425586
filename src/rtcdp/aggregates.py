"""Incremental aggregates over one profile's events: pure functions on small msgpack-able slots.

Each aggregate answers the same questions. A *slot* is its state: `None` before the first event, then an int or a
list. Times are ms. `tie` is the message id: equal times are ordered by it, so that any order of the same events gives
the same slot.

    update(slot, at, tie, value, now) -> slot     one event more, that occurred at `at`
    value(slot, now)                              what rules and payloads read; None is missing
    next_change(slot, now) -> ms or NEVER         when the value next changes if nothing arrives
    merge(one, other, now) -> slot                the union of two disjoint sets of events
    exact(slot) -> bool                           whether the value is exact, or an estimate as the class says

Windows are `(now - within, now]` by the time of occurrence: an event that occurred at `t` is out at `t + within`.
Sums are exact integers, scaled by `SCALE`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any, Protocol

import msgspec
from xxhash import xxh3_64_intdigest

NEVER = 1 << 62
SCALE = 1_000_000
_WHOLE = 2.0**53  # floats from here on are whole, and times SCALE they may be too large for a float
_FLOAT_BITS = 1000  # numbers beyond are near the end of what a float can hold
MAX_ENTRIES = 256
MAX_VALUES = 256
_KEPT = MAX_VALUES + 1  # one more tells that there are more
LATEST = (1 << 44) - 1  # ms: the year 2527
ONE = 1 << 44

Slot = Any
_to_json = msgspec.json.Encoder(order="deterministic").encode
_from_json = msgspec.json.decode


class Aggregate(Protocol):
    """What every aggregate can do; see the module."""

    zero: Any
    numeric: bool
    timed: bool
    within: int

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in."""

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""

    def next_change(self, slot: Slot, now: int) -> int:
        """Return the first instant after `now` at which the value may differ, or NEVER."""

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""


def scaled(number: float) -> int:
    """A number as an exact integer of 1/SCALE, rounded half to even."""
    return int(number) * SCALE if type(number) is int or abs(number) >= _WHOLE else round(number * SCALE)


def unscaled(units: int) -> float | int:
    """Back from `scaled`: an int where it is whole."""
    whole, rest = divmod(units, SCALE)
    return whole if not rest or whole.bit_length() > _FLOAT_BITS else units / SCALE


def plain(number: float) -> float | int:
    """A number in one form, so that 2 and 2.0 are kept as the same bytes."""
    return int(number) if type(number) is float and number.is_integer() and abs(number) < 2**53 else number


def hashable(value: Any) -> str:
    """Any JSON value as text that tells types apart. Cleaned text holds no control characters, so NUL marks the rest."""
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        value = int(value)
    return "\0" + _to_json(value).decode()


def unhashable(text: str) -> Any:
    """Back from `hashable`."""
    return _from_json(text[1:]) if text[:1] == "\0" else text


class _Lifetime:
    """What holds for every aggregate over the whole life: time alone never changes it."""

    zero: Any = None
    numeric = False
    timed = False
    within = 0

    def next_change(self, slot: Slot, now: int) -> int:
        return NEVER

    def exact(self, slot: Slot) -> bool:
        return True


class Count(_Lifetime):
    """How many events. Slot: int."""

    zero = 0

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + 1

    def value(self, slot: Slot, now: int) -> Any:
        return slot or 0

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Sum(_Lifetime):
    """Sum of numbers. Slot: scaled int."""

    zero = 0
    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return (slot or 0) + scaled(value)

    def value(self, slot: Slot, now: int) -> Any:
        return unscaled(slot or 0)

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return (one or 0) + (other or 0)


class Average(_Lifetime):
    """Mean of numbers. Slot: [scaled sum, count]."""

    numeric = True

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return [slot[0] + scaled(value), slot[1] + 1] if slot else [scaled(value), 1]

    def value(self, slot: Slot, now: int) -> Any:
        return slot[0] / (slot[1] * SCALE) if slot else None

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return [one[0] + other[0], one[1] + other[1]] if one and other else one or other


class Extreme(_Lifetime):
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


class ExtremeTime(_Lifetime):
    """When it first or last occurred. Slot: ms."""

    def __init__(self, *, last: bool) -> None:
        self._pick = max if last else min

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return at if slot is None else self._pick(slot, at)

    def value(self, slot: Slot, now: int) -> Any:
        return slot

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.update(one, other, "", None, now) if other is not None else one


class Edge(_Lifetime):
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


class Unique(_Lifetime):
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


class MostFrequent(_Lifetime):
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


# Packed times: ascending, six bytes each, so that a whole window is one object, written and read as it is.


def pack(at: int) -> bytes:
    """A time (ms) as six bytes whose order is the order of the times. Before 1970 counts as 1970."""
    return at.to_bytes(6, "big") if at > 0 else b"\0\0\0\0\0\0"


def packed_up_to(times: bytes, edge: int) -> int:
    """How many packed times are at or before `edge`."""
    if edge < 0 or not times:
        return 0
    limit = edge.to_bytes(6, "big")
    if times[:6] > limit:
        return 0
    low, high = 1, len(times) // 6
    while low < high:
        middle = (low + high) // 2
        if times[middle * 6 : middle * 6 + 6] <= limit:
            low = middle + 1
        else:
            high = middle
    return low


def packed_insert(times: bytes, at: int) -> bytes:
    """One time more."""
    packed = pack(at)
    if times[-6:] <= packed:
        return times + packed
    place = packed_up_to(times, at) * 6
    return times[:place] + packed + times[place:]


def packed_at(times: bytes, place: int) -> int:
    """The time at `place`."""
    return int.from_bytes(times[place * 6 : place * 6 + 6], "big")


class WindowAtLeast:
    """How many events within the window, up to `keep`. Slot: packed times, the newest `keep`.

    Where rules only compare a count with constants up to `keep`, this is exact at any volume: the value saturates.
    """

    zero = 0
    numeric = False
    timed = True

    def __init__(self, within: int, keep: int) -> None:
        self.within = within
        self.keep = keep

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return pack(at)
        times = packed_insert(slot, at)
        expired = packed_up_to(times, gone)
        return times[max(expired * 6, len(times) - self.keep * 6) :]

    def value(self, slot: Slot, now: int) -> Any:
        return 0 if slot is None else len(slot) // 6 - packed_up_to(slot, now - self.within)

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        place = packed_up_to(slot, now - self.within)
        return packed_at(slot, place) + self.within if place < len(slot) // 6 else NEVER

    def next_below(self, slot: Slot, now: int, count: int) -> int:
        """When the value falls below `count`, which it has now: the count-th newest decides."""
        place = len(slot) // 6 - count
        return packed_at(slot, place) + self.within if place >= 0 else NEVER

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        both = sorted(whole[place : place + 6] for whole in (one, other) for place in range(0, len(whole), 6))
        return b"".join(both[-self.keep :])

    def exact(self, slot: Slot) -> bool:
        return True


class WindowCount:
    """How many events within the window. Slot: [packed times, {bucket: count}].

    The newest MAX_ENTRIES times are kept; what is older is counted in buckets of `within / MAX_ENTRIES`, which leave
    whole: the error is at most the count of one bucket.
    """

    zero = 0
    numeric = False
    timed = True

    def __init__(self, within: int) -> None:
        self.within = within
        self._bucket = max(1, within // MAX_ENTRIES)

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        if slot is None:
            return [pack(at), {}]
        times, buckets = packed_insert(slot[0], at), slot[1]
        times = times[packed_up_to(times, gone) * 6 :]
        if len(times) > MAX_ENTRIES * 6:
            name = str(packed_at(times, 0) // self._bucket)
            buckets[name] = buckets.get(name, 0) + 1
            times = times[6:]
        for name in [name for name in buckets if self._leaves(name) <= now]:
            del buckets[name]
        slot[0] = times
        return slot

    def _leaves(self, name: str) -> int:
        """When a bucket leaves: with the last instant that it covers."""
        return (int(name) + 1) * self._bucket - 1 + self.within

    def value(self, slot: Slot, now: int) -> Any:
        if slot is None:
            return 0
        times, buckets = slot
        count = len(times) // 6 - packed_up_to(times, now - self.within)
        return count + sum(n for name, n in buckets.items() if self._leaves(name) > now)

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, buckets = slot
        place = packed_up_to(times, now - self.within)
        due = packed_at(times, place) + self.within if place < len(times) // 6 else NEVER
        return min([due, *(leaves for name in buckets if (leaves := self._leaves(name)) > now)])

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if one is None or other is None:
            return one or other
        buckets = dict(one[1])
        for name, count in other[1].items():
            buckets[name] = buckets.get(name, 0) + count
        merged: Slot = [b"", buckets]
        for at in sorted(packed_at(whole[0], place) for whole in (one, other) for place in range(len(whole[0]) // 6)):
            merged = self.update(merged, at, "", None, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class _Window:
    """What holds for every window of `within` ms. Buckets cover `within / MAX_ENTRIES` each and leave whole."""

    timed = True

    def __init__(self, within: int) -> None:
        self.within = within
        self._bucket = max(1, within // MAX_ENTRIES)

    def _name(self, at: int) -> str:
        """The bucket of an instant."""
        return str(at // self._bucket)

    def _leaves(self, name: str) -> int:
        """When a bucket leaves: with the last instant that it covers."""
        return (int(name) + 1) * self._bucket - 1 + self.within

    def _drop_left(self, buckets: dict[str, Any], now: int) -> None:
        for name in [name for name in buckets if self._leaves(name) <= now]:
            del buckets[name]

    def _next_leaving(self, buckets: dict[str, Any], now: int, due: int) -> int:
        """When the next bucket leaves, if that is before `due`."""
        return min([due, *(leaves for name in buckets if (leaves := self._leaves(name)) > now)])


class WindowBuckets(_Window):
    """Sum, mean, extremes, the first value or the first time within a window.

    Slot: [[[at, tie, value], ...] ascending, {bucket: slot of `inner`}]. `inner` is the lifetime aggregate of the same
    kind. The newest MAX_ENTRIES are kept and exact; what is older is aggregated in buckets: the value may then hold
    events that occurred up to `within / MAX_ENTRIES` before the window, and `exact` says so. Only `first` needs ties.
    """

    def __init__(self, inner: Aggregate, within: int) -> None:
        super().__init__(within)
        self.inner = inner
        self.zero = inner.zero
        self.numeric = inner.numeric
        self._tied = isinstance(inner, Edge)

    def _order(self, entry: list[Any]) -> tuple[Any, ...]:
        return (entry[0], entry[2]) if self.numeric else (entry[0], entry[1])

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        entry = [at, tie if self._tied else "", plain(value) if self.numeric else value if self._tied else None]
        if slot is None:
            return [[entry], {}]
        entries, buckets = slot
        if not entries or self._order(entry) >= self._order(entries[-1]):
            entries.append(entry)
        else:
            insort(entries, entry, key=self._order)
        if entries[0][0] <= gone:
            del entries[: self._first(entries, now)]
        if len(entries) > MAX_ENTRIES:
            oldest = entries.pop(0)
            name = self._name(oldest[0])
            buckets[name] = self.inner.update(buckets.get(name), oldest[0], oldest[1], oldest[2], now)
        if buckets:
            self._drop_left(buckets, now)
        return slot

    def _first(self, entries: list[list[Any]], now: int) -> int:
        return bisect_right(entries, now - self.within, key=_instant)

    def value(self, slot: Slot, now: int) -> Any:
        if not slot:
            return self.zero
        entries, buckets = slot
        inner, held = self.inner, None
        for name, part in buckets.items():
            if self._leaves(name) > now:
                held = inner.merge(held, part, now)
        for at, tie, value in entries[self._first(entries, now) :]:
            held = inner.update(held, at, tie, value, now)
        return inner.value(held, now)

    def next_change(self, slot: Slot, now: int) -> int:
        if not slot:
            return NEVER
        entries, buckets = slot
        place = self._first(entries, now)
        due = entries[place][0] + self.within if place < len(entries) else NEVER
        return self._next_leaving(buckets, now, due) if buckets else due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        if not one or not other:
            return one or other
        buckets = dict(one[1])
        for name, part in other[1].items():
            buckets[name] = self.inner.merge(buckets.get(name), part, now)
        merged: Slot = [[], buckets]
        for at, tie, value in sorted(one[0] + other[0], key=self._order):
            merged = self.update(merged, at, tie, value, now)
        return merged

    def exact(self, slot: Slot) -> bool:
        return slot is None or not slot[1]


class WindowNewest(_Window):
    """The last value or the last time within a window. Slot: that of `inner`: once the newest is out, so is the rest."""

    numeric = False
    zero: Any = None

    def __init__(self, inner: Edge | ExtremeTime, within: int) -> None:
        super().__init__(within)
        self.inner = inner

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        return slot if at <= now - self.within else self.inner.update(slot, at, tie, value, now)

    def _leaves_at(self, slot: Slot) -> int:
        return int(slot if type(slot) is int else slot[0]) + self.within

    def value(self, slot: Slot, now: int) -> Any:
        return None if slot is None or self._leaves_at(slot) <= now else self.inner.value(slot, now)

    def next_change(self, slot: Slot, now: int) -> int:
        return NEVER if slot is None or (leaves := self._leaves_at(slot)) <= now else leaves

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        return self.inner.merge(one, other, now)

    def exact(self, slot: Slot) -> bool:
        return True


class WindowUnique(_Window):
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
        gone = now - self.within
        kept = sum(1 for at in times.values() if at > gone)
        return round(kept * 2.0**64 / (int(limit, 16) + 1)) if limit and latest > gone else kept

    def next_change(self, slot: Slot, now: int) -> int:
        if slot is None:
            return NEVER
        times, limit, latest = slot
        gone = now - self.within
        oldest = min((at for at in times.values() if at > gone), default=NEVER)
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


class WindowMostFrequent(_Window):
    """The value that occurs most often within a window.

    Slot: {text of the value: its packed times}. The newest MAX_ENTRIES are kept, and one more that tells that there
    were more: then the value is that of these, and `exact` says so. Among equals the one whose latest event is oldest.
    """

    numeric = False
    zero: Any = None

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        gone = now - self.within
        if at <= gone:
            return slot
        text = hashable(value)
        slot = {} if slot is None else slot
        slot[text] = packed_insert(slot.get(text, b""), at)
        return self._bounded(slot, gone)

    @staticmethod
    def _bounded(slot: dict[str, bytes], gone: int) -> dict[str, bytes]:
        """Without what has left, and without the oldest where there are too many."""
        edge = pack(gone)
        for text in [text for text, times in slot.items() if times[:6] <= edge]:
            slot[text] = slot[text][packed_up_to(slot[text], gone) * 6 :]
            if not slot[text]:
                del slot[text]
        if sum(map(len, slot.values())) > (MAX_ENTRIES + 1) * 6:
            text = min(slot, key=lambda text: (slot[text][:6], text))
            slot[text] = slot[text][6:]
            if not slot[text]:
                del slot[text]
        return slot

    def value(self, slot: Slot, now: int) -> Any:
        gone = now - self.within
        best: tuple[int, bytes, str] | None = None
        for text, times in (slot or {}).items():
            left = packed_up_to(times, gone) - len(times) // 6
            if left and (best is None or (left, times[-6:], text) < best):
                best = left, times[-6:], text
        return None if best is None else unhashable(best[2])

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the next value leaves; the most frequent one may stay the same."""
        due = NEVER
        for times in (slot or {}).values():
            place = packed_up_to(times, now - self.within)
            if place < len(times) // 6:
                due = min(due, packed_at(times, place) + self.within)
        return due

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        merged: dict[str, bytes] = {}
        newest = sorted(
            (times[place : place + 6], text)
            for slot in (one, other)
            for text, times in (slot or {}).items()
            for place in range(0, len(times), 6)
        )
        for time, text in newest[-MAX_ENTRIES - 1 :]:
            merged[text] = merged.get(text, b"") + time
        return self._bounded(merged, now - self.within) or None

    def exact(self, slot: Slot) -> bool:
        return sum(map(len, (slot or {}).values())) <= MAX_ENTRIES * 6


def _instant(entry: list[Any]) -> int:
    return int(entry[0])


_LIFETIME: dict[str, Any] = {
    "count": Count,
    "sum": Sum,
    "avg": Average,
    "min": lambda: Extreme(largest=False),
    "max": lambda: Extreme(largest=True),
    "first": lambda: Edge(last=False),
    "last": lambda: Edge(last=True),
    "first_time": lambda: ExtremeTime(last=False),
    "last_time": lambda: ExtremeTime(last=True),
    "unique": Unique,
    "most_frequent": MostFrequent,
}


def make(kind: str, within: int | None, keep: int | None = None) -> Aggregate:
    """Make an aggregate.

    kind:   its name in the language.
    within: window in ms; None for the lifetime.
    keep:   for a counted window: the largest constant that rules compare it with, where they do nothing else.
    """
    if within is None:
        aggregate: Aggregate = _LIFETIME[kind]()
    elif kind == "count" and keep and keep <= MAX_ENTRIES:
        aggregate = WindowAtLeast(within, keep)
    elif kind == "count":
        aggregate = WindowCount(within)
    else:
        aggregate = _window(kind, within)
    return aggregate


def _window(kind: str, within: int) -> Aggregate:
    if kind == "unique":
        return WindowUnique(within)
    if kind == "most_frequent":
        return WindowMostFrequent(within)
    return (WindowNewest if kind in ("last", "last_time") else WindowBuckets)(_LIFETIME[kind](), within)
