"""The steps of one partition, with a producer that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import generate_latest

from rtcdp import position as positions
from rtcdp.errors import ClusterError, Fenced, Stalled
from rtcdp.monitoring.metrics import Metrics
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.records import SWITCH_KEY, TICK_KEY, Event, Switch, decode, encode
from rtcdp.transport.transactions import Aborted
from rtcdp.worker.offline.rebuild import Recorder
from rtcdp.worker.profiles import partition as module
from rtcdp.worker.profiles import sizes
from rtcdp.worker.profiles.partition import ProfilePartition
from rtcdp.worker.profiles.work import Topics, Work
from worker.toy import ToyFold, ToyRunner

EVENT = Event(received=1, occurred=1, source="s/0", offset=1, id="m", event="A")
TOPICS = Topics("log", "changes", "triggers", "letters", "changelog")


class FakeMessage:
    def __init__(self, offset: int, key: bytes) -> None:
        self._offset, self._key = offset, key

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return b"v"


class FakeBatch:
    epoch = 3

    def __init__(self, first: int, keys: Iterable[bytes]) -> None:
        self.messages = [FakeMessage(first + number, key) for number, key in enumerate(keys)]
        self.over = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self.messages)

    def take(self, records: int, size: int) -> list[FakeMessage]:
        taken, self.messages = self.messages[:records], self.messages[records:]
        return taken

    def end(self) -> None:
        self.over.set()


class FakeProducer:
    """Commits what was produced, unless told otherwise by `fails`: one entry per commit."""

    def __init__(self, *fails: Exception | None) -> None:
        self.fails = list(fails)
        self.committed: list[list[tuple[str, int | None, bytes, bytes | None]]] = []
        self.open: list[tuple[str, int | None, bytes, bytes | None]] = []

    def begin(self) -> None:
        self.open = []

    def produce(
        self, topic: str, records: Iterable[tuple[bytes, bytes | None]], partition: int | None = None, **_: object
    ) -> None:
        self.open += [(topic, partition, key, value) for key, value in records]

    def commit(self) -> None:
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error
        self.committed.append(self.open)

    def abort(self) -> None:
        self.open = []


class TickingRunner(ToyRunner):
    """Wants a tick whenever it is asked."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[int] = []
        self.discarded: list[ToyFold] = []

    def next_tick(self, watermark: int, wakes: int) -> bytes | None:
        self.asked.append(watermark)
        return b"tick"

    def discard(self, fold: ToyFold) -> None:
        self.discarded.append(fold)


