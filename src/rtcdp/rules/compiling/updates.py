"""What folds one event into the slot of a leaf: one way for each kind of aggregate.

Each returns the rules that may have changed, and sees to it that the profile wakes when time alone may change more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtcdp.aggregates import (
    Count,
    During,
    ExtremeTime,
    Keyed,
    MostFrequent,
    SessionStatistics,
    Sum,
    WindowAtLeast,
    WindowCount,
    WindowMostFrequent,
    WindowNumbers,
    packed_up_to,
    scaled,
)
from rtcdp.profile import Profile
from rtcdp.rules.compiling.gates import NOTHING, Rules
from rtcdp.rules.compiling.waking import due_of, falling_of, gated, watched

if TYPE_CHECKING:
    from rtcdp.rules.compiling.features import Leaf

Update = Callable[[Profile, Any], Rules]


def update_of(leaf: Leaf) -> Update:
    """Make `update(profile, event)`."""
    kind = type(leaf.aggregate)
    if kind is Count:
        update = _count(leaf)
    elif kind is Sum:
        update = _sum(leaf)
    elif kind is ExtremeTime:
        update = _time(leaf)
    elif kind is MostFrequent:
        update = _most_frequent(leaf)
    elif kind is WindowAtLeast:
        update = _window_count(leaf)
    elif isinstance(leaf.aggregate, WindowMostFrequent) and kind is WindowMostFrequent and not leaf.aggregate.offset:
        update = _window_most_frequent(leaf, leaf.aggregate)
    elif leaf.sums and isinstance(leaf.aggregate, WindowNumbers) and not leaf.aggregate.offset:
        update = _window_sum(leaf, leaf.aggregate)
    elif kind is Keyed:
        update = _keyed(leaf)
    else:
        update = _any(leaf)
    return _filtered(leaf, update)


def _filtered(leaf: Leaf, update: Update) -> Update:
    """Only the events that `where` lets pass, and consent covers."""
    where, purpose = leaf.where, leaf.purpose
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


def _count(leaf: Leaf) -> Update:
    key, readers, flips = leaf.key, leaf.readers, leaf.gates.flips.get
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


def _sum(leaf: Leaf) -> Update:
    key, readers, gates, value_of, unfit = leaf.key, leaf.readers, leaf.gates, leaf.value_of, leaf.unfit
    assert value_of is not None  # noqa: S101  the loader lets no sum without a value through

    def add(profile: Profile, event: Any) -> Rules:
        value = value_of(None, event)
        slots = profile.slots
        before = after = slots.get(key, 0)
        for item in value if type(value) is list else (value,):
            if type(item) in (int, float):
                after += scaled(item)
            elif item is not None:
                unfit()
        if after == before:
            return NOTHING
        slots[key] = after
        return readers + gates.crossed(before, after)

    return add


def _time(leaf: Leaf) -> Update:
    key, since, update = leaf.key, leaf.since, leaf.aggregate.update
    whole = tuple(sorted({*leaf.readers, *leaf.gates.every()}))
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


def _most_frequent(leaf: Leaf) -> Update:
    key, value_of, update, moved = leaf.key, leaf.value_of, leaf.aggregate.update, leaf.moved
    assert value_of is not None  # noqa: S101  the loader lets no most_frequent without a value through

    def most(profile: Profile, event: Any) -> Rules:
        value = value_of(None, event)
        if value is None:
            return NOTHING
        slots = profile.slots
        slot = slots.get(key)
        top = slot[0] if slot is not None else None
        for item in value if type(value) is list else (value,):
            if item is not None:
                slot = update(slot, event.occurred, "", item, 0)
        if slot is None:
            return NOTHING
        slots[key] = slot
        return NOTHING if slot[0] == top else moved(top, slot[0])

    return most


def _window_count(leaf: Leaf) -> Update:
    key, aggregate, flips = leaf.key, leaf.aggregate, leaf.gates.flips
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
        due = leaf.next(times, now)
        if due < profile.wake_at:
            profile.wake_at = due
        return flips[after]

    return count


def _any(leaf: Leaf) -> Update:
    key, aggregate, value_of, readers = leaf.key, leaf.aggregate, leaf.value_of, leaf.whole()
    numeric, crossed, value, unfit = aggregate.numeric, leaf.crossed, aggregate.value, leaf.unfit
    if leaf.sums and isinstance(aggregate, WindowNumbers | During):  # need not be made a number and back
        crossed, value = leaf.gates.crossed, aggregate.units
    due = due_of(leaf)
    falls = falling_of(leaf)
    unmoved = aggregate.unmoved if isinstance(aggregate, SessionStatistics | WindowCount) else None
    compared = bool(leaf.gates.points) or not isinstance(aggregate, WindowCount | WindowNumbers)  # those always change

    def fold(profile: Profile, event: Any) -> Rules:
        found = value_of(None, event) if value_of is not None else True
        if found is None:
            return NOTHING
        slots, now, at = profile.slots, profile.now, event.occurred
        slot = slots.get(key)
        reads = compared and not (unmoved is not None and type(found) is not list and unmoved(slot, at, found, now))
        before = value(slot, now) if reads else None
        for item in found if type(found) is list else (found,):
            if item is None:
                continue
            if not numeric or type(item) in (int, float):
                slot = aggregate.update(slot, at, event.id, item, now)
            else:
                unfit()
        if slot is None:
            return NOTHING
        slots[key] = slot
        touched: Rules = NOTHING if compared else readers
        if reads:
            after = value(slot, now)
            same = before == after and type(before) is type(after)
            touched = NOTHING if same else readers + crossed(before, after)
        if due is not None and (touched or falls is None or not falls(slot)):
            wake = due(slot, at, now)
            if wake < profile.wake_at:
                profile.wake_at = wake
        return touched

    return fold


def _window_sum(leaf: Leaf, aggregate: WindowNumbers) -> Update:
    """What an event adds is known: the sum is read once."""
    key, value_of, readers, due = leaf.key, leaf.value_of, leaf.whole(), due_of(leaf)
    assert value_of is not None  # noqa: S101  the loader lets no sum without a value through
    unfit = leaf.unfit
    update, units, falls, within = aggregate.update, aggregate.units, aggregate.falls, aggregate.within
    crossed, only_gated = leaf.gates.crossed, gated(leaf)

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
            elif item is not None:
                unfit()
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


def _window_most_frequent(leaf: Leaf, aggregate: WindowMostFrequent) -> Update:
    """What leads, and until when at least, is found at once.

    One event more makes no other text lead but its own, and its own led before if it is two ahead.
    """
    key, value_of, readers, update, standing = leaf.key, leaf.value_of, leaf.whole(), aggregate.update, aggregate.standing
    assert value_of is not None  # noqa: S101  the loader lets no most_frequent without a value through
    read, within, full, add = watched(leaf), aggregate.within, aggregate.full, aggregate.add

    def most(profile: Profile, event: Any) -> Rules:
        found = value_of(None, event)
        if found is None:
            return NOTHING
        slots, now, at = profile.slots, profile.now, event.occurred
        slot = slots.get(key)
        if type(found) is str:
            if at <= now - within:
                return NOTHING
            slots[key], top, due, lead = add(slot, at, found, now)
            if read and due < profile.wake_at:
                profile.wake_at = due
            return NOTHING if (top != found or lead > 1) and not full(slots[key]) else readers
        before = standing(slot, now)[0]
        for item in found if type(found) is list else (found,):
            if item is not None:
                slot = update(slot, at, event.id, item, now)
        if slot is None:
            return NOTHING
        slots[key] = slot
        after, due, _ = standing(slot, now)
        if read and due < profile.wake_at:
            profile.wake_at = due
        return NOTHING if before == after else readers

    return most


def _keyed(leaf: Leaf) -> Update:
    """One key changes at a time, and most rules read but one."""
    key, aggregate, value_of, readers = leaf.key, leaf.aggregate, leaf.value_of, leaf.readers
    assert isinstance(aggregate, Keyed)  # noqa: S101  the caller chose by it
    assert value_of is not None  # noqa: S101  what has keys reads them
    part, update, keyed = aggregate.part, aggregate.update, leaf.keyed
    every, due = leaf.whole(), due_of(leaf)

    def fold(profile: Profile, event: Any) -> Rules:
        slots, now, at = profile.slots, profile.now, event.occurred
        slot: Any = slots.get(key)
        touched: Rules = NOTHING
        pairs: list[Any] = value_of(None, event) or []
        read = False
        for pair in pairs:
            text = pair[0]
            full = slot is not None and text not in slot[0] and aggregate.full(slot, text)
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
