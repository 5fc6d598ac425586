"""What ingest writes: clean events into `profile-events`, what cannot be repaired into `events-dlq`, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from confluent_kafka import Message

from rtcdp.errors import Stalled, Unfit
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Refused
from rtcdp.ingestion.letters import RECORD_OVERHEAD, dead_letter, record
from rtcdp.monitoring.metrics import Metrics
from rtcdp.monitoring.tracing import HEADER
from rtcdp.outputs import Origin
from rtcdp.sealing.sealer import OVERHEAD as SEALING_OVERHEAD
from rtcdp.sealing.stores import KeysAway
from rtcdp.servers.cluster import Cluster
from rtcdp.settings.config import Settings
from rtcdp.transport.gapless import GaplessProducer
from rtcdp.worker.border import Border

Results = Sequence[Accepted | Refused]
Made = tuple[bytes, bytes, int]
"""A record of the log: key, value, offset of what it was made of."""


class LogWriter:
    """Produces what the records of the sources became. Used from the event loop only.

    border: seals, where personal data is encrypted.

    `target` is `profile-events`; `room` the largest key and value together (bytes) that it takes, sealed where they are.
    """

    def __init__(
        self, settings: Settings, cluster: Cluster, producer: GaplessProducer, metrics: Metrics, border: Border | None
    ) -> None:
        self.target = settings.profile_events
        self.room = cluster.max_message_bytes[self.target] - RECORD_OVERHEAD
        if border is not None:
            self.room -= SEALING_OVERHEAD
        self._letters = settings.events_dlq
        self._letter_limit = cluster.max_message_bytes[self._letters]
        self._topic_ids = cluster.topic_ids
        self._patience = float(settings.stall_s)
        self._producer = producer
        self._metrics = metrics
        self._border = border

    def write(
        self, ingestor: Ingestor, results: Results, messages: Sequence[Message], source: str, parents: Mapping[int, bytes]
    ) -> Counter[str]:
        """Queue what consecutive messages of one source have become; returns how many were refused, by reason.

        parents: recorded trace contexts, by offset, to be handed on.
        """
        dead: Counter[str] = Counter()
        made: list[Made] = []
        count, room = 0, self.room
        sealed = None if self._border is None else self._sealed(self._border, results)
        for result, message in zip(results, messages, strict=True):
            if type(result) is Accepted:
                key, value = result.key, result.value
                if len(key) + len(value) <= room:
                    count += 1
                    if sealed is None and not parents:
                        made.append((key, value, message.offset()))  # type: ignore[arg-type] # a fetched message has an offset
                    else:
                        self._produce_one(message, key, value, source, sealed, parents)
                    continue
                unfit, letter = Unfit("too_large", f"{len(value)} bytes once cleaned, {self.target} takes {room}"), True
            else:
                unfit, letter = result.unfit, result.letter  # type: ignore[union-attr] # one of the two
            self._produce_all(made, source)
            dead[unfit.reason] += 1
            if letter:
                self.bury(message, source, unfit)
            else:
                self._producer.skip(source, message.offset() or 0)
        self._produce_all(made, source)
        self._metrics.written({"profile_events": count})
        if ingestor.counts:
            self._metrics.fixed(ingestor.counts)
            ingestor.counts.clear()
        return dead

    def bury(self, message: Message, source: str, unfit: Unfit) -> None:
        """Queue the dead letter of a source's message."""
        offset, topic = message.offset() or 0, message.topic() or ""
        topic_id = self._topic_ids[topic]
        letter = dead_letter(
            unfit,
            Origin(
                topic=topic, topic_id="" if topic_id == topic else topic_id, partition=message.partition() or 0, offset=offset
            ),
            message.key(),
            message.value(),
            message.timestamp()[1],
            self._letter_limit,
            headers=message.headers(),
        )
        key, value = record(letter)
        self._produce(self._letters, key, value, source=source, offset=offset)
        self._metrics.written({"events_dlq": 1})

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, *, source: str, offset: int, partition: int | None = None
    ) -> None:
        """As `GaplessProducer.produce`; what is about a person is sealed. Raises BufferError also without a key store."""
        if partition is None and key is not None and value is not None and self._border is not None:
            sealer = self._border.sealer
            try:
                partition = sealer.name(key).partition
                key, value = sealer.seal_record(key, value)
            except KeysAway as error:
                raise BufferError(str(error)) from None
        self._producer.produce(topic, key, value, source=source, offset=offset, partition=partition)

    def skip(self, source: str, offset: int) -> None:
        """As `GaplessProducer.skip`."""
        self._producer.skip(source, offset)

    def _produce_all(self, made: list[Made], source: str) -> None:
        """Queue the records and forget them here: what comes after them may be something else."""
        while made:
            queued = self._producer.produce_all(self.target, made, source=source)
            del made[:queued]
            if made:
                self._wait_for_room()

    def _produce_one(
        self,
        message: Message,
        key: bytes,
        value: bytes,
        source: str,
        sealed: Iterator[tuple[int, bytes, bytes]] | None,
        parents: Mapping[int, bytes],
    ) -> None:
        """An event that is sealed, or that headers go with."""
        options: dict[str, Any] = {}
        offset = message.offset() or 0
        if sealed is not None:
            options["partition"], key, value = next(sealed)
        if offset in parents:
            options["headers"] = [(HEADER, parents[offset])]
        self._produce(self.target, key, value, source=source, offset=offset, **options)

    def _produce(self, topic: str, key: bytes, value: bytes, **options: Any) -> None:
        try:
            self._producer.produce(topic, key, value, **options)
        except BufferError:
            self._wait_for_room()
            self._producer.produce(topic, key, value, **options)

    def _sealed(self, border: Border, results: Results) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, outer key and sealed value of each event that fits, in order."""
        accepted = [one for one in results if isinstance(one, Accepted)]
        entries = [(one.key, one.value) for one in accepted if len(one.key) + len(one.value) <= self.room]
        name = border.sealer.name
        sealed = zip(entries, border.sealer.seal_all(entries), strict=True)
        return ((name(key).partition, *record) for (key, _), record in sealed)

    def _wait_for_room(self) -> None:
        """The client's queue is full: what may be in flight is far below its count, so these are very large records."""
        deadline = monotonic() + self._patience
        before = self._producer.in_flight
        while self._producer.in_flight >= before:
            self._producer.poll(0.05)
            if monotonic() > deadline:
                raise Stalled(f"{self.target} took no record for {self._patience:.0f} s")
