"""One aggregate for each value of a key: views by category, spend by shop; bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rtcdp.aggregates.base import NEVER, Aggregate, Slot, unhashable
from rtcdp.aggregates.lifetime import LATEST, ONE

_PARTS, _LOST = 0, 1


class Keyed:
    """`inner` for each key. Slot: [{key: [rank, slot of `inner`]}, whether any key was let go].

    At most `top` keys are kept. Where one more comes, the one seen least often goes (of equals the one seen longest ago,
    then by text), and the new one takes over how often it was seen but not its value (Space-Saving, Metwally et al.
    2005: what is frequent stays). So a value is exact from when its key came to stay; `exact` tells whether any went.
    A rank is how often a key was seen and below it how far its latest event lies before LATEST, as in `MostFrequent`.
    """

    numeric = False

    def __init__(self, inner: Aggregate, top: int) -> None:
        """Inner: over the lifetime or a window. top: how many keys are kept."""
        self.inner = inner
        self.top = top
        self._fold = inner.update
        self.zero: Any = {}
        self.timed = inner.timed
        self.within = inner.within

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: (text of the key, what is aggregated)."""
        if self.within and at <= now - self.within:
            return slot  # it counts for no rank either, whether the key is known or not
        key, item = value
        if slot is None:
            slot = [{}, False]
        parts = slot[_PARTS]
        part = parts.get(key)
        age = LATEST - at if at > 0 else LATEST
        if part is None:
            held = self._fold(None, at, tie, item, now)
            if held is None:
                return slot
            parts[key] = [ONE + age, held]
            if len(parts) > self.top:
                self._make_room(slot, key)
            return slot
        rank, held = part
        before = rank & LATEST
        part[0] = rank + ONE + (age - before if age < before else 0)
        part[1] = self._fold(held, at, tie, item, now)
        return slot

    def _make_room(self, slot: Slot, new: str) -> None:
        parts = slot[_PARTS]
        rarest = min((key for key in parts if key != new), key=lambda key: (parts[key][0], key))
        parts[new][0] += parts.pop(rarest)[0] & ~LATEST
        slot[_LOST] = True

    def full(self, slot: Slot, key: str) -> bool:
        """Whether another key has to go where this one comes."""
        return slot is not None and len(slot[_PARTS]) >= self.top and key not in slot[_PARTS]

    def part(self, slot: Slot, now: int, key: str) -> Any:
        """Read one key; what was never seen has the value of nothing."""
        part = None if slot is None else slot[_PARTS].get(key)
        return self.inner.value(None if part is None else part[1], now)

    def value(self, slot: Slot, now: int) -> Any:
        """Read: values by key, without those that hold nothing."""
        if slot is None:
            return {}
        zero, value = self.inner.zero, self.inner.value
        found = {key: value(part[1], now) for key, part in slot[_PARTS].items()}
        return {key: it for key, it in found.items() if it != zero or type(it) is not type(zero)}

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the value of some key next changes."""
        if slot is None or not self.timed:
            return NEVER
        return min((self.inner.next_change(part[1], now) for part in slot[_PARTS].values()), default=NEVER)

    def next_of(self, slot: Slot, now: int, keys: Iterable[str]) -> int:
        """Return when the value of one of these keys next changes."""
        parts = {} if slot is None or not self.timed else slot[_PARTS]
        return min((self.inner.next_change(parts[key][1], now) for key in keys if key in parts), default=NEVER)

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union; beyond `top` keys the most often seen are kept."""
        if one is None or other is None:
            return one or other
        parts = {key: [*part] for key, part in one[_PARTS].items()}
        for key, (rank, held) in other[_PARTS].items():
            mine = parts.get(key)
            if mine is None:
                parts[key] = [rank, held]
            else:
                latest = min(mine[0] & LATEST, rank & LATEST)
                parts[key] = [(mine[0] & ~LATEST) + (rank & ~LATEST) + latest, self.inner.merge(mine[1], held, now)]
        order = sorted(parts, key=lambda key: (-parts[key][0], key))
        kept = {key: parts[key] for key in order[: self.top]}
        return [kept, one[_LOST] or other[_LOST] or len(order) > self.top]

    def exact(self, slot: Slot) -> bool:
        """Whether every value is exact."""
        return slot is None or (not slot[_LOST] and all(self.inner.exact(part[1]) for part in slot[_PARTS].values()))


def top(values: Any) -> Any:
    """The key with the largest value, of equals the first by text; None where there is none."""
    if type(values) is not dict or not values:
        return None
    if any(type(it) not in (int, float) for it in values.values()):
        return None
    return unhashable(min(values, key=lambda key: (-values[key], key)))
