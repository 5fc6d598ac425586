"""Throughput and latency of a peer against a real Kafka, every output checked.

Throughput: the input lies ready, the peer starts; time is the broker's (append time of the outputs), from the output of the
event at 10 % of the input to the last one, so that start-up and prefetch are outside. CPU is the process tree's, same span.
Latency: from produce() here to poll() here of an output, events at a fixed rate, after a warm-up; CPU over the same span.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import psutil
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import clickstream, job
from benchmarks.peers import PARTITIONS, Output, Peer, Run

ROOT = Path(__file__).parents[1]
APPENDED = {"message.timestamp.type": "LogAppendTime"}
TOPICS = {"in": {}, "out": APPENDED, "changelog": {"cleanup.policy": "compact", "max.message.bytes": "8388608"}}
QUIET_S = 1.0
STOP_S = 15.0
FIRST_OUTPUT_S = 90.0


class Failed(Exception):
    """A run that gave no figure, with the end of the peer's log."""


@dataclass(frozen=True)
class Throughput:
    """events_per_s; cpu_us per event; rss_mb at the end; start_s: to the first output; missing, extra, repeated outputs."""

    peer: str
    events_per_s: float
    cpu_us: float
    rss_mb: float
    start_s: float
    missing: int
    extra: int
    repeated: int


@dataclass(frozen=True)
class Latency:
    """Milliseconds; cpu and broker_cpu in percent of one core."""

    peer: str
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu: float
    broker_cpu: float
    samples: int


