"""Transactions of one partition: a producer whose `transactional.id` names the partition, so that a successor fences it.

Its blocking calls (`open`, `commit`, `abort`, `close`) are meant for a thread of an executor, so that the commit of one
partition overlaps with the work of another; `begin` and `produce` never block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from rtcdp.errors import ClusterError, Fenced, RtcdpError, Stalled
from rtcdp.transport.failures import DENIED, FENCED, cause
from rtcdp.transport.settings import transactional_conf

Record = tuple[bytes, bytes | None]
HeadersOf = Callable[[bytes, bytes | None], list[tuple[str, bytes]]]


class Aborted(RtcdpError):
    """The transaction was aborted and nothing of it is visible; its work may be done again in a new one."""


class TransactionalProducer:
    """One transaction after another under one `transactional.id`.

    kafka: librdkafka's options for reaching the cluster.
    transactional_id: who fences whom: a newly opened producer of the same id ends the older one's commits.
    extra: options on top of the pinned ones (`settings.transactional_conf`), for tests and tuning.

    Every method raises Fenced when another producer has taken the id over, ClusterError when the cluster refuses for a
    reason that trying again cannot change, and Stalled when this process cannot go on.
    """

    def __init__(self, kafka: Mapping[str, Any], transactional_id: str, extra: Mapping[str, Any] | None = None) -> None:
        self.transactional_id = transactional_id
        self.failed_delivery = ""
        self._fatal: KafkaError | None = None
        options = {
            **transactional_conf(kafka, transactional_id),
            "on_delivery": self._on_failure,
            "error_cb": self._on_error,
            **(extra or {}),
        }
        self._producer: Producer | None = Producer(options)
        self._open = False

    def open(self, timeout: float = 60.0) -> None:
        """Fence the id's older producers; what they left open is aborted when this returns. Blocks, at most `timeout` s."""
        self._until(monotonic() + timeout, "taking over", self._live.init_transactions)
        self.begin()

    def begin(self) -> None:
        """Begin a transaction, if none is open.

        This waits for librdkafka's own thread: a third of an idle worker's time when the event loop does it. So `open` and
        `commit`, which block in threads anyway, begin the next one; the broker hears of it only with its first record.
        """
        if self._open:
            return
        self.failed_delivery = ""
        try:
            self._live.begin_transaction()
        except KafkaException as error:
            raise self._classified(error, "beginning") from error
        self._open = True

    def produce(
        self, topic: str, records: Iterable[Record], partition: int | None = None, *, headers: HeadersOf | None = None
    ) -> None:
        """Queue records (key, value) inside the transaction; a value of None is a tombstone.

        partition: where to; None: by murmur2 of the key.
        headers:   makes a record's headers of its key and value; None: no record has any.

        Raises Aborted (after which `abort` must be called) where librdkafka refuses a record for a reason of the transaction.
        """
        produce = self._live.produce if headers is None else _with(self._live.produce, headers)
        where = -1 if partition is None else partition
        try:
            for key, value in records:
                try:
                    produce(topic, value, key, where)
                except BufferError:
                    self._make_room()
                    produce(topic, value, key, where)
        except KafkaException as error:
            raise self._classified(error, f"producing to {topic}") from error

    def commit(self, timeout: float = 30.0) -> None:
        """Commit. Blocks, at most `timeout` s; when it returns, all of the transaction is visible.

        Raises Aborted when it could not be committed and has been aborted: nothing of it is visible. A record that could
        not be delivered makes this fail, since librdkafka then refuses the commit.
        """
        deadline = monotonic() + timeout
        try:
            self._until(deadline, "committing", self._live.commit_transaction)
        except Aborted as reason:
            self.abort(max(1.0, deadline - monotonic()))
            raise Aborted(f"{reason} {self.failed_delivery}".rstrip()) from reason
        self._open = False
        self.begin()

    def abort(self, timeout: float = 30.0) -> None:
        """Abort what is open, if anything. Blocks, at most `timeout` s."""
        if self._open:
            self._until(monotonic() + timeout, "aborting", self._live.abort_transaction)
            self._open = False

    def close(self, timeout: float = 5.0) -> None:
        """Abort what is open, as far as that still works, and let the client go. Blocks; raises nothing."""
        if self._producer is None:
            return
        try:
            self.abort(timeout)
        except RtcdpError:
            pass  # fenced or unreachable: the successor's `open` aborts it
        finally:
            self._producer.purge()
            self._producer = None  # the client ends with its last reference

    @property
    def _live(self) -> Producer:
        if self._producer is None:
            raise Stalled(f"{self.transactional_id}: the producer is closed")
        return self._producer

    def _until(self, deadline: float, doing: str, call: Callable[[float], Any]) -> None:
        """Repeat a call that librdkafka says may be resumed, until the deadline."""
        while True:
            left = deadline - monotonic()
            if left <= 0:
                raise Stalled(f"{self.transactional_id}: {doing} did not end in time")
            try:
                call(left)
            except KafkaException as error:
                if not cause(error).retriable():
                    raise self._classified(error, doing) from error
            else:
                return

    def _make_room(self) -> None:
        # The queue holds a million records, a batch some thousands: this is a cluster that takes nothing.
        self._live.flush(10.0)

    def _classified(self, exception: KafkaException, doing: str) -> RtcdpError:
        error = cause(exception)
        if error.code() == KafkaError._FATAL and self._producer is not None:
            self._producer.poll(0)  # which tells what it was that had become fatal
            error = self._fatal or error
        text = f"{self.transactional_id}: {doing}: {error.str()} ({error.name()})"
        if error.code() in FENCED:
            return Fenced(text)
        if error.code() in DENIED:
            return ClusterError(text)
        if error.txn_requires_abort():
            return Aborted(text)
        return Stalled(text)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error

    def _on_failure(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.failed_delivery = f"(a record for {message.topic()} was not delivered: {error.str()})"


def _with(produce: Callable[..., None], headers: HeadersOf) -> Callable[..., None]:
    def traced(topic: str, value: bytes | None, key: bytes, partition: int) -> None:
        produce(topic, value, key, partition, headers=headers(key, value))

    return traced
