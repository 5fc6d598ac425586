"""Explicit ticks: commands held back until ingest has passed what was there when they were given."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from rtcdp import commands
from rtcdp.commands import TickCommand
from rtcdp.errors import Unfit
from rtcdp.records import TICK_KEY, Tick, encode

logger = logging.getLogger(__name__)

WAKES = 1_000
"""Profiles that the tick itself wakes; the owner of each partition appends further ticks for the others."""

Bury = Callable[[Unfit], None]


class Producing(Protocol):
    """What is needed of a `GaplessProducer`."""

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, *, source: str, offset: int, partition: int | None = None
    ) -> None:
        """Queue a record."""


class ExplicitTicks:
    """The commands of one partition of `commands`, carried out in their order.

    source:     `<topic id>/<partition>`, the origin of what they make.
    target:     `profile-events`; partitions: how many it has: the tick goes to each.
    topics:     ids of the source topics that this deployment reads; ends of others are not waited for.
    """

    def __init__(self, source: str, producer: Producing, target: str, partitions: int, topics: frozenset[str]) -> None:
        self._source = source
        self._producer = producer
        self._target = target
        self._partitions = partitions
        self._topics = topics
        self._waiting: deque[tuple[int, TickCommand | Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, offset: int, value: bytes | None, bury: Bury) -> None:
        """The next command. What is none is given to `bury` when its turn comes: origins must not go down."""
        try:
            command = commands.decode(b"" if value is None else value)
        except msgspec.ValidationError as error:
            unfit = Unfit("unknown_command", str(error)[:200])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            unfit = Unfit("malformed_json", str(error)[:200])
        else:
            strange = [source for source in command.ends if not self._read_here(source)]
            if strange:
                logger.warning("a tick command names %s, which is no source here: it is not waited for", strange[0])
            self._waiting.append((offset, command))
            return
        self._waiting.append((offset, lambda: bury(unfit)))

    def carry_out(self, done: Callable[[str], int]) -> int:
        """Do what can be done now; returns how many ticks went out.

        done: up to which offset a source partition's records are in `profile-events`, acknowledged.
        """
        count = 0
        while self._waiting:
            offset, command = self._waiting[0]
            if isinstance(command, TickCommand):
                if any(done(source) < end for source, end in command.ends.items() if self._read_here(source)):
                    break
                self._tick(command, offset)
                count += 1
            else:
                command()
            self._waiting.popleft()
        return count

    def _read_here(self, source: str) -> bool:
        return source.rpartition("/")[0] in self._topics

    def _tick(self, command: TickCommand, offset: int) -> None:
        record = encode(Tick(time=command.time, wake=WAKES, simulated=True, source=self._source, offset=offset))
        for partition in range(self._partitions):
            self._producer.produce(self._target, TICK_KEY, record, source=self._source, offset=offset, partition=partition)
