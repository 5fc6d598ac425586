"""Compiled features: one `Leaf` per different aggregate, shared by every rule that reads it.

A leaf's `update(profile, event)` folds one event into the profile and returns the rules that may have changed: none
unless a value crosses a constant it is compared with, or some rule reads it whole. Time works the same way: `next`
says when time alone may change something, `woken` what it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rtcdp.aggregates import (
    SCALE,
    Aggregate,
    Count,
    ExtremeTime,
    Keyed,
    WindowAtLeast,
    WindowCount,
    WindowMostFrequent,
    build,
    scaled,
)
from rtcdp.profile import Profile, slot_key
from rtcdp.rules.compiling.gates import NOTHING, Gates, Rules, points
from rtcdp.rules.compiling.interpreter import Closure
from rtcdp.rules.compiling.purposes import CompiledPurpose
from rtcdp.rules.compiling.roles import recipe
from rtcdp.rules.compiling.updates import update_of
from rtcdp.rules.compiling.waking import next_of
from rtcdp.rules.definitions import Feature


@dataclass(frozen=True)
class Readers:
    """Who reads a feature, as numbers of rules.

    whole:        any change of the value may matter.
    gated, since: the value, or since() of it, is compared with constants: (operator, constant, rule).
    named:        asked is only whether it is that text: (text, rule).
    keyed:        only that key of a keyed feature is read: (key, rule).
    """

    whole: Rules = ()
    gated: Sequence[tuple[str, float, int]] = ()
    since: Sequence[tuple[str, float, int]] = ()
    named: Sequence[tuple[str, int]] = ()
    keyed: Sequence[tuple[str, int]] = ()


class Leaf:
    """One aggregate of one set of definitions.

    key:     name of its slot.
    readers: rules for which any change of the value matters.
    gates:   rules that compare the value with constants; integer points (scaled for sums).
    since:   rules that compare `since()` of it with constants; points in ms.
    named:   text -> rules that only ask whether the value is that text.
    keyed:   key -> rules that only read that key of a keyed feature.
    attribute: of the projected event, where the value is no more than that.
    purpose: only what consent to it covers counts; None: all does.
    unfit:   told of each value that should be a number and is none.
    update, next, woken: see the module.
    """

    __slots__ = (
        "aggregate",
        "attribute",
        "events",
        "gates",
        "key",
        "keyed",
        "named",
        "next",
        "purpose",
        "readers",
        "since",
        "sums",
        "timed",
        "unfit",
        "update",
        "value_of",
        "where",
        "woken",
    )

    def __init__(
        self,
        feature: Feature,
        read_by: Readers,
        where: Closure | None,
        value_of: Closure | None,
        attribute: str = "",
        purpose: CompiledPurpose | None = None,
        unfit: Callable[[], None] = lambda: None,
    ) -> None:
        self.key = slot_key(feature.normal)
        self.events = feature.touched_by
        self.readers = readers = read_by.whole
        self.sums = feature.aggregate == "sum" and not feature.by
        scale = SCALE if self.sums else 1
        self.gates = Gates((p, rule) for op, constant, rule in read_by.gated for p in points(op, constant, scale))
        self.since = Gates((p, rule) for op, constant, rule in read_by.since for p in points(op, constant))
        self.named: dict[str, Rules] = {}
        for text, rule in read_by.named:
            self.named[text] = (*self.named.get(text, ()), rule)
        self.keyed: dict[str, Rules] = {}
        for text, rule in read_by.keyed:
            self.keyed[text] = (*self.keyed.get(text, ()), rule)
        keep = None
        if feature.aggregate == "count" and not readers and self.gates.points:
            keep = max(1, *self.gates.points)
        self.aggregate: Aggregate = build(recipe(feature, keep))
        self.timed = self.aggregate.timed or bool(self.since.points)
        self.where = where
        self.value_of = value_of
        self.attribute = attribute
        self.purpose = purpose
        self.unfit = unfit
        self.next = next_of(self)
        self.woken = self._woken()
        self.update = update_of(self)

    def value(self, profile: Profile) -> Any:
        """Value at the profile's time."""
        return self.aggregate.value(profile.slots.get(self.key), profile.now)

    def reader(self) -> Closure:
        """Make the closure that reads the value; what is kept as it is read needs no call of the aggregate."""
        key, aggregate = self.key, self.aggregate
        if isinstance(aggregate, Count):
            return lambda profile, event: profile.slots.get(key, 0)
        if isinstance(aggregate, ExtremeTime):
            return lambda profile, event: profile.slots.get(key)
        value = aggregate.value
        return lambda profile, event: value(profile.slots.get(key), profile.now)

    def part_reader(self, part: str) -> Closure:
        """Make the closure that reads the value of one key."""
        key, read = self.key, self.aggregate.part  # type: ignore[attr-defined] # all that hold keys have it
        return lambda profile, event: read(profile.slots.get(key), profile.now, part)

    def adapt(self, slot: Any) -> Any:
        """Take over the slot of the same feature from other definitions: counts of a window come in two forms."""
        aggregate = self.aggregate
        if isinstance(aggregate, WindowAtLeast):
            return (slot if type(slot) is bytes else slot[0])[-6 * aggregate.keep :]
        return [slot, [[], []]] if isinstance(aggregate, WindowCount) and type(slot) is bytes else slot

    def _woken(self) -> Callable[[Any, int], Rules]:
        """Make `woken(slot, now)`: rules that time alone may have changed exactly at `now`."""
        if isinstance(self.aggregate, ExtremeTime):
            flips = self.since.flips
            return lambda slot, now: flips.get(now - slot, NOTHING)
        if isinstance(self.aggregate, Keyed) and not self.readers:
            return self._woken_keys(self.aggregate)
        if type(self.aggregate) is WindowMostFrequent and not self.aggregate.offset:
            whole = self.whole()  # when its lead may be lost, it is looked at once, by those who read it
            return lambda slot, now: whole
        value, readers, crossed, flips = self.aggregate.value, self.whole(), self.crossed, self.since.flips
        if isinstance(self.aggregate, WindowCount) and not self.gates.points:
            return lambda slot, now: readers  # it is woken where the count changes

        def expired(slot: Any, now: int) -> Rules:
            before, after = value(slot, now - 1), value(slot, now)
            passed = flips.get(now - after, NOTHING) if flips and after is not None else NOTHING
            if before == after and type(before) is type(after):
                return passed
            return passed + readers + crossed(before, after)

        return expired

    def _woken_keys(self, aggregate: Keyed) -> Callable[[Any, int], Rules]:
        """Where rules read single keys only."""
        part, keyed = aggregate.part, tuple(self.keyed.items())

        def expired(slot: Any, now: int) -> Rules:
            touched: Rules = NOTHING
            for text, rules in keyed:
                before, after = part(slot, now - 1, text), part(slot, now, text)
                if before != after or type(before) is not type(after):
                    touched += rules
            return touched

        return expired

    def whole(self) -> Rules:
        """Rules for which any change of a value that is not a time alone matters, and of every key."""
        return tuple(sorted({*self.readers, *(rule for rules in self.keyed.values() for rule in rules), *self.since.every()}))

    def crossed(self, before: Any, after: Any) -> Rules:
        """Rules that compare the value with a constant which lies between two values of it."""
        gates = self.gates
        if not gates.points:
            return NOTHING
        if before is None or after is None:
            return gates.every()
        if self.sums:
            return gates.crossed(scaled(before), scaled(after))
        if type(before) is int and type(after) is int:
            return gates.crossed(before, after)
        return gates.every()

    def moved(self, before: str | None, after: str) -> Rules:
        """Rules that may change when the most frequent value's text goes from `before` to `after`."""
        named = self.named
        if not named:
            return self.readers
        return self.readers + named.get(before or "", NOTHING) + named.get(after, NOTHING)
