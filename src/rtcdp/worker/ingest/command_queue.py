"""Commands of one partition of `commands`, carried out in their order: ticks once ingest has passed what was there before."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec

from rtcdp import records
from rtcdp.control import commands
from rtcdp.control.commands import TickCommand
from rtcdp.errors import Unfit
from rtcdp.ingestion import cleaning
from rtcdp.ingestion.events import MAX_NESTING, nesting
from rtcdp.ingestion.identity import parse_profile_key
from rtcdp.records import TICK_KEY, Correct, PersonalCommand, Tick, encode

logger = logging.getLogger(__name__)

WAKES = 1_000
"""Profiles that the tick itself wakes; the owner of each partition appends further ticks for the others."""

MOST_KEY = 4_096
"""Bytes of a profile key: no event's is as long, and it has to be told in outputs."""

Bury = Callable[[Unfit], None]


class Producing(Protocol):
    """What is needed of a `GaplessProducer`."""

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, *, source: str, offset: int, partition: int | None = None
    ) -> None:
        """Queue a record."""

    def skip(self, source: str, offset: int) -> None:
        """Nothing is made of that record."""


class CommandQueue:
    """The commands of one partition. One that waits holds back those behind it: origins must not go down.

    source:     `<topic id>/<partition>`, the origin of what they make.
    target:     `profile-events`; partitions: how many it has: a tick goes to each.
    topics:     ids of the source topics that this deployment reads; ends of others are not waited for.
    arrival:    whether time is that of arrival; else all sources' time is simulated, and a command moves none.
    room:       largest key and value together (bytes) that the target takes.
    """

    def __init__(
        self,
        source: str,
        producer: Producing,
        target: str,
        partitions: int,
        topics: frozenset[str],
        *,
        arrival: bool = True,
        room: int = 1_000_000,
    ) -> None:
        self._source = source
        self._producer = producer
        self._target = target
        self._partitions = partitions
        self._topics = topics
        self._arrival = arrival
        self._room = room
        self._waiting: deque[tuple[int, TickCommand | Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, offset: int, key: bytes | None, value: bytes | None, appended: int, bury: Bury) -> None:
        """The next command. What is none is given to `bury` when its turn comes.

        appended: append time of its record (ms).
        """
        try:
            command = commands.decode(_shallow(b"" if value is None else value))
            if isinstance(command, TickCommand):
                self._take_tick(offset, command)
                return
            whose, record = self._personal(key, command, offset, appended)
        except msgspec.ValidationError as error:
            unfit = Unfit("unknown_command", str(error)[:200])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            unfit = Unfit("malformed_json", str(error)[:200])
        except Unfit as error:
            unfit = error
        else:
            make = self._producer.produce
            self._waiting.append((offset, lambda: make(self._target, whose, record, source=self._source, offset=offset)))
            return
        self._waiting.append((offset, lambda: bury(unfit)))

    def skip(self, offset: int) -> None:
        """The next command cannot be read by anybody: its person was erased."""
        skip = self._producer.skip
        self._waiting.append((offset, lambda: skip(self._source, offset)))

    @property
    def held_until(self) -> int:
        """Offset of the last command behind a tick that waits; -1: none does."""
        return self._waiting[-1][0] if self._waiting and isinstance(self._waiting[0][1], TickCommand) else -1

    def bound(self, ends: Mapping[str, int], until: int) -> None:
        """No tick waits for what cannot come: where the sources end is never before where they ended when it was sent.

        ends: of source partitions, asked for when the commands up to the offset `until` had been taken.
        """
        for place, (offset, command) in enumerate(self._waiting):
            if not isinstance(command, TickCommand) or offset > until:
                continue
            wrong = [source for source, end in command.ends.items() if self._read_here(source) and end > ends.get(source, 0)]
            if wrong:
                logger.warning("a tick command names an end of %s that is not there: it waits for what is", wrong[0])
                reached = {source: min(end, ends.get(source, 0)) for source, end in command.ends.items()}
                self._waiting[place] = offset, msgspec.structs.replace(command, ends=reached)

    def carry_out(self, done: Callable[[str], int]) -> int:
        """Do what can be done now; returns how many commands that was.

        done: up to which offset a source partition's records are in `profile-events`, acknowledged.
        """
        count = 0
        while self._waiting:
            offset, command = self._waiting[0]
            try:
                if not isinstance(command, TickCommand):
                    command()
                elif any(done(source) < end for source, end in command.ends.items() if self._read_here(source)):
                    break
                else:
                    self._tick(command, offset)
            except BufferError:  # the producer is full: it is done again, and the fold drops what it has seen
                break
            count += 1
            self._waiting.popleft()
        return count

    def _personal(self, key: bytes | None, command: PersonalCommand, offset: int, appended: int) -> tuple[bytes, bytes]:
        """Key and value of the record of the log that a command becomes. Raises Unfit."""
        key = person(key)
        where = {"source": self._source, "offset": offset, "hops": 0}
        if self._arrival:
            where |= {"received": appended, "at": min(command.at or appended, appended), "simulated": False}
        else:
            where |= {"received": 0, "simulated": True}
        if isinstance(command, Correct):  # traits are what events can bring
            where["traits"] = cleaning.limit_numbers(cleaning.bound(command.traits, Counter()), Counter())
        record = records.encode(msgspec.structs.replace(command, **where))
        if len(key) + len(record) > self._room:
            raise Unfit("too_large", f"{len(record)} bytes, {self._target} takes {self._room}")
        return key, record

    def _take_tick(self, offset: int, command: TickCommand) -> None:
        strange = [source for source in command.ends if not self._read_here(source)]
        if strange:
            logger.warning("a tick command names %s, which is no source here: it is not waited for", strange[0])
        self._waiting.append((offset, command))

    def _read_here(self, source: str) -> bool:
        return source.rpartition("/")[0] in self._topics

    def _tick(self, command: TickCommand, offset: int) -> None:
        record = encode(Tick(time=command.time, wake=WAKES, simulated=True, source=self._source, offset=offset))
        for partition in range(self._partitions):
            self._producer.produce(self._target, TICK_KEY, record, source=self._source, offset=offset, partition=partition)


def person(key: bytes | None) -> bytes:
    """The profile key that a command's record has. Raises Unfit where it has none."""
    if key is None or len(key) > MOST_KEY:
        raise Unfit("bad_key", f"the record's key is to be a profile key of at most {MOST_KEY} bytes")
    try:
        parse_profile_key(key)
    except ValueError as error:
        raise Unfit("bad_key", f"the record's key is to be a profile key: {error}"[:200]) from None
    return key


def people(keys: Iterable[bytes | None]) -> set[bytes]:
    """Those of the keys that are profile keys: for the others no data key is made."""
    found = set()
    for key in keys:
        with suppress(Unfit):
            found.add(person(key))
    return found


def _shallow(value: bytes) -> bytes:
    """A command's JSON as it is. Raises Unfit where it is nested so deep that nothing could read it."""
    if nesting(value) > MAX_NESTING:
        raise Unfit("too_deep", f"nested more than {MAX_NESTING} deep")
    return value
