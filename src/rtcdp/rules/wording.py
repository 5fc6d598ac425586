"""Definitions and durations in words, for people who ask why."""

from __future__ import annotations

import json

from rtcdp.rules.definitions import ANY_EVENT, Feature
from rtcdp.rules.expressions.tree import UNITS, unparse

_UNITS = tuple((unit, size) for unit, size in UNITS.items() if unit != "w")


def spelled(ms: int) -> str:
    """A duration in days, hours and so on, as `12d 3h 5s`; exact to the millisecond."""
    rest, words = abs(ms), []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count}{unit}")
    return ("-" if ms < 0 else "") + (" ".join(words) or "0ms")


def described(feature: Feature) -> str:
    """What a feature is, in the words of its definition: `count Order Completed within 90d`."""
    words = []
    for option, value in json.loads(feature.normal).items():
        if option == "lists":
            continue  # what is on the lists at the time, as a hash
        text = " or ".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append((option == feature.aggregate, f"{option} {text}"))
    return " ".join(text for _, text in sorted(words, key=lambda word: not word[0]))


def events_of(feature: Feature) -> str:
    """The events that a feature reads, and which of them: `Order Completed where properties.price >= 100`."""
    names = "any event" if feature.events == (ANY_EVENT,) else " or ".join(feature.events)
    return f"{names} where {unparse(feature.where)}" if feature.where is not None else names
