"""The answer to why a definition has its value for a profile: structs that are written as JSON as they are.

Times are RFC 3339, durations are texts of the language.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rtcdp.explanation.decisions import Decision, Gate


class Event(msgspec.Struct, omit_defaults=True):
    """An event that counts, as far as it is still held.

    at:         when it occurred.
    message_id: its message id; empty where only its time is held.
    value:      what was aggregated of it.
    """

    at: str
    message_id: str = ""
    value: Any = None


class Part(msgspec.Struct, omit_defaults=True):
    """A part of an expression with its value.

    text:      the part as the language spells it.
    kind:      what it is: feature, tag, segment, trait, comparison, ...
    value:     its value now; absent where it is missing.
    holds:     for what is true or false: which.
    until:     when that changes by itself if nothing arrives; empty where it does not.
    definition: of a feature or rule: what it is.
    precision: of a feature: `exact`, `warming since T` or how far it may be off.
    events:    the events that count, as far as they are held, oldest first.
    more:      how many more count of which only the number is known.
    counts:    how many events had which value, most first.
    parts:     what it is made of.
    """

    text: str
    kind: str
    value: Any = None
    holds: bool | None = None
    until: str = ""
    definition: str = ""
    precision: str = ""
    events: list[Event] = []
    more: int | None = None
    counts: list[tuple[Any, int]] = []
    parts: list[Part] = []


class Need(msgspec.Struct, omit_defaults=True):
    """What would have to change. Either a text, or several needs of which all or any must come about."""

    text: str = ""
    at: str = ""
    all: list[Need] = []
    any: list[Need] = []


class Explanation(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Why a definition has its value for a profile.

    at:        the time of the answer.
    value:     of a feature or tag its value, of a segment whether the profile is in it, of a trigger whether it waits.
    since:     of a segment or stage: when it was entered.
    until:     when the value changes by itself if nothing arrives; empty where it does not.
    becomes:   the value from then on.
    precision: `exact`, `warming since T`, or how far it may be off.
    consent:   of what has a purpose: whether it holds, and since when; without it the definition does not exist here.
    tree:      the expression with the actual values; absent for triggers.
    change:    what would have to change for the opposite (segments).
    gates:     of a trigger: what stands between its start and its sending, each as it is now.
    decisions: of a trigger: the last ones, newest first.
    """

    profile: str
    kind: str
    name: str
    description: str = ""
    version: str
    at: str
    value: Any = None
    since: str = ""
    until: str = ""
    becomes: Any = None
    precision: str = "exact"
    consent: str = ""
    tree: Part | None = None
    change: Need | None = None
    gates: list[Gate] = []
    decisions: list[Decision] = []
