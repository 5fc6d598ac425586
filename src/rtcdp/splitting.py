"""`rtcdp identity split`: both states are made from the log, and put into force by a command; again, where it came too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition
from rich.console import Console

from rtcdp import commands, timestamps
from rtcdp import position as positions
from rtcdp.config import Settings
from rtcdp.contributions import Logged, take_apart
from rtcdp.errors import ClusterError, SettingError
from rtcdp.inspection import Stored, full_key, partition_of, partitions_of, stored_at
from rtcdp.parting import digest
from rtcdp.position import POSITION_KEY
from rtcdp.records import Split, encode
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import opened
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.restore import restore
from rtcdp.transport.settings import restore_conf
from rtcdp.worker.versions import DefinitionsTopic, Versions

PATIENCE_S = 60.0
ANSWER_S = 10.0
LOOK_S = 0.3
MOST = 900_000
"""Bytes of a command: as a record of the log, in base64, it has to fit Kafka's usual 1 MiB."""
_CHUNK = 5_000


class Apart(msgspec.Struct, frozen=True):
    """What became of a person.

    other:  the strongest identifier of those that left; along: those that are its aliases now.
    events: how many of the log are the person's, and the other's.
    approximate: features that are not exact. since: from when on (RFC 3339) the log is there; empty where it is whole.
    """

    person: str
    identifier: str
    other: str
    along: list[str]
    events: list[int]
    approximate: list[str]
    since: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return msgspec.structs.asdict(self)


def show(found: Apart) -> None:
    """Print for people."""
    out = Console(highlight=False, markup=False)
    mine, theirs = found.events
    out.print(f"{found.person} and {found.other} are two: {mine} and {theirs} events")
    for key in found.along:
        out.print(f"  {key} goes with {found.other}")
    if found.approximate:
        out.print(f"approximate, since the log begins at {found.since}: {', '.join(found.approximate)}")


def split(settings: Settings, key: str, identifier: str, *, by: str, reason: str = "") -> Apart | None:
    """Split an identifier off a person; None where it is not theirs. Blocks until both are two, up to a minute.

    key: of the person, by any of their identifiers. by, reason: who asks for it, and why.

    Raises SettingError for what is no key, ClusterError where the cluster cannot be read, no worker answers, the person never
    holds still, or a state is too large for a command.
    """
    wanted, deadline = full_key(identifier), monotonic() + PATIENCE_S
    made: Apart | None = None
    while monotonic() < deadline:
        stored = stored_at(settings, key)
        if stored is not None and made is not None and wanted in stored.profile.parted:
            return made
        if stored is None or wanted not in stored.profile.links:
            if stored is not None and wanted == stored.profile.key:
                raise SettingError(f"{wanted} is the person: name the identifier that is not theirs")
            return None
        found = _made(settings, stored, wanted, commands.new_id(), by, reason)
        if found is not None:
            made, command = found
            key = stored.profile.key  # by the identifier itself, they would not be found again
            commands.send(settings, key.encode(), command)
            _await(settings, key, wanted, command.expected, deadline)
        else:
            sleep(LOOK_S)
    raise ClusterError(f"{wanted} was not split off within {PATIENCE_S:.0f} s: does a worker run? is {key} very busy?")


def _await(settings: Settings, key: str, wanted: str, expected: str, deadline: float) -> None:
    """Wait until the person is without the identifier, or has changed otherwise."""
    until = min(deadline, monotonic() + ANSWER_S)
    while monotonic() < until:
        stored = stored_at(settings, key)
        if stored is None or wanted in stored.profile.parted or digest(stored.profile) != expected:
            return
        sleep(LOOK_S)


def _made(settings: Settings, stored: Stored, wanted: str, request: str, by: str, reason: str) -> tuple[Apart, Split] | None:
    """The command, made from the log; None where some of it has still to be folded."""
    person, switch = stored.profile, stored.position.switches[-1]
    log = read_log(settings, [person.key, *person.links])
    if not log.folded:
        return None
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-inspect")
    topic.read()
    parts = take_apart(person, wanted, log.records, Versions(topic)[switch.version], switch.number, log.cut)
    command = parts.command(person, request, by, reason)
    if len(encode(command)) > MOST:
        raise ClusterError(f"{person.key} is too large to be split: {len(encode(command))} bytes, {MOST} fit a command")
    since = timestamps.render(log.cut) if log.cut else ""
    told = Apart(person.key, wanted, parts.other.key, list(parts.along), list(parts.events), list(parts.approximate), since)
    return told, command


@dataclass(frozen=True)
class PersonLog:
    """Records of some profiles. folded: workers have folded all of them. cut: time (ms) before which it is gone, or 0."""

    records: list[Logged]
    folded: bool
    cut: int


def read_log(settings: Settings, keys: list[str]) -> PersonLog:
    """What the log holds of these profile keys, opened. Blocks. Raises ClusterError."""
    partitions = partitions_of(settings)
    sealer = sealer_of(settings, partitions)
    names = {key.encode() if sealer is None else sealer.name(key.encode()).name: key for key in keys}
    numbers = sorted({partition_of(key.encode(), partitions) for key in keys})
    folded = {number: _position(settings, number) for number in numbers}  # first: what they have written is there then
    records: list[Logged] = []
    cut = 0
    for number in numbers:
        found, begins = _scan(settings, number, names)
        for (offset, name), one in zip(
            [place[:2] for place in found], opened([place[1:] for place in found], sealer), strict=True
        ):
            if one is not None:  # else its key is gone: nobody's any more
                records.append(Logged(number, offset, names[name], one[1]))
        cut = max(cut, begins)
    return PersonLog(records, all(one.offset <= folded[one.partition] for one in records), cut)


def _position(settings: Settings, number: int) -> int:
    """Up to which offset of the log a partition is folded."""
    state: dict[bytes, bytes] = {}
    restore(settings.kafka(), settings.changelog, number, state, group=f"{settings.app}-inspect")
    found = state.get(POSITION_KEY)
    return -1 if found is None else positions.decode(found).offset


def _scan(settings: Settings, number: int, names: Mapping[bytes, str]) -> tuple[list[tuple[int, bytes, bytes]], int]:
    """Offset, key and value of what the log holds under these names, and when it begins (ms): 0 where nothing is gone."""
    consumer = Consumer(restore_conf(settings.kafka(), f"{settings.app}-inspect"))
    found: list[tuple[int, bytes, bytes]] = []
    begins = 0
    try:
        low, _ = partition_bounds(consumer, settings.profile_events, number)
        consumer.assign([TopicPartition(settings.profile_events, number, low)])
        while True:
            first = consumer.poll(1.0)
            for message in () if first is None else (first, *consumer.consume(_CHUNK, 0)):
                error = message.error()
                if error is None:
                    if low and not begins:
                        begins = message.timestamp()[1]
                    key, value = message.key(), message.value()
                    if key is not None and key in names and value is not None:
                        found.append((message.offset() or 0, key, value))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return found, begins
                elif not error.retriable():
                    raise ClusterError(f"{settings.profile_events}/{number} cannot be read: {error.str()}")
    finally:
        consumer.close()
