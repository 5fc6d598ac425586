"""Records too large for their topic: found before they are produced.

The broker refuses the whole request that such a record is in, so the transaction could never be committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rtcdp.errors import ClusterError, Unfit
from rtcdp.letters import dead_letter, record
from rtcdp.outputs import Origin

OVERHEAD = 512
"""Bytes of a record batch beside key and value, generously."""
DEFAULT = 1_048_588
"""Kafka's own `max.message.bytes`, where a topic's is not known."""

Entry = tuple[bytes, bytes]


class Outputs(Protocol):
    """The parts of a fold whose size depends on what came in."""

    changes: list[Entry]
    triggers: list[Entry]
    letters: list[Entry]
    state: dict[bytes, bytes | None]


def fit(
    fold: Outputs, changes: str, triggers: str, letters: str, changelog: str, limits: Mapping[str, int], origin: Origin
) -> None:
    """Turn outputs that are too large into dead letters, in place.

    changes, triggers, letters, changelog: names of the topics.
    limits: `max.message.bytes` by topic; absent: Kafka's default.
    origin: where the batch begins, for the dead letters.

    Raises ClusterError for a profile that its changelog cannot take: leaving it out would lose it.
    """
    room = limits.get(letters, DEFAULT)
    fold.changes = _kept(fold.changes, changes, limits, room, origin, fold.letters)
    fold.triggers = _kept(fold.triggers, triggers, limits, room, origin, fold.letters)
    most = limits.get(changelog, DEFAULT) - OVERHEAD
    for key, value in fold.state.items():
        if value is not None and len(value) + len(key) > most:
            raise ClusterError(
                f"the profile {key.decode('utf-8', 'replace')} has {len(value)} bytes, more than max.message.bytes of "
                f"{changelog} allows: raise it"
            )


def _kept(
    entries: list[Entry], topic: str, limits: Mapping[str, int], room: int, origin: Origin, letters: list[Entry]
) -> list[Entry]:
    most = limits.get(topic, DEFAULT) - OVERHEAD
    if not entries or max(len(key) + len(value) for key, value in entries) <= most:
        return entries
    unfit = Unfit("too_large", f"an output is larger than max.message.bytes of {topic}", topic)
    kept = []
    for key, value in entries:
        if len(key) + len(value) <= most:
            kept.append((key, value))
        else:
            letters.append(record(dead_letter(unfit, origin, key, value, 0, room, stage="profile")))
    return kept
