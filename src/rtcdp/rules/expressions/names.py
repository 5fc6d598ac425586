"""Names: what a definition may be called, and the nearest valid name for one that is not known."""

from __future__ import annotations

import difflib
import keyword
import re
import unicodedata
from collections.abc import Iterable

from rtcdp.rules.expressions.signatures import SIGNATURES

LONGEST_NAME = 64
LONGEST_EVENT = 200
_FARTHEST, _CANDIDATES = 6, 500  # comparing names is slow, and an error must not take long
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

PROFILE_ROOTS = ("traits",)
EVENT_ROOTS = ("properties", "context", "traits")
EVENT_FIELDS = ("occurred", "event", "channel", "message_id")

# What later versions of the language mean by a bare name, so that no definition can stand in its way.
_PLANNED = ("stage", "sessions", "groups", "now", "profile")
RESERVED = frozenset(
    {*keyword.kwlist, "true", "false", "null", *SIGNATURES, *EVENT_ROOTS, *EVENT_FIELDS, *_PLANNED},
)
# Features that need no definition, with their aggregate: of any event.
BUILT_IN_FEATURES = {"first_seen": "first_time", "last_seen": "last_time", "channel": "last", "sessions": "sessions"}


def fault_of_name(name: str) -> str:
    """What is wrong with a definition's name, as the end of a sentence; empty if nothing is."""
    if not _NAME.fullmatch(name):
        return "must be made of ASCII letters, digits and `_`, beginning with a letter"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if name in RESERVED:
        return "is a word of the language"
    return ""


def fault_of_event(name: str) -> str:
    """What is wrong with an event's name, as the end of a sentence; empty if nothing is."""
    if not name.strip():
        return "is blank"
    if len(name) > LONGEST_EVENT:
        return f"is longer than {LONGEST_EVENT} characters"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "has control characters"
    return ""


def nearest(name: str, valid: Iterable[str], likeness: float = 0.6) -> str:
    """The valid name most like this one; empty if none is as like as that (0 to 1, as difflib counts)."""
    candidates = [candidate for candidate in valid if abs(len(candidate) - len(name)) <= _FARTHEST][:_CANDIDATES]
    folded = name.casefold().replace("-", "_").replace(" ", "_")
    for candidate in candidates:
        if candidate.casefold().replace(" ", "_") == folded:
            return candidate
    found = difflib.get_close_matches(name[:LONGEST_EVENT], candidates, n=1, cutoff=likeness)
    return found[0] if found else ""


def did_you_mean(name: str, valid: Iterable[str], likeness: float = 0.6) -> str:
    """`did you mean 'orders'?`, or empty."""
    found = nearest(name, valid, likeness)
    return f"did you mean '{found}'?" if found else ""


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names for a message: `a, b, c`, cut after `most`."""
    ordered = list(names)
    text = ", ".join(ordered[:most])
    return f"{text}, ... ({len(ordered)} in all)" if len(ordered) > most else text
