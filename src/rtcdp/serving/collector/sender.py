"""Events to Kafka: a request is answered only when the broker has acknowledged all that it carried.

Everything happens in the event loop: librdkafka works in threads of its own, and is asked every millisecond, while something is
under way, what has become of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rtcdp.errors import Stalled
from rtcdp.serving.collector.refusals import Refusal
from rtcdp.transport.exits import leave
from rtcdp.transport.settings import Options, idempotent_conf

logger = logging.getLogger(__name__)

POLL_S = 0.001
IDLE_POLL_S = 0.5
LINGER_MS = 2
"""Requests that come together travel together."""
PROBE_S = 1.0
"""While the broker is away, one request in so many seconds is let through to find out whether it is back."""

Headers = list[tuple[str, bytes]]


class Record(msgspec.Struct, frozen=True, gc=False):
    """What becomes one record of a topic."""

    topic: str
    key: bytes | None
    value: bytes


def producer_conf(kafka: Mapping[str, Any], *, buffer_bytes: int, ack_s: int) -> Options:
    """Librdkafka's options: the buffer is bounded, and what it could not deliver in time is given up and said so."""
    return {
        **idempotent_conf(kafka),
        "message.timeout.ms": ack_s * 1_000,
        "linger.ms": LINGER_MS,
        "queue.buffering.max.kbytes": max(1, buffer_bytes >> 10),
        "queue.buffering.max.messages": 1_000_000,
        "reconnect.backoff.max.ms": 1_000,  # back soon after the broker is
        "socket.connection.setup.timeout.ms": 5_000,
        "log_level": 2,  # what it would say, this class says once
    }


class _Delivery:
    """The records of one request under way."""

    __slots__ = ("error", "future", "left", "size")

    def __init__(self, future: asyncio.Future[None], records: int, size: int) -> None:
        self.future = future
        self.left = records
        self.size = size
        self.error: KafkaError | None = None


class Sender:
    """Sends records and waits for their acknowledgement. For one event loop.

    options:  of librdkafka (`producer_conf`).
    changed:  told when the broker goes away (a sentence) and when it is back ("").
    clock:    monotonic seconds.
    """

    def __init__(
        self,
        options: Options,
        changed: Callable[[str], None],
        clock: Callable[[], float],
        fatal: Callable[[BaseException], None] = leave,
    ) -> None:
        self._producer = Producer({**options, "error_cb": self._failed})
        self._changed = changed
        self._clock = clock
        self._fatal = fatal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._away = False
        self._probed = 0.0
        self._under_way: set[_Delivery] = set()
        self.pending_bytes = 0

    @property
    def pending(self) -> int:
        """Requests that wait for an acknowledgement."""
        return len(self._under_way)

    def start(self) -> None:
        """Begin to ask librdkafka what has become of what; in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._poll()

    async def send(self, records: Sequence[Record], headers: Headers) -> None:
        """Returns once the broker has acknowledged every record.

        Raises Refusal (`broker_away`, `busy`) where not all were: some may have been, so whoever sends them again relies on
        message ids.
        """
        if self._loop is None:
            raise RuntimeError("the sender has not been started")
        if self._away:
            now = self._clock()
            if now - self._probed < PROBE_S:
                raise _broker_away()
            self._probed = now
        delivery = _Delivery(self._loop.create_future(), len(records), sum(len(record.value) for record in records))
        self._under_way.add(delivery)
        self.pending_bytes += delivery.size
        self._produce(records, headers, delivery)
        if delivery.left:
            self._hurry()
            await delivery.future
        if delivery.error is not None:
            raise _refusal(delivery.error)

    async def close(self, seconds: float) -> None:
        """Wait for what is under way, at most so many seconds; then ask no longer."""
        if self._under_way:
            await asyncio.wait([delivery.future for delivery in self._under_way], timeout=seconds)
        if self._timer is not None:
            self._timer.cancel()
        if self._under_way:
            logger.warning("%d requests end without the broker's acknowledgement", len(self._under_way))

    def _produce(self, records: Sequence[Record], headers: Headers, delivery: _Delivery) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            self._delivered(delivery, error)

        produce = self._producer.produce
        for place, record in enumerate(records):
            try:
                produce(record.topic, record.value, record.key, headers=headers, on_delivery=delivered)  # type: ignore[arg-type]  # the stubs know no invariant list of headers
            except (BufferError, KafkaException) as failure:
                full = isinstance(failure, BufferError)
                error = KafkaError(KafkaError._QUEUE_FULL) if full else failure.args[0]
                for _ in range(len(records) - place):  # those before it are under way and end by themselves
                    self._delivered(delivery, error)
                return

    def _delivered(self, delivery: _Delivery, error: KafkaError | None) -> None:
        delivery.left -= 1
        if error is not None:
            delivery.error = error
            if error.code() != KafkaError._QUEUE_FULL and not self._away:
                self._away = True
                self._probed = self._clock()
                self._changed(f"Kafka acknowledges nothing: {error.str()}")
                logger.warning("Kafka acknowledges nothing (%s): requests are answered with 503", error.str())
        elif self._away:
            self._away = False
            self._changed("")
            logger.warning("Kafka acknowledges again")
        if not delivery.left:
            self._under_way.discard(delivery)
            self.pending_bytes -= delivery.size
            if not delivery.future.done():
                delivery.future.set_result(None)

    def _hurry(self) -> None:
        """Ask soon: something is under way now. The idle timer is put forward."""
        if self._loop is not None and self._timer is not None and len(self._under_way) == 1:
            self._timer.cancel()
            self._timer = self._loop.call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        self._producer.poll(0)
        if self._loop is not None:
            self._timer = self._loop.call_later(POLL_S if self._under_way else IDLE_POLL_S, self._poll)

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal(Stalled(f"the producer cannot go on: {error.str()}"))


def _broker_away() -> Refusal:
    return Refusal("broker_away", "the event log cannot be reached at the moment; nothing was taken", retry_after=2)


def _refusal(error: KafkaError) -> Refusal:
    if error.code() == KafkaError._QUEUE_FULL:
        return Refusal("busy", "too much is waiting for the event log", retry_after=1)
    return _broker_away()
