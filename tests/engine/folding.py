"""Folding a stream into one aggregate, and what it should be."""

from __future__ import annotations

from typing import Any

from engine.oracle import Entry, aggregate

from rtcdp import profile as profiles
from rtcdp.aggregates import Aggregate
from rtcdp.profile import Profile

KINDS = ("count", "sum", "min", "max", "avg", "first", "last", "first_time", "last_time", "unique", "most_frequent")
NUMERIC = ("sum", "min", "max", "avg")
WITHIN = 40


def fold(one: Aggregate, stream: list[tuple[int, Entry]], slot: Any = None, now: int | None = None) -> Any:
    for then, entry in stream:
        slot = one.update(slot, entry.at, entry.id, entry.value, then if now is None else now)
    return slot


def truth(kind: str, stream: list[tuple[int, Entry]], within: int | None, now: int) -> Any:
    return aggregate(kind, [entry for _, entry in stream if within is None or now - within < entry.at])


def same(one: Any, other: Any) -> bool:
    """Equal, and equal in type, but for whole floats: 2 and 2.0 are one number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def stored(slot: Any) -> bytes:
    """The bytes of a profile with this slot, and that they are read back as they were."""
    profile = Profile("main/user_id:1")
    profile.slots["x"] = slot
    data = profiles.encode(profile)
    assert profiles.decode(profile.key, data).slots["x"] == slot
    return data
