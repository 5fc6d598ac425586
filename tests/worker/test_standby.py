from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from rtcdp.transport.restore import restore
from rtcdp.transport.transactions import TransactionalProducer
from rtcdp.worker.profiles.standby import Standby
from worker.conftest import wait_for


@pytest.fixture
def producer(kafka: str) -> Iterator[TransactionalProducer]:
    made = TransactionalProducer({"bootstrap.servers": kafka}, f"standby-{uuid.uuid4().hex[:8]}")
    made.open(30)
    yield made
    made.close()


def test_copy_is_taken_over_and_read_to_the_end(kafka: str, topic: Callable[..., str], producer: TransactionalProducer) -> None:
    changelog = topic(2, config={"cleanup.policy": "compact"})
    where = {"bootstrap.servers": kafka}

    def write(*records: tuple[bytes, bytes | None]) -> None:
        producer.begin()
        producer.produce(changelog, records, 1)
        producer.commit()

    write((b"a", b"1"), (b"b", b"1"), (b"c", b"1"))
    standby = Standby(where, changelog, 2, "standby")
    standby.own([0])
    standby.start()
    try:
        wait_for(lambda: standby.ready() == {1}, 20, "the copy")
        write((b"b", None), (b"a", b"2"))
        producer.begin()
        producer.produce(changelog, [(b"a", b"not committed")], 1)
        wait_for(lambda: standby._copies.get(1) == {b"a": b"2", b"c": b"1"}, 20, "the change")
        producer.abort()
        store = standby.take(1)
        standby.own([0, 1])
        write((b"c", b"3"))
        assert store.behind is not None
        assert restore(where, changelog, 1, store.entries, start=store.behind) == 1
        assert store.entries == {b"a": b"2", b"c": b"3"}
        assert standby.take(1).behind is None, "it was given away"
        standby.own([0])
        wait_for(lambda: standby.ready() == {1}, 20, "a new copy after the partition has gone")
        assert standby.take(1).entries == {b"a": b"2", b"c": b"3"}
    finally:
        standby.close()
