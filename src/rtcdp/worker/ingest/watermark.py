"""The low watermark: nothing appended to a source before it is still on its way. Ticks carry it, never simply the clock.

`Watermark` reads it from `ingest-progress`; `Ends` asks the brokers where the sources end, which is how ingest knows that
it has read everything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from rtcdp.monitoring.metrics import now_ms
from rtcdp.servers.cluster import Cluster, cause, ends
from rtcdp.settings.config import Settings
from rtcdp.worker.ingest.lanes import Empty, End
from rtcdp.worker.ingest.progress import ProgressTable

logger = logging.getLogger(__name__)

ASK_S = 0.2
EMPTY_S = 2.0
EMPTY_AGAIN_S = 1.0
Partition = tuple[str, int]


class Watermark:
    """The low watermark of all sources in `arrival` mode, as far as ingest has published it, less the grace.

    table:    `ingest-progress`.
    expected: source partitions that must have spoken, by `source_name`; none: time moves only with the data.
    grace_ms: how far to stay behind.
    """

    def __init__(self, table: ProgressTable, expected: Iterable[str], grace_ms: int) -> None:
        self._table = table
        self._expected = frozenset(expected)
        self._topics = frozenset(source.rpartition("/")[0] for source in self._expected)
        self._grace = grace_ms
        self._revision = -1
        self._value: int | None = None

    @property
    def simulated(self) -> bool:
        """Whether there is none, because every source runs in `event` mode."""
        return not self._expected

    def now(self) -> int | None:
        """Milliseconds; None while a source partition has not spoken yet; 0 where every source runs in `event` mode.

        It never goes back: a new owner of a source partition may publish an older one.
        """
        if not self._expected:
            return 0
        revision = self._table.revision
        if revision != self._revision:
            self._revision = revision
            found = self._lowest()
            if found is not None:
                self._value = max(self._value or 0, found - self._grace)
        return self._value

    def _lowest(self) -> int | None:
        entries = dict(self._table.entries)
        # Partitions added to a source later speak without being expected.
        sources = self._expected | {source for source in entries if source.rpartition("/")[0] in self._topics}
        lowest = min(entries[source].watermark if source in entries else 0 for source in sources)
        return lowest or None


def expected_sources(settings: Settings, cluster: Cluster) -> list[str]:
    """The source partitions that the watermark is the least of: those in `arrival` mode, and then `commands` too."""
    topics = [source.topic for source in settings.sources if source.time == "arrival"]
    return [name for topic in [*topics, *([settings.commands] if topics else [])] for name in cluster.sources(topic)]


class Ends:
    """Asks, several times a second and in a thread, where the watched source partitions end.

    kafka: librdkafka's options for reaching the cluster.
    group: name in the client's logs; no group is joined.
    told:  called in that thread after each answer.

    A source with transactional producers ends in markers that no reader ever gets: `look_closer` has a partition read from
    an offset to see whether anything is left in it at all.
    """

    def __init__(
        self, kafka: Mapping[str, Any], group: str, interval: float = ASK_S, told: Callable[[], None] = lambda: None
    ) -> None:
        self._kafka = dict(kafka)
        self._told = told
        self._group = group
        self._interval = interval
        self._watched: frozenset[Partition] = frozenset()
        self._doubtful: dict[Partition, int] = {}
        self._tried: dict[Partition, float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.found: dict[Partition, End] = {}
        self.empty: dict[Partition, Empty] = {}

    def watch(self, partitions: Iterable[Partition]) -> None:
        """Ask about these from now on, and no others."""
        self._watched = frozenset(partitions)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="source-ends", daemon=True)
            self._thread.start()

    def look_closer(self, partition: Partition, start: int) -> None:
        """Find out whether anything can be read from `start` on; the answer comes in `empty`."""
        self._doubtful[partition] = start

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        admin = AdminClient({**self._kafka, "log_level": 0})
        while not self._stopping.wait(self._interval):
            try:
                self._ask(admin)
                self._told()
            except KafkaException as failure:  # the watermark stands still meanwhile, as it must
                logger.warning("the ends of the sources cannot be asked: %s", cause(failure).str())
                self._stopping.wait(1.0)

    def _ask(self, admin: AdminClient) -> None:
        watched = self._watched
        asked = now_ms()
        found = {partition: End(offset, asked) for partition, offset in ends(admin, watched).items()}
        self.found = {**{partition: end for partition, end in self.found.items() if partition in watched}, **found}
        for partition in list(self._doubtful):
            start = self._doubtful.pop(partition)
            if partition in watched and monotonic() - self._tried.get(partition, 0.0) >= EMPTY_AGAIN_S:
                self._tried[partition] = monotonic()
                self._look(partition, start)

    def _look(self, partition: Partition, start: int) -> None:
        topic, number = partition
        consumer = Consumer(
            {
                **self._kafka,
                "group.id": self._group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )
        try:
            consumer.assign([TopicPartition(topic, number, start)])
            message = consumer.poll(EMPTY_S)
            error = None if message is None else message.error()
            # The end under read_committed: an open transaction lies behind it, not before it.
            if message is not None and error is not None and error.code() == KafkaError._PARTITION_EOF:
                self.empty[partition] = Empty(start, message.offset() or start)
        finally:
            consumer.close()
