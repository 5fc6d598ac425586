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


def fit(fold: Outputs, changes: str, triggers: str, letters: str, limits: Mapping[str, int], origin: Origin) -> None:
    """Turn outputs that are too large into dead letters, in place.

    changes, triggers, letters: names of the topics.
    limits: `max.message.bytes` by topic; absent: Kafka's default.
    origin: where the batch begins, for the dead letters.
    """
    room = limits.get(letters, DEFAULT)
    fold.changes = _kept(fold.changes, changes, limits, room, origin, fold.letters)
    fold.triggers = _kept(fold.triggers, triggers, limits, room, origin, fold.letters)


def too_large(state: Mapping[bytes, bytes | None], changelog: str, limits: Mapping[str, int]) -> dict[bytes, int]:
    """The profiles that the changelog cannot take, and their sizes (bytes)."""
    most = limits.get(changelog, DEFAULT) - OVERHEAD
    if not state or max(map(len, filter(None, state.values())), default=0) + max(map(len, state)) <= most:
        return {}  # the usual case, by two passes without a step of Python
    return {key: len(value) for key, value in state.items() if value is not None and len(value) + len(key) > most}


def cannot_be_kept(key: bytes, size: int, changelog: str) -> ClusterError:
    """What to say of a profile that has become too large by no event alone: leaving it out would lose it."""
    name = key.decode("utf-8", "replace")
    return ClusterError(f"the profile {name} has {size} bytes, more than max.message.bytes of {changelog} allows: raise it")


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
