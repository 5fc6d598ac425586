"""A back-test over the newest part of the log, bounded in records and in time: what `rtcdp serve` does for a draft.

It is done by a child process, so that answers to others never wait for it, and so that it can be ended at any moment.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from rtcdp.errors import ClusterError, RtcdpError, SettingError
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import definitions_from_normal
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings
from rtcdp.simulate.comparing import Backtest, compare
from rtcdp.simulate.history import METADATA_S, TOPIC, History
from rtcdp.simulate.measuring import measure

NICENESS = 10
STEPS = 12
"""Halvings by which the beginning is found: of a month, to within ten minutes."""


class Busy(Exception):
    """Another back-test is under way."""


class TooLong(Exception):
    """It took longer than it may."""


@dataclass(frozen=True)
class Job:
    """What is to be measured; a plain value, which travels to the child.

    old, new:     normal forms of the definitions.
    tenant:       whose events.
    since, until: those appended in [since, until) (ms).
    most:         records; of more, the newest.
    """

    settings: Settings
    old: str
    new: str
    tenant: str
    since: int
    until: int
    most: int


@dataclass(frozen=True)
class Past:
    """What came of it. since: where the past begins that was read (ms); cut: later than was asked for."""

    found: Backtest
    since: int
    cut: bool


class Backtests:
    """Makes back-tests, one at a time.

    most_s: how long one may take (s).
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._one = threading.Lock()
        self._child: BaseProcess | None = None

    def make(self, job: Job) -> Past:
        """Measure; blocks. Raises Busy, TooLong, ClusterError, SettingError."""
        if not self._one.acquire(blocking=False):
            raise Busy
        try:
            return self._made(job)
        finally:
            self._child = None
            self._one.release()

    def close(self) -> None:
        """End one that is under way: its caller gets a ClusterError."""
        child = self._child
        if child is not None:
            child.kill()

    def _made(self, job: Job) -> Past:
        context = get_context("spawn")
        mine, its = context.Pipe(duplex=False)
        child = self._child = context.Process(target=_work, args=(its, job), daemon=True, name="backtest")
        child.start()
        its.close()  # so that its end is seen here
        deadline = monotonic() + self._most_s
        try:
            if not mine.poll(max(0.0, deadline - monotonic())):
                raise TooLong
            found: Past | RtcdpError = mine.recv()
        except EOFError:
            raise ClusterError("the back-test was ended") from None
        finally:
            child.kill()
            child.join()
            mine.close()
        if isinstance(found, RtcdpError):
            raise found
        return found


def _work(answer: Connection, job: Job) -> None:
    """The child: measure, answer, end."""
    os.nice(NICENESS)
    try:
        found: Past | RtcdpError = measured(job)
    except (ClusterError, SettingError) as error:
        found = error
    except Exception as error:  # noqa: BLE001 - its text may quote an event, and would be on standard error
        found = ClusterError(f"the back-test failed ({type(error).__name__})")
    with suppress(BrokenPipeError):  # nobody waits for it any more
        answer.send(found)


def measured(job: Job) -> Past:
    """Both versions over the same past, read once. Raises ClusterError, SettingError."""
    since = beginning(job)
    new, old = definitions_from_normal(job.new), definitions_from_normal(job.old)
    settings = job.settings
    past = History(
        TOPIC + settings.profile_events, is_log=True, kafka=settings.kafka(), settings=settings, since=since, until=job.until
    )
    mine = f"{job.tenant}/".encode()
    rows = [row for row in past.rows(new) if row[0].startswith(mine)]
    found = compare(measure(compile_definitions(new), rows), measure(compile_definitions(old), rows))
    return Past(found, since, since > job.since)


def beginning(job: Job) -> int:
    """From when on (ms) the log has at most `most` records, not before `since`. Raises ClusterError."""
    name = job.settings.profile_events
    consumer = Consumer({**job.settings.kafka(), "group.id": "rtcdp-backtest", "enable.auto.commit": False, "log_level": 0})
    try:
        return _beginning(consumer, name, job)
    except KafkaException as failure:
        raise ClusterError(f"{name} cannot be read: {cause(failure).str()}") from failure
    finally:
        consumer.close()


def _beginning(consumer: Consumer, name: str, job: Job) -> int:
    partitions = sorted(consumer.list_topics(name, timeout=METADATA_S).topics[name].partitions)
    ends = [consumer.get_watermark_offsets(TopicPartition(name, one), METADATA_S)[1] for one in partitions]

    def offsets(time_ms: int) -> list[int]:
        found = consumer.offsets_for_times([TopicPartition(name, one, time_ms) for one in partitions], METADATA_S)
        pairs = zip(found, ends, strict=True)
        return [end if one.offset in (OFFSET_END, -1) else int(one.offset) for one, end in pairs]

    last = offsets(job.until)

    def records(time_ms: int) -> int:
        return sum(max(0, end - first) for first, end in zip(offsets(time_ms), last, strict=True))

    early, late = job.since, job.until
    if records(early) <= job.most:
        return early
    for _ in range(STEPS):
        middle = (early + late) // 2
        if records(middle) <= job.most:
            late = middle
        else:
            early = middle
    return late
