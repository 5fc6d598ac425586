from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from faust.types import TP

from rtcdp.errors import ClusterError
from rtcdp.transport import fetching
from rtcdp.transport.bounds import bounds
from rtcdp.transport.fetching import Fetching


class Fetched:
    """Stands for a librdkafka message."""

    def __init__(self, name: int, size: int = 1) -> None:
        self.name, self.size = name, size

    def __len__(self) -> int:
        return self.size


def names(messages: list[object]) -> list[int]:
    return [message.name for message in messages]  # type: ignore[attr-defined] # Fetched


def test_lane_gives_in_order_and_within_bounds() -> None:
    lane = fetching._Lane()
    lane.add([Fetched(n, 10) for n in range(5)])  # type: ignore[list-item] # stands for messages
    lane.add([Fetched(n, 10) for n in range(5, 8)])  # type: ignore[list-item] # stands for messages
    taken, size = lane.take(3, 1_000)
    assert (names(taken), size, lane.count, lane.bytes) == ([0, 1, 2], 30, 5, 50)  # type: ignore[arg-type] # Fetched
    taken, size = lane.take(100, 25)
    assert (names(taken), size) == ([3, 4], 20)  # type: ignore[arg-type] # Fetched
    taken, size = lane.take(100, 5)
    assert (names(taken), size) == ([5], 10)  # type: ignore[arg-type] # at least one, however large
    taken, size = lane.take(100, 1_000)
    assert (names(taken), lane.count, lane.bytes) == ([6, 7], 0, 0)  # type: ignore[arg-type] # Fetched


def fill(kafka: str, topic: str, partition: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5})
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=partition)
    assert producer.flush(10) == 0


def fail(error: Exception) -> None:
    raise error


async def read(source: Fetching, epoch: int, until: int, records: int = 500) -> dict[int, list[int]]:
    """Take turns until there are `until` records: the offsets per partition."""
    offsets: dict[int, list[int]] = {}
    while sum(map(len, offsets.values())) < until:
        current, ready = await source.turns(10)
        assert current == epoch
        for tp in ready:
            batch = source.take(tp, epoch, records, 1 << 20)
            assert 0 < len(batch) <= records
            offsets.setdefault(tp.partition, []).extend(message.offset() or 0 for message in batch)
            source.end_turn(tp, epoch)
    return offsets


def test_turns_of_partitions_from_given_offsets(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(3)
    for partition in range(3):
        fill(kafka, where, partition, 2_000)

    async def check() -> None:
        source = Fetching({"bootstrap.servers": kafka}, "g", fail)
        epoch = source.start({TP(where, 0): 0, TP(where, 2): 1_500})
        assert await read(source, epoch, 2_500) == {0: list(range(2_000)), 2: list(range(1_500, 2_000))}
        again = source.start({TP(where, 1): 10})
        assert source.take(TP(where, 0), epoch, 10, 10) == []
        assert await read(source, again, 1_990) == {1: list(range(10, 2_000))}
        fill(kafka, where, 1, 3)
        assert await read(source, again, 3) == {1: [2_000, 2_001, 2_002]}
        source.stop()
        assert (await source.turns(0.01))[1] == []
        source.close()

    asyncio.run(check())


def test_backlog_of_one_partition_does_not_hold_up_the_others(
    kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CAPACITY", 400)
    monkeypatch.setattr(fetching, "CHUNK", 100)
    where = topic(2)
    fill(kafka, where, 0, 1_000)

    async def check() -> None:
        source = Fetching({"bootstrap.servers": kafka}, "g", fail)
        epoch = source.start({TP(where, 0): 0, TP(where, 1): 0})
        assert await source.turns(10) == (epoch, [TP(where, 0)])  # and nobody works on it
        fill(kafka, where, 1, 5)
        assert await source.turns(10) == (epoch, [TP(where, 1)])
        assert source.waiting(TP(where, 0)) <= 400
        source.end_turn(TP(where, 0), epoch)
        source.end_turn(TP(where, 1), epoch)
        offsets = await read(source, epoch, 1_005, records=50)
        assert offsets == {0: list(range(1_000)), 1: list(range(5))}
        source.close()

    asyncio.run(check())


def test_records_that_are_gone_are_an_error(kafka: str, topic: Callable[..., str]) -> None:
    where = topic(1)
    fill(kafka, where, 0, 10)

    async def check() -> None:
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        source = Fetching({"bootstrap.servers": kafka}, "g", lambda error: loop.call_soon_threadsafe(failed.set_result, error))
        source.start({TP(where, 0): 1_000})
        assert isinstance(await asyncio.wait_for(failed, 10), ClusterError)

    asyncio.run(check())


def test_turns_wanted_before_the_assignment_come_after_it(kafka: str, topic: Callable[..., str]) -> None:
    """A reader that waits while the partitions change gets the new ones: losing a turn would stop its partition for good."""
    where = topic(1)
    fill(kafka, where, 0, 10)

    async def check() -> None:
        source = Fetching({"bootstrap.servers": kafka}, "g", fail)
        waiting = asyncio.create_task(source.turns(10))
        await asyncio.sleep(0)
        epoch = source.start({TP(where, 0): 0})
        assert await waiting == (epoch, [TP(where, 0)])
        assert source.longest_turn() > 0
        source.end_turn(TP(where, 0), epoch)
        assert await source.turns(10) == (epoch, [TP(where, 0)])
        source.close()

    asyncio.run(check())


def test_bounds(kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcdp.transport.bounds.SPREAD", 0.2)
    where = topic(2)
    fill(kafka, where, 1, 7)
    assert bounds({"bootstrap.servers": kafka}, "g", [TP(where, 0), TP(where, 1)]) == {
        TP(where, 0): (0, 0),
        TP(where, 1): (0, 7),
    }
    with pytest.raises(ClusterError):
        bounds({"bootstrap.servers": kafka}, "g", [TP("there-is-none", 0)])
