"""Compiled features: one `Leaf` per different aggregate, shared by every rule that reads it.

A leaf's `update(profile, event)` folds one event into the profile and returns the rules that may have changed: none
unless a value crosses a constant it is compared with, or some rule reads it whole. Time works the same way: `next`
says when time alone may change something, `woken` what it changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rtcdp.aggregates import (
    SCALE,
    Aggregate,
    Count,
    During,
    ExtremeTime,
    Keyed,
    MostFrequent,
    Sum,
    WindowAtLeast,
    WindowCount,
    WindowMostFrequent,
    WindowNumbers,
    build,
    packed_up_to,
    scaled,
)
from rtcdp.profile import Profile, slot_key
from rtcdp.rules.definitions import Feature
from rtcdp.rules.gates import Gates, Rules, points
from rtcdp.rules.interpreter import Closure
from rtcdp.rules.purposes import CompiledPurpose
from rtcdp.rules.roles import recipe
from rtcdp.rules.waking import due_of, falling, gated, next_of, watched

Update = Callable[[Profile, Any], Rules]
NOTHING: Rules = ()


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
    update, next, woken: see the module.
    """

    __slots__ = (
        "_sums",
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
        "timed",
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
    ) -> None:
        self.key = slot_key(feature.normal)
        self.events = feature.touched_by
        self.readers = readers = read_by.whole
        self._sums = feature.aggregate == "sum" and not feature.by
        scale = SCALE if self._sums else 1
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
        self.next = next_of(self)
        self.woken = self._woken()
        self.update = self._updater()

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
            whole = self._whole()  # when its lead may be lost, it is looked at once, by those who read it
            return lambda slot, now: whole
        value, readers, crossed, flips = self.aggregate.value, self._whole(), self.crossed, self.since.flips

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

    def _whole(self) -> Rules:
        """Rules for which any change of a value that is not a time alone matters, and of every key."""
        return tuple(sorted({*self.readers, *(rule for rules in self.keyed.values() for rule in rules), *self.since.every()}))

    def crossed(self, before: Any, after: Any) -> Rules:
        """Rules that compare the value with a constant which lies between two values of it."""
        gates = self.gates
        if not gates.points:
            return NOTHING
        if before is None or after is None:
            return gates.every()
        if self._sums:
            return gates.crossed(scaled(before), scaled(after))
        if type(before) is int and type(after) is int:
            return gates.crossed(before, after)
        return gates.every()

    def _updater(self) -> Update:
        kind = type(self.aggregate)
        if kind is Count:
            update = self._count()
        elif kind is Sum:
            update = self._sum()
        elif kind is ExtremeTime:
            update = self._time()
        elif kind is MostFrequent:
            update = self._most_frequent()
        elif kind is WindowAtLeast:
            update = self._window_count()
        elif isinstance(self.aggregate, WindowMostFrequent) and kind is WindowMostFrequent and not self.aggregate.offset:
            update = self._window_most_frequent(self.aggregate)
        elif self._sums and isinstance(self.aggregate, WindowNumbers) and not self.aggregate.offset:
            update = self._window_sum(self.aggregate)
        elif kind is Keyed:
            update = self._keyed()
        else:
            update = self._any()
        return self._filtered(update)

    def _filtered(self, update: Update) -> Update:
        """Only the events that `where` lets pass, and consent covers."""
        where, purpose = self.where, self.purpose
        if purpose is not None:
            covers = purpose.covers
            return lambda profile, event: (
                update(profile, event)
                if (where is None or where(None, event) is True) and covers(profile, event.occurred)
                else NOTHING
            )
        if where is None:
            return update
        return lambda profile, event: update(profile, event) if where(None, event) is True else NOTHING

    def _count(self) -> Update:
        key, readers, flips = self.key, self.readers, self.gates.flips.get
        if readers:

            def count_read(profile: Profile, event: Any) -> Rules:
                slots = profile.slots
                slots[key] = count = slots.get(key, 0) + 1
                return readers + flips(count, NOTHING)

            return count_read

        def count(profile: Profile, event: Any) -> Rules:
            slots = profile.slots
            slots[key] = count = slots.get(key, 0) + 1
            return flips(count, NOTHING)

        return count

    def _sum(self) -> Update:
        key, readers, gates, value_of = self.key, self.readers, self.gates, self.value_of
        assert value_of is not None  # noqa: S101  the loader lets no sum without a value through

        def add(profile: Profile, event: Any) -> Rules:
            value = value_of(None, event)
            slots = profile.slots
            before = after = slots.get(key, 0)
            for item in value if type(value) is list else (value,):
                if type(item) in (int, float):
                    after += scaled(item)
            if after == before:
                return NOTHING
            slots[key] = after
            return readers + gates.crossed(before, after)

        return add

    def _time(self) -> Update:
        key, since, update = self.key, self.since, self.aggregate.update
        whole = tuple(sorted({*self.readers, *self.gates.every()}))
        arm = since.points

        def at(profile: Profile, event: Any) -> Rules:
            slots, now = profile.slots, profile.now
            before = slots.get(key)
            after = update(before, event.occurred, "", None, now)
            if after == before:
                return NOTHING
            slots[key] = after
            if not arm:
                return whole
            place = bisect_right(arm, now - after)
            if place < len(arm):
                due = after + arm[place]
                if due < profile.wake_at:
                    profile.wake_at = due
            if before is None:
                return whole + since.every()
            return whole + since.crossed(now - before, now - after)

        return at

    def _most_frequent(self) -> Update:
        key, value_of, update, moved = self.key, self.value_of, self.aggregate.update, self.moved
        assert value_of is not None  # noqa: S101  the loader lets no most_frequent without a value through

        def most(profile: Profile, event: Any) -> Rules:
            value = value_of(None, event)
            if value is None:
                return NOTHING
            slots = profile.slots
            slot = slots.get(key)
            top = slot[0] if slot is not None else None
            for item in value if type(value) is list else (value,):
                slot = update(slot, event.occurred, "", item, 0)
            if slot is None:
                return NOTHING
            slots[key] = slot
            return NOTHING if slot[0] == top else moved(top, slot[0])

        return most

    def moved(self, before: str | None, after: str) -> Rules:
        """Rules that may change when the most frequent value's text goes from `before` to `after`."""
        named = self.named
        if not named:
            return self.readers
        return self.readers + named.get(before or "", NOTHING) + named.get(after, NOTHING)

    def _window_count(self) -> Update:
        key, aggregate, flips = self.key, self.aggregate, self.gates.flips
        assert isinstance(aggregate, WindowAtLeast)  # noqa: S101  the caller chose by it
        update, within = aggregate.update, aggregate.within

        def count(profile: Profile, event: Any) -> Rules:
            slots, now, at = profile.slots, profile.now, event.occurred
            gone = now - within
            if at <= gone:
                return NOTHING
            times = slots.get(key)
            before = 0 if times is None else len(times) // 6 - packed_up_to(times, gone)
            slots[key] = times = update(times, at, "", None, now)
            after = len(times) // 6
            if after == before or after not in flips:
                return NOTHING
            due = self.next(times, now)
            if due < profile.wake_at:
                profile.wake_at = due
            return flips[after]

        return count

    def _any(self) -> Update:
        key, aggregate, value_of, readers = self.key, self.aggregate, self.value_of, self._whole()
        numeric, crossed, value = aggregate.numeric, self.crossed, aggregate.value
        if self._sums and isinstance(aggregate, WindowNumbers | During):  # need not be made a number and back
            crossed, value = self.gates.crossed, aggregate.units
        due = due_of(self)
        only_gated = gated(self)
        compared = bool(self.gates.points) or not isinstance(aggregate, WindowCount | WindowNumbers)  # those always change

        def fold(profile: Profile, event: Any) -> Rules:
            found = value_of(None, event) if value_of is not None else True
            if found is None:
                return NOTHING
            slots, now, at = profile.slots, profile.now, event.occurred
            slot = slots.get(key)
            before = value(slot, now) if compared else None
            for item in found if type(found) is list else (found,):
                if not numeric or type(item) in (int, float):
                    slot = aggregate.update(slot, at, event.id, item, now)
            if slot is None:
                return NOTHING
            slots[key] = slot
            touched: Rules = readers
            if compared:
                after = value(slot, now)
                same = before == after and type(before) is type(after)
                touched = NOTHING if same else readers + crossed(before, after)
            if due is not None and (touched or not only_gated or not falling(self, slot)):
                wake = due(slot, at, now)
                if wake < profile.wake_at:
                    profile.wake_at = wake
            return touched

        return fold

    def _window_sum(self, aggregate: WindowNumbers) -> Update:
        """What an event adds is known: the sum is read once."""
        key, value_of, readers, due = self.key, self.value_of, self._whole(), due_of(self)
        assert value_of is not None  # noqa: S101  the loader lets no sum without a value through
        update, units, falls, within = aggregate.update, aggregate.units, aggregate.falls, aggregate.within
        crossed, only_gated = self.gates.crossed, gated(self)

        def add(profile: Profile, event: Any) -> Rules:
            found = value_of(None, event)
            slots, now, at = profile.slots, profile.now, event.occurred
            if found is None or at <= now - within:
                return NOTHING
            slot = slots.get(key)
            before = after = units(slot, now)
            for item in found if type(found) is list else (found,):
                if type(item) in (int, float):
                    slot, after = update(slot, at, "", item, now), after + scaled(item)
            if slot is None:
                return NOTHING
            slots[key] = slot
            if slot[2][0]:  # where there are buckets, older ones may have gone
                after = units(slot, now)
            touched = NOTHING if before == after else readers + crossed(before, after)
            if due is not None and (touched or not only_gated or not falls(slot)):
                wake = due(slot, at, now)
                if wake < profile.wake_at:
                    profile.wake_at = wake
            return touched

        return add

    def _window_most_frequent(self, aggregate: WindowMostFrequent) -> Update:
        """What leads, and until when at least, is found at once.

        One event more makes no other text lead but its own, and its own led before if it is two ahead.
        """
        key, value_of, readers, update, standing = self.key, self.value_of, self._whole(), aggregate.update, aggregate.standing
        assert value_of is not None  # noqa: S101  the loader lets no most_frequent without a value through
        read, within, full = watched(self), aggregate.within, aggregate.full

        def most(profile: Profile, event: Any) -> Rules:
            found = value_of(None, event)
            if found is None:
                return NOTHING
            slots, now, at = profile.slots, profile.now, event.occurred
            slot = slots.get(key)
            if type(found) is str:
                if at <= now - within:
                    return NOTHING
                slots[key] = slot = update(slot, at, event.id, found, now)
                top, due, lead = standing(slot, now)
                if read and due < profile.wake_at:
                    profile.wake_at = due
                return NOTHING if (top != found or lead > 1) and not full(slot) else readers
            before = standing(slot, now)[0]
            for item in found if type(found) is list else (found,):
                slot = update(slot, at, event.id, item, now)
            if slot is None:
                return NOTHING
            slots[key] = slot
            after, due, _ = standing(slot, now)
            if read and due < profile.wake_at:
                profile.wake_at = due
            return NOTHING if before == after else readers

        return most

    def _keyed(self) -> Update:
        """One key changes at a time, and most rules read but one."""
        key, aggregate, value_of, readers = self.key, self.aggregate, self.value_of, self.readers
        assert isinstance(aggregate, Keyed)  # noqa: S101  the caller chose by it
        assert value_of is not None  # noqa: S101  what has keys reads them
        part, update, keyed = aggregate.part, aggregate.update, self.keyed
        every, due = self._whole(), due_of(self)

        def fold(profile: Profile, event: Any) -> Rules:
            slots, now, at = profile.slots, profile.now, event.occurred
            slot: Any = slots.get(key)
            touched: Rules = NOTHING
            pairs: list[Any] = value_of(None, event) or []
            read = False
            for pair in pairs:
                text = pair[0]
                full = aggregate.full(slot, text)
                if not full and not readers and text not in keyed:
                    slot = update(slot, at, event.id, pair, now)
                    continue
                read = True
                before = part(slot, now, text)
                slot = update(slot, at, event.id, pair, now)
                after = part(slot, now, text)
                if before != after or type(before) is not type(after):  # where there was no room, another key had to go
                    touched += every if full else readers + keyed.get(text, NOTHING)
            if slot is None:
                return NOTHING
            slots[key] = slot
            if due is not None and read:
                wake = due(slot, at, now)
                if wake < profile.wake_at:
                    profile.wake_at = wake
            return touched

        return fold
