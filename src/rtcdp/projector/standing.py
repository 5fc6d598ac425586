"""How far a projection is: told twice a second to Redis, the metrics and readiness, whether or not anything arrives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from rtcdp.monitoring.metrics import now_ms
from rtcdp.projector.measures import Measures
from rtcdp.servers.cluster import ends
from rtcdp.sinks.redis import Lost, RedisSink

logger = logging.getLogger(__name__)

LOOK_S = 0.5
Place = tuple[str, int]
"""Topic and partition."""


class Standing(msgspec.Struct):
    """How far one partition is; the value in the hash `progress`.

    position: everything before this offset is in the views.
    end:      the offset after its last record, when that was asked last.
    as_of:    the views show everything that was there at this instant (ms); 0: not known.
    """

    position: int = 0
    end: int = -1
    as_of: int = 0

    @property
    def lag(self) -> int:
        """Records that are not in the views yet (markers of transactions included)."""
        return max(0, self.end - self.position)


class Standings:
    """The standing of every partition. Thread-safe: one thread moves them, another looks at the ends and tells.

    essential: the topic without whose every partition the views are not whole.
    """

    def __init__(self, kafka: Mapping[str, Any], sink: RedisSink, measures: Measures, essential: str) -> None:
        self._admin = AdminClient({**kafka, "log_level": 0})
        self._sink = sink
        self._measures = measures
        self._essential = essential
        self._lock = threading.Lock()
        self._found: dict[Place, Standing] = {}
        self._at_end: set[Place] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: Exception | None = None

    def begin(self, offsets: Mapping[Place, int]) -> None:
        """A new session reads from these offsets on."""
        with self._lock:
            self._found = {place: Standing(position) for place, position in offsets.items()}
            self._at_end.clear()
            self.lost = None

    def moved(self, place: Place, position: int, appended: int) -> None:
        """Everything before `position` is in the views; the last of it was appended at `appended` (ms)."""
        with self._lock:
            standing = self._found[place]
            standing.position = max(standing.position, position)
            standing.as_of = max(standing.as_of, appended)

    def reached(self, places: Iterable[tuple[Place, int]]) -> None:
        """The end of these partitions was reached, at this offset."""
        with self._lock:
            for place, end in places:
                self._found[place].position = max(self._found[place].position, end)
                self._at_end.add(place)

    @property
    def complete(self) -> bool:
        """Whether every essential partition has been at its end in this session."""
        with self._lock:
            essential = {place for place in self._found if place[0] == self._essential}
            return bool(essential) and essential <= self._at_end

    def look(self) -> None:
        """Ask for the ends and tell. Raises Lost, redis errors."""
        with self._lock:
            places = list(self._found)
        asked = now_ms()
        try:
            found = ends(self._admin, places)
        except KafkaException as error:
            logger.warning("Kafka does not say where its partitions end: %s", error)
            found = {}
        complete = self.complete
        told: dict[str, Standing] = {}
        with self._lock:
            for place, standing in self._found.items():
                end = found.get(place)
                if end is not None:
                    standing.end = end
                    if standing.position >= end:
                        standing.as_of = asked
                told[f"{place[0]}/{place[1]}"] = msgspec.structs.replace(standing)
        self._measure(told, asked, complete=complete)
        self._sink.beat()
        self._sink.tell(told, complete=complete)

    def start(self, looked: Callable[[bool], None]) -> None:
        """Look twice a second in a thread; `looked` is told whether all is complete. A loss is left in `lost`."""
        self._thread = threading.Thread(target=self._run, args=(looked,), name="standing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self, looked: Callable[[bool], None]) -> None:
        while not self._stopped.wait(LOOK_S):
            if not self._found or self.lost is not None:
                continue
            try:
                self.look()
            except (Lost, redis.RedisError) as error:
                self.lost = error
            looked(self.complete and self.lost is None)

    def _measure(self, told: Mapping[str, Standing], now: int, *, complete: bool) -> None:
        measures = self._measures
        measures.complete.set(complete)
        for name, standing in told.items():
            topic, _, partition = name.rpartition("/")
            measures.lag.labels(topic, partition).set(standing.lag)
        essential = (one.as_of for name, one in told.items() if name.rpartition("/")[0] == self._essential)
        oldest = min(essential, default=0)
        measures.behind.set((now - oldest) / 1_000 if oldest else 0)
