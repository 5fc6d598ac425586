"""A producer that keeps the order and leaves no hole, and knows up to where its sources are done.

`GaplessProducer` is idempotent, retries for ever and ends fatally rather than skip a record. For each source (a partition
that is read) it knows the highest offset up to which everything made of it is acknowledged: the one that may be committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from rtcdp.errors import ClusterError, Stalled
from rtcdp.transport.failures import DENIED
from rtcdp.transport.settings import gapless_conf

CHUNK = 128
"""Records of a source that are acknowledged together: one callback object instead of one per record."""


class _Chunk:
    """Consecutive records of one source; done when every record produced for them is acknowledged."""

    __slots__ = ("last", "left", "owner", "size")

    def __init__(self, owner: GaplessProducer) -> None:
        self.owner = owner
        self.last = -1
        self.size = 0
        self.left = 0

    def took(self, produced: int, last: int) -> None:
        self.left += produced
        self.size += produced
        self.last = last

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.left -= 1
        else:
            self.owner.failed(error, message.topic() or "")


class GaplessProducer:
    """Produces without holes and tracks acknowledgements per source. Not thread-safe: use it from one thread.

    conf: librdkafka's options for reaching the cluster; the pinned ones (`settings.gapless_conf`) are put on top.
    extra: options to put on top of those, for tests and tuning.

    """

    def __init__(self, conf: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> None:
        self._producer = Producer({**gapless_conf(conf), "error_cb": self._on_error, **(extra or {})})
        self._chunks: dict[str, deque[_Chunk]] = {}
        self._acknowledged: dict[str, int] = {}
        self._forgotten: list[_Chunk] = []
        self._error: Exception | None = None

    @property
    def in_flight(self) -> int:
        """How many records are not yet acknowledged; callers bound it."""
        self._forgotten = [chunk for chunk in self._forgotten if chunk.left]
        return sum(chunk.left for chunks in (*self._chunks.values(), self._forgotten) for chunk in chunks)

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        source: str,
        offset: int,
        partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Queue a record made of `source`'s record at `offset`.

        partition: where to; None: by murmur2 of the key.
        A source's offsets must not go down; several records may carry the same one.

        Raises BufferError when librdkafka's queue is full (poll, then call again: nothing was queued), Stalled or
        ClusterError when the producer cannot go on, and KafkaException for a record that it cannot take at all.
        """
        if self._error is not None:
            raise self._error
        chunk = self._chunk(source)
        options: dict[str, Any] = {}
        if partition is not None:
            options["partition"] = partition
        if headers:
            options["headers"] = headers
        self._producer.produce(topic, value, key, on_delivery=chunk.delivered, **options)
        chunk.took(1, offset)

    def produce_all(self, topic: str, records: Sequence[tuple[bytes, bytes, int]], *, source: str) -> int:
        """As `produce` for many records (key, value, offset of what each was made of) of one source, at a third of the cost.

        Returns how many were queued: fewer than given where librdkafka's queue is full (poll, then give it the others).
        Raises as `produce`; the records before the one that raised are queued.
        """
        if self._error is not None:
            raise self._error
        produce, chunk, made = self._producer.produce, self._chunk(source), 0
        delivered = chunk.delivered  # reports come in `poll` and `flush` only, so not before the chunk knows of its records
        try:
            for key, value, _ in records:
                produce(topic, value, key, -1, delivered)
                made += 1
        except BufferError:
            return made
        finally:
            if made:
                chunk.took(made, records[made - 1][2])
        return made

    def skip(self, source: str, offset: int) -> None:
        """`source`'s record at `offset` is done and made nothing (or nothing more)."""
        chunk = self._chunk(source)
        chunk.took(0, offset)
        chunk.size += 1

    def acknowledged(self) -> dict[str, int]:
        """For each source the highest offset up to which everything is acknowledged; sources with none are absent."""
        for source, chunks in self._chunks.items():
            while chunks and not chunks[0].left:
                chunk = chunks.popleft()
                if chunk.size:  # else produce() raised right after opening it
                    self._acknowledged[source] = chunk.last
        return dict(self._acknowledged)

    def forget(self, source: str) -> None:
        """Drop what is known of a source (its partition was revoked); late acknowledgements change nothing."""
        self._forgotten += self._chunks.pop(source, ())
        self._acknowledged.pop(source, None)

    def poll(self, timeout: float = 0.0) -> None:
        """Serve acknowledgements, for at most `timeout` seconds.

        Raises Stalled or ClusterError when the producer cannot go on.
        """
        self._producer.poll(timeout)
        if self._error is not None:
            raise self._error

    def flush(self, timeout: float) -> int:
        """Wait until everything is acknowledged, at most `timeout` seconds; returns how much still is not.

        Raises as `poll`.
        """
        left: int = self._producer.flush(timeout)
        if self._error is not None:
            raise self._error
        return left

    def _chunk(self, source: str) -> _Chunk:
        chunks = self._chunks.get(source)
        if chunks is None:
            chunks = self._chunks[source] = deque()
        if not chunks or chunks[-1].size >= CHUNK:
            chunks.append(_Chunk(self))
        return chunks[-1]

    def failed(self, error: KafkaError, topic: str) -> None:
        """A record could not be delivered: nothing more can be, or there would be a hole."""
        if self._error is None:
            kind = ClusterError if error.code() in DENIED else Stalled
            self._error = kind(f"producing to {topic} failed for good: {error.str()} ({error.name()})")

    def _on_error(self, error: KafkaError) -> None:
        # Brokers going away and coming back are reported here too: only what is fatal ends the process.
        if error.fatal() and self._error is None:
            self._error = Stalled(f"the ingest producer cannot go on: {error.str()} ({error.name()})")
