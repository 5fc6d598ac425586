"""What folding a batch gives: everything that one transaction writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rtcdp.position import Position

LogRecord = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of a record of the log."""

UNFIT = "unfit:"


@dataclass
class Fold:
    """What a batch gave; nothing of it counts before it is committed.

    changes, triggers, letters: (key, value) for profile-changes, triggers, events-dlq.
    appends:  (partition or None for murmur2 of the key, key, value) for profile-events.
    state:    profile key -> its changelog entry; None is a tombstone.
    erased:   profile keys of those that were erased.
    position: changelog entry of the position, under `POSITION_KEY`.
    counts:   how many of what happened, for metrics; under `UNFIT` and a feature's name, values that are no numbers.
    appended: append times (ms) of the raw records folded.
    left:     the last tick has left profiles that are due: it had no more to wake.
    continued: a tick that goes on with them is in the same transaction.
    """

    changes: list[tuple[bytes, bytes]] = field(default_factory=list)
    triggers: list[tuple[bytes, bytes]] = field(default_factory=list)
    letters: list[tuple[bytes, bytes]] = field(default_factory=list)
    appends: list[tuple[int | None, bytes, bytes]] = field(default_factory=list)
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    erased: list[bytes] = field(default_factory=list)
    position: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    appended: list[int] = field(default_factory=list)
    next_position: Position = field(default_factory=Position)
    left: bool = False
    continued: bool = False
