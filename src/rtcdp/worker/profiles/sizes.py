"""Records too large for their topic: found before they are produced.

The broker refuses the whole request that such a record is in, so the transaction could never be committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rtcdp.errors import ClusterError, Unfit
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.outputs import Origin
from rtcdp.position import POSITION_KEY

OVERHEAD = 512
"""Bytes of a record batch beside key and value, generously."""
DEFAULT = 1_048_588
"""Kafka's own `max.message.bytes`, where a topic's is not known."""

WRITTEN = 64 << 20
"""Bytes that a transaction writes into the log and the changelog, beyond which its records are divided."""

Entry = tuple[bytes, bytes]


class Outputs(Protocol):
    """The parts of a fold whose size depends on what came in."""

    changes: list[Entry]
    triggers: list[Entry]
    letters: list[Entry]


class Written(Protocol):
    """The parts of a fold that are to lie in the log and the changelog, where none may be left out."""

    appends: list[tuple[int | None, bytes, bytes]]
    state: dict[bytes, bytes | None]
    position: bytes


def fit(fold: Outputs, changes: str, triggers: str, letters: str, limits: Mapping[str, int], origin: Origin) -> None:
    """Turn outputs that are too large into dead letters, in place.

    changes, triggers, letters: names of the topics.
    limits: `max.message.bytes` by topic; absent: Kafka's default.
    origin: where the batch begins, for the dead letters.
    """
    room = limits.get(letters, DEFAULT)
    fold.changes = _kept(fold.changes, changes, limits, room, origin, fold.letters)
    fold.triggers = _kept(fold.triggers, triggers, limits, room, origin, fold.letters)


@dataclass(frozen=True)
class TooLarge:
    """What a topic cannot take: size (bytes) under a key. appended: it is a record for another profile, not a state."""

    key: bytes
    size: int
    topic: str
    appended: bool = False

    @property
    def name(self) -> str:
        """The key as text."""
        return self.key.decode("utf-8", "replace")


def too_large(fold: Written, changelog: str, log: str, limits: Mapping[str, int]) -> TooLarge | None:
    """A profile that the changelog cannot take, or a record for another one that the log cannot. Raises ClusterError.

    changelog, log: names of the topics. limits: as of `fit`.
    """
    most = limits.get(log, DEFAULT) - OVERHEAD
    for _, key, value in fold.appends:
        if len(key) + len(value) > most:
            return TooLarge(key, len(value), log, appended=True)
    most = limits.get(changelog, DEFAULT) - OVERHEAD
    if len(fold.position) + len(POSITION_KEY) > most:
        raise cannot_be_kept(TooLarge(POSITION_KEY, len(fold.position), changelog))
    state = fold.state
    if not state or max(map(len, filter(None, state.values())), default=0) + max(map(len, state)) <= most:
        return None  # the usual case, by two passes without a step of Python
    sizes = ((key, len(value)) for key, value in state.items() if value is not None)
    return next((TooLarge(key, size, changelog) for key, size in sizes if size + len(key) > most), None)


def heavy(fold: Written) -> bool:
    """Whether it is more than one transaction should write: a broker ends those that stay open for too long."""
    state = sum(map(len, filter(None, fold.state.values())))
    return state + sum(len(value) for _, _, value in fold.appends) > WRITTEN


def cannot_be_kept(large: TooLarge) -> ClusterError:
    """What to say of something that has become too large by no event alone: leaving it out would lose it."""
    what = "the position" if large.key == POSITION_KEY else f"the profile {large.name}"
    return ClusterError(f"{what} has {large.size} bytes, more than max.message.bytes of {large.topic} allows: raise it")


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