class LookingRunner(ToyRunner):
    """Has something to do before it folds, and notes on which thread."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps: list[tuple[str, bool]] = []

    def _note(self, step: str) -> None:
        self.steps.append((step, threading.current_thread() is threading.main_thread()))

    def ahead(self, records: Any) -> Any:
        return lambda: self._note("ahead")

    def fold(self, records: Any) -> ToyFold:
        self._note("fold")
        return super().fold(records)


class Given:
    """A partition with everything around it."""

    def __init__(self, *fails: Exception | None, runner: type[ToyRunner] = ToyRunner) -> None:
        self.done: list[tuple[int, int, int]] = []
        self.watermark: int | None = None
        self.version: str | None = None
        self.metrics = Metrics()
        self.runner = runner(7, {}, Position(topic_id="id", switches=[SwitchPoint(1, "one", 0)]))
        self.producer = FakeProducer(*fails)
        work = Work(
            topics=TOPICS,
            executor=ThreadPoolExecutor(1),
            metrics=self.metrics,
            done=lambda *what: self.done.append(what),
            watermark=lambda: self.watermark,
            version=lambda: self.version,
            records=3,
            limits={"changes": 1_000, "changelog": 2_000, "log": 2_000},
        )
        self.partition = ProfilePartition(7, self.runner, self.producer, work, -1, 1)  # type: ignore[arg-type] # fakes

    def process(self, batch: FakeBatch | None) -> None:
        asyncio.run(self.partition.process(batch))  # type: ignore[arg-type] # a fake

    def written(self, topic: str) -> list[tuple[int | None, bytes, bytes | None]]:
        return [record[1:] for batch in self.producer.committed for record in batch if record[0] == topic]


def test_outputs_state_and_position_are_one_transaction() -> None:
    given = Given()
    given.process(FakeBatch(10, [b"a", b"b", b"a"]))
    assert len(given.producer.committed) == 1
    assert given.written("changes") == [(None, b"a", b"1"), (None, b"b", b"1"), (None, b"a", b"2")]
    assert given.written("changelog")[:2] == [(7, b"a", b"2"), (7, b"b", b"1")]
    where, key, position = given.written("changelog")[2]
    assert (where, key, positions.decode(position or b"").offset) == (7, POSITION_KEY, 12)
    assert given.runner.state == {b"a": b"2", b"b": b"1"}
    assert given.done == [(7, 13, 3)]
    assert given.partition.offset == 12


def test_a_rebuild_folds_as_a_worker_does_and_writes_nothing() -> None:
    given, recorder = Given(), Recorder("changelog")
    given.partition.producer = recorder
    records = [(10, b"a", b"v"), (11, b"a", b"v")]
    for keeping in (False, True):
        recorder.keeping = keeping
        assert asyncio.run(given.partition.exactly_once(records, [], None))
    assert [(one.topic, one.key, one.value) for one in recorder.kept] == [("changes", b"a", b"3"), ("changes", b"a", b"4")]
    assert given.runner.state == {b"a": b"4"}


def test_what_takes_long_is_done_in_a_thread_before_folding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    given = Given(Aborted("x"), runner=LookingRunner)
    given.process(FakeBatch(0, [b"a"]))
    assert given.runner.steps == [("ahead", False), ("fold", True)] * 2  # type: ignore[attr-defined] # LookingRunner


def test_nothing_to_do_is_no_transaction() -> None:
    given = Given()
    given.process(None)
    given.process(FakeBatch(0, []))
    assert given.producer.committed == []


def test_aborted_batch_is_folded_again_from_the_state_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    given = Given(Aborted("x"), Aborted("y"), runner=TickingRunner)
    given.process(FakeBatch(0, [b"a"]))
    assert len(given.runner.discarded) == 2  # type: ignore[attr-defined] # TickingRunner
    assert given.written("changes") == [(None, b"a", b"1")]
    assert given.written("log") == [(7, TICK_KEY, b"tick")]


def test_batch_that_is_always_aborted_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    given = Given(*[Aborted("too large")] * module.ATTEMPTS)
    with pytest.raises(Stalled, match="too large"):
        given.process(FakeBatch(0, [b"a"]))
    assert given.done == []
    assert given.runner.state == {}


def test_fenced_adopts_nothing() -> None:
    given = Given(Fenced("another"))
    with pytest.raises(Fenced):
        given.process(FakeBatch(0, [b"a"]))
    assert (given.runner.state, given.done) == ({}, [])


def test_one_tick_is_outstanding_until_it_is_folded() -> None:
    given = Given(runner=TickingRunner)
    given.watermark = 1_000
    given.process(None)
    given.process(None)
    given.process(FakeBatch(0, [b"a"]))
    assert given.written("log") == [(7, TICK_KEY, b"tick")]
    given.process(FakeBatch(1, [TICK_KEY]))
    given.process(None)
    assert len(given.written("log")) == 2
    assert given.runner.asked == [1_000, 1_000]  # type: ignore[attr-defined] # TickingRunner


def test_switch_is_appended_once_where_the_version_is_not_current() -> None:
    given = Given()
    given.version = "two"
    given.process(FakeBatch(0, [b"a"]))
    assert given.written("log") == [], "without a watermark there is no time for a switch"
    given.watermark = 5_000
    given.process(None)
    given.process(None)
    [(partition, key, value)] = given.written("log")
    assert (partition, key) == (7, SWITCH_KEY)
    assert decode(value or b"") == Switch(number=2, version="two", time=5_000)
    given.version = "three"
    given.process(None)
    assert [decode(value or b"") for _, _, value in given.written("log")][1] == Switch(number=2, version="three", time=5_000)
    given.version = "one"
    given.process(None)
    assert len(given.written("log")) == 2


class OrderingRunner(ToyRunner):
    """Needs some steps before a switch, and goes on with every tick."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps = 0

    def order(self) -> Iterator[None]:
        while self.steps < 3:
            self.steps += 1
            yield

    def tick_after(self, fold: ToyFold, watermark: int, wakes: int) -> bytes | None:
        return b"on %d" % watermark if fold.offset == 1 else None


