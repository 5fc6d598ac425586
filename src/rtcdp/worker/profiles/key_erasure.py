"""Destroying the data keys of who was erased: once nothing is sealed with them any more, and all that was has been folded.

1. The keys are retired as soon as the erasure is committed: what this process writes from then on gets another key, and so
   does every other process once it asks the store again (`KEPT_S`).
2. When the low watermark is past that, and past what a transaction may be open for, every record sealed with them is in the
   log. Where the log ends then is noted.
   What has come back meanwhile is written to the changelog once more, under its new key.
3. When the partition has folded all before that end, they are destroyed.

Whatever dies when: a mark without a destroyed key is found at the takeover, and it begins again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from faust.types import TP

from rtcdp import profile as profiles
from rtcdp.folding.erasing import MARK
from rtcdp.monitoring.metrics import now_ms
from rtcdp.sealing.sealer import KEPT_S
from rtcdp.transport.bounds import bounds
from rtcdp.transport.restore import restore
from rtcdp.worker.border import Border

logger = logging.getLogger(__name__)

SETTLED_MS = int((KEPT_S + 12.0) * 1_000)
"""Keys are held elsewhere for `KEPT_S`; a transaction is open for 10 s at most; clocks differ a little."""
LOOK_S = 1.0


class Partition(Protocol):
    """What is needed of a partition: its number, and the offset of the last record that it has folded."""

    number: int
    offset: int

    def renew(self, keys: Iterable[bytes], done: Callable[[], None]) -> None:
        """Write these profiles to the changelog again, where there are any; `done` when that is committed. Thread-safe."""


@dataclass
class _Waiting:
    """Names whose keys are retired.

    since: when (ms). end: where the log has to be folded to; -1: not known yet. keys: name and id of each.
    renewed: what has come back is in the changelog under its new key.
    """

    names: list[bytes]
    since: int
    end: int = -1
    keys: list[tuple[bytes, bytes]] = field(default_factory=list)
    renewed: threading.Event = field(default_factory=threading.Event)


class KeyErasure:
    """Of the partitions of one process. Everything but `found` and `erased` blocks; one call at a time.

    kafka, log, group: where the log is read. watermark: the low watermark (ms); None: not known; 0: time is simulated.
    """

    def __init__(
        self, border: Border, kafka: Mapping[str, Any], log: str, group: str, watermark: Callable[[], int | None]
    ) -> None:
        self._border = border
        self._kafka = kafka
        self._log = log
        self._group = group
        self._watermark = watermark
        self._new: dict[int, dict[bytes, bytes]] = {}
        self._marks: dict[int, tuple[dict[bytes, int], list[bytes]]] = {}
        self._waiting: dict[int, list[_Waiting]] = {}

    def found(self, number: int, kept: Mapping[bytes, bytes], whose: Callable[[list[bytes]], list[bytes]]) -> None:
        """A partition was taken over: there may be marks in its state of people whose keys are still there.

        kept: the state as it is kept: marks are never sealed. whose: the profile keys that may be those of some names.
        """
        marks = [(key, value) for key, value in kept.items() if key.startswith(MARK)]
        if marks:
            names = {bytes.fromhex(key[len(MARK) :].decode()): profiles.decode("", one).now for key, one in marks}
            self._marks[number] = names, whose(list(names))

    def erased(self, number: int, keys: Iterable[bytes]) -> None:
        """These profile keys were erased, and that is committed."""
        self._new.setdefault(number, {}).update({self._border.sealer.name(key).name: key for key in keys})

    def drop(self, number: int) -> None:
        """The partition belongs to another now."""
        for held in (self._new, self._marks, self._waiting):
            held.pop(number, None)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._new or self._marks or self._waiting)

    def step(self, partitions: Iterable[Partition]) -> int:
        """Do what can be done now; how many keys were destroyed. Raises KeysAway, ClusterError, Stalled."""
        destroyed = 0
        for partition in partitions:
            number = partition.number
            self._look_again(partition)
            self._retire(partition)
            waiting = self._waiting.get(number, [])
            for one in [one for one in waiting if self._is_over(one, partition)]:
                self._border.sealer.destroy(one.keys, now_ms())
                destroyed += len(one.keys)
                waiting.remove(one)
            if not waiting:
                self._waiting.pop(number, None)
        if destroyed:
            logger.info("%d data keys of erased people are destroyed", destroyed)
        return destroyed

    def _look_again(self, partition: Partition) -> None:
        """After a takeover: what the owner before had not come to."""
        found = self._marks.pop(partition.number, None)
        if found is None:
            return
        marks, keys = found
        sealer = self._border.sealer
        try:
            rings = sealer.store.find(list(marks))
        except BaseException:
            self._marks[partition.number] = found
            raise
        left = {
            name
            for (name, at), ring in zip(marks.items(), rings, strict=True)
            if ring.retired or (ring.current is not None and max(ring.gone.values(), default=0) < at)
        }
        if left:  # whose they are tells only who has come back
            whose = {sealer.name(key).name: key for key in keys}
            self._new.setdefault(partition.number, {}).update({name: whose.get(name, b"") for name in left})

    def _retire(self, partition: Partition) -> None:
        erased = self._new.pop(partition.number, None)
        if not erased:
            return
        sealer = self._border.sealer
        try:
            sealer.retire(erased)
            rings = sealer.store.find(list(erased))
        except BaseException:
            self._new.setdefault(partition.number, {}).update(erased)
            raise
        keys = [(name, key_id) for name, ring in zip(erased, rings, strict=True) for key_id in ring.retired]
        one = _Waiting(list(erased), now_ms(), keys=keys)
        self._waiting.setdefault(partition.number, []).append(one)
        partition.renew([key for key in erased.values() if key], one.renewed.set)

    def _is_over(self, one: _Waiting, partition: Partition) -> bool:
        watermark = self._watermark()
        if watermark is None or not one.renewed.is_set():
            return False
        if one.end < 0:
            if min(watermark or now_ms(), now_ms()) <= one.since + SETTLED_MS:
                return False
            place = TP(self._log, partition.number)
            one.end = bounds(self._kafka, self._group, [place])[place][1]
        if partition.offset + 1 >= one.end:
            return True
        # The last offsets may be of markers of transactions: then nothing is there to be folded.
        return not restore(self._kafka, self._log, partition.number, {}, group=self._group, start=partition.offset + 1)
