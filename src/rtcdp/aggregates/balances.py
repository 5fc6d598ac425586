"""Balances whose parts expire one by one: loyalty points, vouchers, credits."""

from __future__ import annotations

from typing import Any

from rtcdp.aggregates.base import MAX_ENTRIES, NEVER, Slot, unscaled
from rtcdp.aggregates.times import pack, packed, packed_at

_TIMES, _AMOUNTS, _LOTS, _BASE, _DOUBT = range(5)

Lots = list[list[int]]


class Balance:
    """What was earned, less what was spent, less what has expired. Scaled integers, positive or negative.

    What is spent is taken from what expires first; spending more than there is leaves nothing. Each amount earned is
    gone `expire` after it occurred. At one instant what is earned comes before what is spent.
    Slot: [packed times of the newest MAX_ENTRIES amounts, the amounts, what is left of each that was earned as [time,
    amount], the same before the kept ones, 0, 1 where amounts were let go, 2 where that may
    show]. In order only what is left is looked at; what comes late is folded in
    by going through the kept amounts: exact within them, flagged where it came before. What is left of older ones is kept
    to `expire / MAX_ENTRIES`, where there are more than MAX_ENTRIES parts of it.
    """

    zero = 0
    numeric = False
    within = 0

    def __init__(self, expire: int = 0) -> None:
        """Expire: in ms; 0 for never."""
        self.expire = expire
        self.timed = expire > 0
        self._bucket = max(1, expire // MAX_ENTRIES)

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in. value: a scaled amount, negative where it is spent."""
        slot = [b"", [], [], [], 0] if slot is None else slot
        times, amounts = slot[_TIMES], slot[_AMOUNTS]
        packed, place = pack(at), len(slot[_AMOUNTS])
        while place and (times[place * 6 - 6 : place * 6], -amounts[place - 1]) > (packed, -value):
            place -= 1
        in_order = place == len(amounts)
        slot[_TIMES] = times[: place * 6] + packed + times[place * 6 :]
        amounts.insert(place, value)
        if in_order:
            self._apply(slot[_LOTS], max(at, 0), value)
        elif place == 0 and slot[_DOUBT]:
            slot[_DOUBT] = 2
        if len(amounts) > MAX_ENTRIES:
            self._settle(slot)
        if not in_order:
            slot[_LOTS] = self._replay(slot)
        self._bound(slot, slot[_LOTS])
        return slot

    def _settle(self, slot: Slot) -> None:
        """Let go of the oldest amount: what it left is all that is kept."""
        self._apply(slot[_BASE], packed_at(slot[_TIMES], 0), slot[_AMOUNTS].pop(0))
        slot[_TIMES] = slot[_TIMES][6:]
        slot[_DOUBT] = slot[_DOUBT] or 1
        self._bound(slot, slot[_BASE])

    def _replay(self, slot: Slot) -> Lots:
        lots = [[*lot] for lot in slot[_BASE]]
        for place, amount in enumerate(slot[_AMOUNTS]):
            self._apply(lots, packed_at(slot[_TIMES], place), amount)
        return lots

    def _apply(self, lots: Lots, at: int, amount: int) -> None:
        """One amount, in order."""
        if self.expire:
            while lots and lots[0][0] + self.expire <= at:
                del lots[0]
        if amount > 0:
            at = at if self.expire else 0
            place = len(lots)
            while place and lots[place - 1][0] > at:  # nearly always none
                place -= 1
            if place and lots[place - 1][0] == at:
                lots[place - 1][1] += amount
            else:
                lots.insert(place, [at, amount])
            return
        while amount and lots:
            taken = min(-amount, lots[0][1])
            amount += taken
            lots[0][1] -= taken
            if not lots[0][1]:
                del lots[0]

    def _bound(self, slot: Slot, lots: Lots) -> None:
        """Where there are too many parts, those of one bucket expire with the last of them."""
        if len(lots) <= MAX_ENTRIES:
            return
        slot[_DOUBT] = 2
        kept: Lots = []
        for at, amount in lots:
            if kept and kept[-1][0] // self._bucket == at // self._bucket:
                kept[-1] = [at, kept[-1][1] + amount]
            else:
                kept.append([at, amount])
        lots[:] = kept

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""
        if slot is None:
            return 0
        gone, lots = now - self.expire if self.expire else -1, slot[_LOTS]
        if lots and lots[0][0] <= gone:
            lots = [lot for lot in lots if lot[0] > gone]
        return unscaled(sum([amount for _, amount in lots]))

    def next_change(self, slot: Slot, now: int) -> int:
        """Return when the next part expires."""
        if slot is None or not self.expire:
            return NEVER
        return next((at + self.expire for at, _ in slot[_LOTS] if at + self.expire > now), NEVER)

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union: all amounts of both, in order."""
        if one is None or other is None:
            return one or other
        doubt = max(one[_DOUBT], other[_DOUBT])  # what was spent before may have been of the other
        merged: Slot = [b"", [], [], sorted([*one[_BASE], *other[_BASE]]), 2 if doubt else 0]
        entries = [
            (at, -amount) for slot in (one, other) for at, amount in zip(packed(slot[_TIMES]), slot[_AMOUNTS], strict=True)
        ]
        entries.sort()
        settled = max(0, len(entries) - MAX_ENTRIES)
        for at, negative in entries[:settled]:
            self._apply(merged[_BASE], packed_at(at, 0), -negative)
            if len(merged[_BASE]) > MAX_ENTRIES:
                self._bound(merged, merged[_BASE])
            merged[_DOUBT] = merged[_DOUBT] or 1
        merged[_TIMES] = b"".join([at for at, _ in entries[settled:]])
        merged[_AMOUNTS] = [-negative for _, negative in entries[settled:]]
        merged[_LOTS] = self._replay(merged)
        self._bound(merged, merged[_LOTS])
        return merged

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""
        return slot is None or slot[_DOUBT] != 2