def test_a_switch_waits_until_everybody_can_be_visited_in_order() -> None:
    given = Given(runner=OrderingRunner)
    given.version, given.watermark = "two", 5_000

    async def check() -> None:
        task = asyncio.create_task(given.partition.run())  # nobody pokes it but the order that is ready
        for _ in range(1_000):
            if given.written("log"):
                break
            await asyncio.sleep(0.005)
        given.partition.stop()
        await asyncio.wait_for(task, 5)

    asyncio.run(check())
    assert [key for _, key, _ in given.written("log")] == [SWITCH_KEY]
    assert given.runner.steps == 3  # type: ignore[attr-defined] # OrderingRunner


def test_a_tick_is_gone_on_with_in_the_transaction_of_its_fold() -> None:
    given = Given(runner=OrderingRunner)
    given.watermark = 1_000
    given.process(FakeBatch(1, [TICK_KEY]))
    [transaction] = given.producer.committed
    assert ("log", 7, TICK_KEY, b"on 1000") in transaction
    given.process(FakeBatch(2, [TICK_KEY]))
    assert len(given.written("log")) == 1


def test_run_works_through_turns_until_told_to_stop() -> None:
    given = Given()
    batches = [FakeBatch(0, [b"a"]), FakeBatch(1, [b"b"])]

    async def check() -> None:
        task = asyncio.create_task(given.partition.run())
        for batch in batches:
            await asyncio.sleep(0)
            given.partition.deliver(batch)  # type: ignore[arg-type] # a fake
            await asyncio.wait_for(batch.over.wait(), 5)
        given.partition.stop()
        await asyncio.wait_for(task, 5)

    asyncio.run(check())
    assert [key for _, key, _ in given.written("changes")] == [b"a", b"b"]


def test_stop_during_an_abort_leaves_the_batch_to_the_successor() -> None:
    given = Given(Aborted("x"))

    async def check() -> None:
        given.partition.stop()
        await given.partition.process(FakeBatch(0, [b"a"]))  # type: ignore[arg-type] # a fake

    asyncio.run(check())
    assert (given.producer.committed, given.done) == ([], [])


class LargeRunner(ToyRunner):
    """Makes an output and a state as large as the key says."""

    def fold(self, records: Any) -> ToyFold:
        fold = super().fold(records)
        fold.changes = [(key, b"x" * int(key)) for key, _ in fold.changes]
        fold.state = {key: b"x" * int(key) for key in fold.state}
        return fold


def test_output_too_large_becomes_a_dead_letter() -> None:
    given = Given(runner=LargeRunner)
    given.process(FakeBatch(4, [b"10", b"900"]))
    assert given.written("changes") == [(None, b"10", b"x" * 10)]
    [(_, key, value)] = given.written("letters")
    assert (key, b'"too_large"' in (value or b"")) == (b"log/7/4", True)
    shown = generate_latest(given.metrics.registry).decode()
    assert 'rtcdp_events_dead_total{reason="too_large",stage="profile"} 1.0' in shown
    assert 'rtcdp_records_out_total{to="events_dlq"} 1.0' in shown


class FullRunner(ToyRunner):
    """A profile can take two events; the third makes it too large for its changelog. Time makes `~tick` too large."""

    def fold(self, records: Any) -> ToyFold:
        fold = super().fold(records)
        fold.state = {
            key: b"%d" % int(value or b"") if int(value or b"") < 3 else b"x" * 1_900 for key, value in fold.state.items()
        }
        if any(key == TICK_KEY for _, key, _ in records):
            fold.state[b"sleeper"] = b"x" * 1_900
        return fold


