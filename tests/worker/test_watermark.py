"""The watermark over all sources, and finding out where sources end."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Producer

from rtcdp.worker.ingest.progress import Progress, ProgressTable, ProgressWriter, VersionPoint
from rtcdp.worker.ingest.watermark import Ends, Watermark
from tests.worker.conftest import wait_for

MakeTopic = Callable[..., str]


class Table(ProgressTable):
    """A table that is told, without Kafka."""

    def __init__(self) -> None:
        super().__init__({}, "progress", 1, "test")

    def tell(self, **watermarks: int) -> None:
        self.entries |= {name.replace("_", "/"): Progress(watermark=time) for name, time in watermarks.items()}
        self.revision += 1


def test_it_is_the_least_of_all_that_have_to_speak() -> None:
    table = Table()
    watermark = Watermark(table, ["a/0", "a/1"], 250)
    assert watermark.now() is None
    table.tell(a_0=10_000)
    assert watermark.now() is None
    table.tell(a_1=9_000)
    assert watermark.now() == 8_750
    table.tell(a_1=12_000)
    assert watermark.now() == 9_750


def test_it_never_goes_back_and_new_partitions_count() -> None:
    table = Table()
    watermark = Watermark(table, ["a/0"], 0)
    table.tell(a_0=10_000)
    assert watermark.now() == 10_000
    table.tell(a_0=4_000)
    assert watermark.now() == 10_000
    table.tell(a_0=20_000, a_1=11_000, b_0=1)
    assert watermark.now() == 11_000, "a partition added later counts, another topic does not"


def test_without_arrival_sources_there_is_none() -> None:
    watermark = Watermark(Table(), [], 250)
    assert watermark.simulated
    assert watermark.now() == 0


def test_progress_is_written_read_and_followed(kafka: str, topic: MakeTopic) -> None:
    name = topic(3, {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact"})
    conf = {"bootstrap.servers": kafka}
    writer = ProgressWriter(conf, name)
    table = ProgressTable(conf, name, 3, "test")
    progress = Progress(done=7, watermark=1_000, versions=[VersionPoint(0, "v", "d")])
    for number in range(10):
        writer.publish(f"id/{number}", progress)
    assert writer.flush(20) == 0
    assert writer.difference_ms is not None
    assert abs(writer.difference_ms) < 10_000
    assert table.read() == {f"id/{number}": progress for number in range(10)}
    table.start()
    try:
        assert table.wait(20)
        assert table.done("id/3") == 7
        assert table.done("id/77") == 0
        writer.publish("id/3", Progress(done=8))
        assert writer.flush(20) == 0
        wait_for(lambda: table.done("id/3") == 8)
    finally:
        table.close()


def test_an_end_of_nothing_but_markers_is_found_out(kafka: str, topic: MakeTopic) -> None:
    name = topic(1)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b"one", partition=0)
    producer.commit_transaction(30)
    ends = Ends({"bootstrap.servers": kafka}, "test", interval=0.05)
    try:
        ends.watch([(name, 0)])
        end = wait_for(lambda: ends.found.get((name, 0)))
        assert end.offset == 2, "the record and the marker"
        ends.look_closer((name, 0), 1)
        empty = wait_for(lambda: ends.empty.get((name, 0)))
        assert (empty.start, empty.end) == (1, 2)
        # An open transaction: its records are yet to come, so the end is not reached.
        producer.begin_transaction()
        producer.produce(name, b"two", partition=0)
        assert producer.flush(20) == 0
        wait_for(lambda: ends.found[name, 0].offset == 3)
        ends.empty.clear()

        def looked() -> bool:
            ends.look_closer((name, 0), 2)
            return (name, 0) in ends.empty

        wait_for(looked)
        assert ends.empty[name, 0].end == 2
        producer.abort_transaction(30)
    finally:
        ends.close()


def test_asking_stops_with_the_watching(kafka: str, topic: MakeTopic) -> None:
    first, second = topic(1), topic(1)
    ends = Ends({"bootstrap.servers": kafka}, "test", interval=0.05)
    try:
        ends.watch([(first, 0)])
        wait_for(lambda: (first, 0) in ends.found)
        ends.watch([(second, 0)])
        wait_for(lambda: set(ends.found) == {(second, 0)})
    finally:
        ends.close()
