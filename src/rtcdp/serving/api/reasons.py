"""Why a definition has its value: the profile is read from the changelog at the offset that its view came from."""

from __future__ import annotations

from threading import Lock
from time import monotonic

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import ClusterError, RtcdpError, SettingError
from rtcdp.explanation.explained import Explanation
from rtcdp.explanation.explaining import UnknownName
from rtcdp.position import Position
from rtcdp.projector.feed import Feed
from rtcdp.queries.inspection import Stored, partition_of
from rtcdp.queries.why import explanation_from
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer, opened
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.problems import Problem
from rtcdp.settings.config import Settings
from rtcdp.transport.failures import cause
from rtcdp.transport.settings import fetch_conf

READ_S = 5.0
KEPT_S = 5.0
"""A partition's position is read again after so long: it tells the time up to which nothing has changed."""


class Reasons:
    """Explains, one question at a time. Blocks: call it in a thread."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._sealer: Sealer | None = None
        self._topic = settings.changelog
        self._catalogue = catalogue
        options = fetch_conf(settings.kafka(), f"{settings.app}-why", 100) | {"auto.offset.reset": "earliest", "log_level": 0}
        self._consumer = Consumer(options)
        self._feed = Feed(settings.kafka(), f"{settings.app}-why")
        self._lock = Lock()
        self._partitions = 0
        self._positions: dict[int, tuple[float, Position]] = {}

    def close(self) -> None:
        """Stop reading."""
        with self._lock:
            self._consumer.close()
            self._feed.close()

    def explain(self, key: str, offset: int, name: str, at: int | None) -> Explanation:
        """Why `name` has its value for a profile.

        offset: of its record in the changelog. at: the time to answer for (ms); None: the latest that the log tells.

        Raises UnknownName, Problem.
        """
        try:
            with self._lock:
                stored = self._stored(key, offset)
        except (ClusterError, SettingError, KafkaException) as error:
            words = str(error) if isinstance(error, RtcdpError) else cause(error).str()
            raise Problem(503, f"Kafka: {words}", retry_s=1) from None
        passed = [switch.version for switch in stored.position.switches if switch.number <= stored.profile.switch]
        compiled = self._catalogue.compiled(passed[-1]) if passed else None
        if compiled is None:
            raise Problem(503, "the definitions that the profile was folded under are not known here", retry_s=5)
        try:
            return explanation_from(stored, compiled, name, at)
        except UnknownName:
            raise
        except RtcdpError as error:
            raise Problem(500, str(error)) from None

    def _stored(self, key: str, offset: int) -> Stored:
        if not self._partitions:
            partitions = len(self._feed.partitions([self._topic]))
            self._sealer = sealer_of(self._settings, partitions)
            self._partitions = partitions
        number = partition_of(key.encode(), self._partitions)
        value = self._record(number, key.encode(), offset)
        return Stored(profiles.decode(key, value), self._position(number), len(value))

    def _record(self, number: int, key: bytes, offset: int) -> bytes:
        """The profile's record at this offset, else the next one of it: compaction removes it only when there is one."""
        name = key if self._sealer is None else self._sealer.name(key).name
        self._consumer.assign([TopicPartition(self._topic, number, offset)])
        deadline = monotonic() + READ_S
        try:
            while (left := deadline - monotonic()) > 0:
                message = self._consumer.poll(left)
                if message is None or message.error() is not None:
                    continue
                if message.key() == name:
                    (found,) = opened([(name, message.value())], self._sealer)
                    if found is not None and found[1]:
                        return found[1]
        finally:
            self._consumer.unassign()
        raise Problem(503, "the profile is being written: ask again", retry_s=1)

    def _position(self, number: int) -> Position:
        read, position = self._positions.get(number, (0.0, Position()))
        if monotonic() - read > KEPT_S:
            found = self._feed.newest_positions([(self._topic, number)])
            position = positions.decode(found[self._topic, number]) if found else Position()
            self._positions[number] = monotonic(), position
        return position