def test_event_that_makes_a_profile_too_large_is_refused_and_no_other() -> None:
    given = Given(runner=FullRunner)
    keys = [b"a", b"b", b"a", b"a", b"b", b"a"]
    batch = FakeBatch(10, keys)
    for message in batch.messages:
        message.value = lambda: encode(EVENT)  # type: ignore[method-assign] # a real record
    given.process(batch)
    given.process(batch)
    assert Counter(key for _, key, _ in given.written("changes")) == {b"a": 2, b"b": 2}
    assert [key for _, key, _ in given.written("letters")] == [b"log/7/13", b"log/7/15"]
    assert all(b"profile_too_large" in (value or b"") for _, _, value in given.written("letters"))
    assert given.runner.state == {b"a": b"2", b"b": b"2"}
    assert given.partition.offset == 15
    assert positions.decode(given.written("changelog")[-1][2] or b"").offset == 15


class TellingRunner(ToyRunner):
    """Each record tells another profile as many bytes as its key says; the position has `origins` sources in it."""

    origins = 0

    def fold(self, records: Any) -> ToyFold:
        fold = super().fold(records)
        fold.appends = [(None, b"other", b"x" * int(key)) for _, key, _ in records if not key.startswith(b"~")]
        position = positions.decode(fold.position)
        position.origins = {f"source/{number}": 1 for number in range(self.origins)}
        fold.position = positions.encode(position)
        return fold


def events(first: int, keys: list[bytes]) -> FakeBatch:
    """A batch of real records."""
    batch = FakeBatch(first, keys)
    for message in batch.messages:
        message.value = lambda: encode(EVENT)  # type: ignore[method-assign] # a real record
    return batch


def test_record_for_another_profile_too_large_for_the_log_is_refused_and_no_other() -> None:
    given = Given(runner=TellingRunner)
    given.process(events(10, [b"5", b"3000", b"6"]))
    assert [len(value or b"") for _, _, value in given.written("log")] == [5, 6]
    [(_, key, letter)] = given.written("letters")
    assert key == b"log/7/11"
    assert b'"too_large"' in (letter or b"")
    assert b"what it tells other has 3000 bytes, more than log takes" in (letter or b"")
    assert positions.decode(given.written("changelog")[-1][2] or b"").offset == 12
    assert given.runner.state == {b"5": b"1", b"6": b"1"}


def test_without_the_look_at_sizes_such_a_record_reaches_the_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a broker refuses it whenever it is tried."""
    monkeypatch.setattr(module, "too_large", lambda *_: None)
    given = Given(runner=TellingRunner)
    given.process(events(10, [b"5", b"3000", b"6"]))
    assert 3_000 in [len(value or b"") for _, _, value in given.written("log")]


def test_what_would_be_a_huge_transaction_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "WRITTEN", 1_000)
    given = Given(runner=TellingRunner)
    given.process(events(0, [b"900", b"800", b"700"]))
    assert len(given.producer.committed) == 3
    assert [len(value or b"") for _, _, value in given.written("log")] == [900, 800, 700]
    assert given.partition.offset == 2


def test_position_too_large_is_said_at_once() -> None:
    given = Given(runner=TellingRunner)
    given.runner.origins = 200  # type: ignore[attr-defined] # TellingRunner
    with pytest.raises(ClusterError, match=r"the position has \d+ bytes, more than max.message.bytes of changelog"):
        given.process(events(0, [b"5"]))
    assert given.producer.committed == []


def test_batch_that_is_aborted_again_is_done_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    given = Given(*[Aborted("took too long")] * module.DIVIDED, None, None)
    given.process(FakeBatch(0, [b"a", b"a", b"b"]))
    assert given.written("changes") == [(None, b"a", b"1"), (None, b"a", b"2"), (None, b"b", b"1")]
    assert len(given.producer.committed) == 2
    assert given.partition.offset == 2


def test_part_of_a_batch_that_is_let_go_is_not_passed_over() -> None:
    given = Given(Aborted("x"), runner=FullRunner)
    given.partition.number = 7
    batch = FakeBatch(0, [b"a", b"a", b"a"])

    async def check() -> None:
        given.partition.stop()
        await given.partition.process(batch)  # type: ignore[arg-type] # a fake

    asyncio.run(check())
    assert given.producer.committed == []


def test_profile_too_large_by_time_is_said_and_not_lost() -> None:
    given = Given(runner=FullRunner)
    with pytest.raises(ClusterError, match=r"the profile sleeper has 1900 bytes.*changelog"):
        given.process(FakeBatch(0, [TICK_KEY]))
    assert given.producer.committed == []
