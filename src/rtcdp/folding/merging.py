"""The union of two profiles: what both have seen, as if it had been one from the beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtcdp.aggregates import hashable
from rtcdp.folding.consents import joined
from rtcdp.profile import Memory, Profile, Start, united_ids

if TYPE_CHECKING:
    from rtcdp.rules.compiling.compiled import Compiled
    from rtcdp.rules.compiling.features import Leaf

MOST_NAMED = 64
"""Instances and values that a trigger remembers, as in `triggers`."""
MOST_SENT = 1_000
"""Instants of sending: no cap of the language needs more."""


def unite(profile: Profile, other: Profile, compiled: Compiled) -> None:
    """Put everything that `other` holds into `profile`, and take the later of their times.

    Features of a meaning that these definitions know are merged; the slots of any other are kept as they are, where
    the profile has none. Memberships, tags and the stage stay those of the profile: the rules are looked at afterwards.
    """
    profile.now = now = max(profile.now, other.now)
    profile.seq = max(profile.seq, other.seq)
    profile.fresh = profile.fresh and other.fresh
    profile.born = min(profile.born, other.born)
    for name, entry in other.traits.items():
        mine = profile.traits.get(name)
        if mine is None or _later(entry, mine):
            profile.traits[name] = entry
    for key, slot in other.slots.items():
        profile.slots[key] = _merged(compiled.leaves.get(key), profile.slots.get(key), slot, now)
    for key, since in other.segments.items():
        if key in profile.segments:
            profile.segments[key] = min(since, profile.segments[key])
    for key, memory in other.triggers.items():
        found = profile.triggers.get(key)
        profile.triggers[key] = memory if found is None else _memories(found, memory)
    for key, start in other.waiting.items():
        waiting = profile.waiting.get(key)
        if waiting is None or _starts_later(start, waiting):
            profile.waiting[key] = start
    for key, due in other.schedules.items():
        profile.schedules[key] = min(due, profile.schedules.get(key, due))
    for purpose, answer in other.consent.items():
        profile.consent[purpose] = joined(profile.consent.get(purpose), answer)
    for key, said in other.links.items():
        profile.links.setdefault(key, said)
    for key, said in other.parted.items():
        profile.parted.setdefault(key, said)
    profile.seen = united_ids(profile.seen, other.seen)
    profile.owed += other.owed


def _later(entry: list[Any], than: list[Any]) -> bool:
    """As `Engine.react` orders traits: by time, then by text."""
    return bool(entry[0] > than[0] or (entry[0] == than[0] and hashable(entry[1]) > hashable(than[1])))


def _merged(leaf: Leaf | None, one: Any, other: Any, now: int) -> Any:
    if leaf is None:
        return other if one is None else one
    return leaf.aggregate.merge(one, leaf.adapt(other), now)


def _memories(one: Memory, other: Memory) -> Memory:
    """Times of sending united; of instances and of what calls off the latest; counts added."""
    return Memory(
        sent=sorted(one.sent + other.sent)[-MOST_SENT:],
        cancelled=_cancelled(one.cancelled, other.cancelled),
        false=one.false + other.false,
        false_at=max(one.false_at, other.false_at),
        last=max(one.last, other.last, key=lambda decision: decision[:1]),
        latest=_newest(one.latest, other.latest),
        until=max(one.until, other.until),
        picked=max(one.picked, other.picked),
        mixed=one.mixed or other.mixed,
    )


def _cancelled(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return _newest(one, other) if isinstance(one, dict) else max(one, other)


def _newest(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """By name the later of both; of too many the newest."""
    found = dict(one)
    for name, value in other.items():
        found[name] = max(value, found.get(name, value))
    for name in sorted(found, key=lambda name: (found[name], name))[:-MOST_NAMED]:
        del found[name]
    return found


def _starts_later(start: Start, than: Start) -> bool:
    return (start.occurred, start.message_id) > (than.occurred, than.message_id)
