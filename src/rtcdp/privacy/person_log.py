"""What the log holds of one person, for commands that are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, TopicPartition

from rtcdp import position as positions
from rtcdp.errors import ClusterError
from rtcdp.folding.contributions import Logged
from rtcdp.position import POSITION_KEY
from rtcdp.queries.inspection import partition_of, partitions_of
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import opened
from rtcdp.settings.config import Settings
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.restore import restore
from rtcdp.transport.settings import restore_conf

_CHUNK = 5_000


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