class Process:
    """A peer's process tree."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def _tree(self) -> Iterator[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            yield self._root
            yield from self._root.children(recursive=True)

    def cpu_s(self) -> float:
        """User and system time so far (s)."""
        spent = 0.0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent += times.user + times.system
        return spent

    def rss_mb(self) -> float:
        """Resident memory (MiB)."""
        held = 0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                held += process.memory_info().rss
        return held / 2**20


def reference(events: Iterable[clickstream.Event], segments: frozenset[str]) -> set[Output]:
    """The outputs of the hand-written job."""
    states: dict[str, dict[str, object]] = {}
    found: set[Output] = set()
    for event in events:
        state = states.get(event["user_id"])
        if state is None:
            state = states[event["user_id"]] = job.new()
        for change in job.process(state, event):
            if change["segment"] in segments:
                found.add((change["event_id"], change["segment"], change["change"]))
    return found


class Stage:
    """A broker to run peers on. broker_pid: 0 where it is not ours. logs: folder for the peers' output."""

    def __init__(self, bootstrap: str, broker_pid: int, logs: Path) -> None:
        self.bootstrap = bootstrap
        self.broker_pid = broker_pid
        self._logs = logs
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    @contextmanager
    def run(self, linger_ms: float = 5) -> Iterator[Run]:
        """Names and fresh topics of one run; all its topics are deleted at the end."""
        run = Run(f"b{uuid.uuid4().hex[:8]}", self.bootstrap, linger_ms)
        wanted = [NewTopic(run.topic(role), PARTITIONS, 1, config=config) for role, config in TOPICS.items()]
        for future in self._admin.create_topics(wanted).values():
            future.result(30)
        try:
            yield run
        finally:
            mine = [name for name in self._admin.list_topics(timeout=10).topics if name.startswith(run.name)]
            for future in self._admin.delete_topics(mine).values():
                with suppress(KafkaException):
                    future.result(30)

    @contextmanager
    def started(
        self, peer: str, run: Run, command: list[str], environment: dict[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The peer's process, ended in order at the end. Raises Failed where it ended by itself."""
        log = self.log(peer, run)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield process
            if process.poll() is not None:
                raise Failed(f"{peer} ended with code {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, peer: str, run: Run) -> Path:
        """Where a peer's output goes."""
        return self._logs / f"{peer.replace(' ', '-').replace(',', '')}-{run.name}.log"

    def folded(self, run: Run) -> int:
        """How many records of the input an rtcdp worker has committed, by its group's offsets.

        Asked by a consumer, which joins nothing: the admin client crashes on a group that is not there yet.
        """
        places = [TopicPartition(run.topic("in"), partition) for partition in range(PARTITIONS)]
        asking = Consumer({"bootstrap.servers": self.bootstrap, "group.id": run.name, "log_level": 2})
        try:
            return sum(max(0, place.offset) for place in asking.committed(places, 10))
        except KafkaException:
            return 0  # the group's coordinator is being found
        finally:
            asking.close()

    def producer(self, linger_ms: float) -> Producer:
        """The one that feeds a peer."""
        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 2,
                "enable.idempotence": True,
                "linger.ms": linger_ms,
                "queue.buffering.max.messages": 500_000,
                "partitioner": "murmur2_random",
            }
        )

    def feed(self, topic: str, rows: Iterable[clickstream.Row]) -> None:
        """Put all rows into a topic."""
        producer = self.producer(20)
        for place, (key, value) in enumerate(rows):
            while len(producer) > 300_000:
                producer.poll(0.05)
            producer.produce(topic, key=key, value=value)
            if place % 1000 == 0:
                producer.poll(0)
        producer.flush()

    def observer(self, topic: str) -> Consumer:
        """Reads committed outputs as they come."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": topic, "fetch.wait.max.ms": 50, "enable.auto.commit": False}
        )
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        return consumer


def throughput(
    stage: Stage,
    peer: Peer,
    count: int,
    expected: set[Output],
    limit_s: float = 300,
    rows: Iterable[clickstream.Row] | None = None,
) -> Throughput:
    """Run a peer over `count` events; `expected`: the reference outputs for its segments. Raises Failed.

    rows: the events as the peer reads them; None: they are made.
    """
    with stage.run() as run:
        stage.feed(run.topic("in"), (peer.encode(event) for event in clickstream.events(count)) if rows is None else rows)
        observer = stage.observer(run.topic("out"))
        began = time.time()
        try:
            with stage.started(peer.name, run, *peer.start(run)) as process:
                return _observe(peer, process, observer, count, expected, began, limit_s)
        finally:
            observer.close()


def _observe(
    peer: Peer,
    process: subprocess.Popen[bytes],
    observer: Consumer,
    count: int,
    expected: set[Output],
    began: float,
    limit_s: float,
) -> Throughput:
    watched = Process(process.pid)
    got: set[Output] = set()
    appended: list[tuple[int, int]] = []
    cpu = [(began * 1000, 0.0)]
    repeated, complete = 0, 0.0
    while process.poll() is None and time.time() < began + limit_s:
        messages = observer.consume(5000, 0.1)
        now = time.time()
        cpu.append((now * 1000, watched.cpu_s()))
        for message in messages:
            output = None if message.error() else peer.decode(message.value())
            if output is None or output[1] not in peer.segments:
                continue
            repeated += output in got
            got.add(output)
            appended.append((message.timestamp()[1], clickstream.number(output[0])))
        if len(got) >= len(expected):
            complete = complete or now
            if now - complete > QUIET_S:
                break
    if len(got) < len(expected):
        raise Failed(f"{peer.name}: {len(got)} of {len(expected)} outputs, {len(got - expected)} of them wrong")
    appended.sort()
    end = appended[-1][0]
    start, first = next((at, place) for at, place in appended if place >= count // 10)
    spent = _at(cpu, end) - _at(cpu, start)
    return Throughput(
        peer.name,
        events_per_s=(count - first) / max((end - start) / 1000, 0.001),
        cpu_us=spent / (count - first) * 1e6,
        rss_mb=watched.rss_mb(),
        start_s=appended[0][0] / 1000 - began,
        missing=len(expected - got),
        extra=len(got - expected),
        repeated=repeated,
    )


def _at(samples: list[tuple[float, float]], when: float) -> float:
    return next((value for at, value in samples if at >= when), samples[-1][1])


def hot(peer: Peer) -> Iterator[clickstream.Event]:
    """Events of the users whose profile lies in partition 0 only."""
    for event in clickstream.events(400_000):
        key = clickstream.profile_key(event["user_id"]) if peer.name.startswith("rtcdp") else event["user_id"].encode()
        if (murmur2(key) & 0x7FFFFFFF) % PARTITIONS == 0:
            yield event


def latency(stage: Stage, peer: Peer, rate: float, seconds: float, *, skewed: bool = False) -> Latency:
    """Send `rate` events a second for `seconds`. skewed: one partition hot, the rest idle. Raises Failed."""
    count = int(rate * seconds) + 20_000
    source = itertools.islice(hot(peer) if skewed else clickstream.events(400_000), count)
    rows = [(event["event_id"], *peer.encode(event)) for event in source]
    with stage.run(linger_ms=1) as run:
        observer = stage.observer(run.topic("out"))
        producer = stage.producer(0)
        try:
            with stage.started(peer.name, run, *peer.start(run)) as process:
                sender = _Sender(stage, peer, run.topic("in"), producer, observer, rows, Process(process.pid))
                sender.warm_up(process)
                return sender.measure(rate, seconds)
        finally:
            producer.flush(5)
            observer.close()


class _Sender:
    """Sends at a rate and watches for outputs, in one thread, as a caller would."""

    def __init__(
        self,
        stage: Stage,
        peer: Peer,
        topic: str,
        producer: Producer,
        observer: Consumer,
        rows: list[tuple[str, bytes, bytes]],
        watched: Process,
    ) -> None:
        self._peer, self._topic, self._producer, self._observer = peer, topic, producer, observer
        self._rows = iter(rows)
        self._watched = watched
        self._broker = Process(stage.broker_pid) if stage.broker_pid else None
        self._sent: dict[str, float] = {}

    def _send(self) -> None:
        name, key, value = next(self._rows)
        self._sent[name] = time.perf_counter()
        self._producer.produce(self._topic, key=key, value=value)

    def warm_up(self, process: subprocess.Popen[bytes]) -> None:
        """50 events a second until the first output."""
        began = time.monotonic()
        sent = 0
        while process.poll() is None and time.monotonic() < began + FIRST_OUTPUT_S:
            if time.monotonic() - began > sent / 50:
                self._send()
                sent += 1
            self._producer.poll(0)
            if any(not message.error() for message in self._observer.consume(500, 0.01)):
                return
        raise Failed(f"{self._peer.name}: no output in {FIRST_OUTPUT_S:.0f} s, exit code {process.poll()}")

    def _spent(self) -> tuple[float, float, float]:
        return time.perf_counter(), self._watched.cpu_s(), self._broker.cpu_s() if self._broker else 0.0

    def measure(self, rate: float, seconds: float) -> Latency:
        """The figures, over the time after the first 6 s (or a third)."""
        began = time.perf_counter()
        warm, end = began + min(6.0, seconds / 3), began + seconds
        before: tuple[float, float, float] | None = None
        after = self._spent()
        found: list[float] = []
        sent = 0
        while (now := time.perf_counter()) < end + 1.5:
            if before is None and now > warm:
                before = self._spent()
            while now < end and sent < (now - began) * rate:
                self._send()
                sent += 1
            if now < end and sent % 100 == 0:
                after = self._spent()
            self._producer.poll(0)
            for message in self._observer.consume(500, 0.0005):
                output = None if message.error() else self._peer.decode(message.value())
                at = self._sent.get(output[0]) if output else None
                if at is not None and warm < at < end:
                    found.append(time.perf_counter() - at)
        if before is None or len(found) < 20:
            raise Failed(f"{self._peer.name}: only {len(found)} outputs at {rate:.0f} events/s")
        cuts = [cut * 1000 for cut in quantiles(found, n=100)]
        wall = after[0] - before[0]
        return Latency(
            self._peer.name,
            p50_ms=cuts[49],
            p99_ms=cuts[98],
            max_ms=max(found) * 1000,
            cpu=(after[1] - before[1]) / wall * 100,
            broker_cpu=(after[2] - before[2]) / wall * 100,
            samples=len(found),
        )
