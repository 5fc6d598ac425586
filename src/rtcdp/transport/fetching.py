"""Fetching: librdkafka in a thread of its own, handing whole fetches to the event loop with bounded flight.

Each assigned partition has a lane. When a lane that nobody works on gets records, the event loop is woken and the partition
gets a turn; what arrives while a turn lasts waits in the lane and is taken at once by the next one. So at low rates a record
is handed over as soon as it is there, and at high rates one hand-over carries thousands.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from faust.types import TP

from rtcdp.errors import ClusterError, Stalled
from rtcdp.transport.failures import DENIED
from rtcdp.transport.settings import LONG_POLL_MS, fetch_conf

logger = logging.getLogger(__name__)

POLL = 0.1
"""How long the thread waits for records before it looks for orders (s)."""
CHUNK = 2_000
"""Most records taken from librdkafka at a time: bounds how long the thread holds the interpreter."""
CAPACITY = 24_000
"""Records that may wait in all lanes together; librdkafka's own queue holds what comes after."""
CAPACITY_BYTES = 64 << 20

GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class _Lane:
    """The records of one partition between the thread and the loop, oldest first."""

    __slots__ = ("busy", "bytes", "chunks", "count", "paused", "since")

    def __init__(self) -> None:
        self.chunks: deque[list[Message]] = deque()
        self.count = 0
        self.bytes = 0
        self.busy = False
        self.paused = False
        self.since = 0.0

    def add(self, messages: list[Message]) -> int:
        size = sum(map(len, messages))
        self.chunks.append(messages)
        self.count += len(messages)
        self.bytes += size
        return size

    def take(self, records: int, size: int) -> tuple[list[Message], int]:
        """At least one record where there is one, at most `records` and about `size` bytes; and the bytes taken."""
        chunks = self.chunks
        if self.count <= records and self.bytes <= size:
            taken = chunks.popleft() if len(chunks) == 1 else [message for chunk in chunks for message in chunk]
            chunks.clear()
            total = self.bytes
        else:
            taken, total = [], 0
            while chunks and len(taken) < records and (total < size or not taken):
                chunk = chunks.popleft()
                for index, message in enumerate(chunk):
                    if taken and (len(taken) >= records or total + len(message) > size):
                        chunks.appendleft(chunk[index:])
                        break
                    taken.append(message)
                    total += len(message)
                else:
                    continue
                break
        self.count -= len(taken)
        self.bytes -= total
        return taken, total


def _places(messages: list[Message]) -> Iterator[tuple[str | None, int | None]]:
    """Topic and partition of each message."""
    return zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)


class Fetching:
    """The fetch thread and its lanes.

    kafka: librdkafka's options for reaching the cluster.
    group: name of the group in the client's logs; it is not joined.
    fatal: called from the thread with the reason why fetching cannot go on.

    `turns`, `take` and `end_turn` belong to the event loop's thread.
    """

    def __init__(
        self, kafka: Mapping[str, Any], group: str, fatal: Callable[[Exception], None], wait_ms: int = LONG_POLL_MS
    ) -> None:
        self._kafka = kafka
        self._wait_ms = wait_ms
        self._group = group
        self._fatal = fatal
        self._changed = threading.Condition()
        self._lanes: dict[TP, _Lane] = {}
        self._order: dict[TP, int] | None = None
        self._count = 0
        self._bytes = 0
        self._epoch = 0
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._thread: threading.Thread | None = None

    def start(self, offsets: Mapping[TP, int]) -> int:
        """Fetch these partitions, and no other, from these offsets on. Returns the epoch in which that holds."""
        self._loop = asyncio.get_running_loop()
        with self._changed:
            self._reset()
            self._lanes = {tp: _Lane() for tp in offsets}
            self._order = dict(offsets)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fetching", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return self._epoch

    def stop(self) -> None:
        """Fetch nothing; what waits in the lanes is dropped."""
        with self._changed:
            self._reset()
            self._order = {}
            self._changed.notify_all()

    def close(self, timeout: float = 5.0) -> None:
        """End the thread. Blocks, at most `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._reset()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    async def turns(self, patience: float) -> tuple[int, list[TP]]:
        """Partitions that have records and whose last turn has ended, and the epoch of that; waits at most `patience` seconds.

        Whoever takes them must end the turns: a turn that is lost is a partition that stands still.
        """
        epoch, ready = self._ready()
        if not ready:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            if self._woken:  # records came between the look and the wait
                self._wake()
            handle = loop.call_later(patience, self._wake)
            try:
                await self._waiter
            finally:
                handle.cancel()
                self._waiter = None
            epoch, ready = self._ready()
        return epoch, ready

    def take(self, tp: TP, epoch: int, records: int, size: int) -> list[Message]:
        """What has been fetched of a partition, at most `records` and about `size` bytes; nothing in another epoch."""
        with self._changed:
            lane = self._lanes.get(tp)
            if epoch != self._epoch or lane is None or not lane.count:
                return []
            full = self._is_full()
            taken, total = lane.take(records, size)
            self._count -= len(taken)
            self._bytes -= total
            if full or lane.paused:
                self._changed.notify_all()
            return taken

    def waiting(self, tp: TP) -> int:
        """Records that wait in a partition's lane."""
        lane = self._lanes.get(tp)
        return 0 if lane is None else lane.count

    def end_turn(self, tp: TP, epoch: int) -> None:
        """The partition's turn is over: it gets another one as soon as there are records."""
        with self._changed:
            lane = self._lanes.get(tp)
            if epoch != self._epoch or lane is None:
                return
            lane.busy = False
            more = lane.count > 0
        if more:
            self._wake()

    def longest_turn(self) -> float:
        """How long the oldest turn has been going on (s); 0 where there is none."""
        with self._changed:
            return max((monotonic() - lane.since for lane in self._lanes.values() if lane.busy), default=0.0)

    def _ready(self) -> tuple[int, list[TP]]:
        now = monotonic()
        with self._changed:
            self._woken = False
            ready = [tp for tp, lane in self._lanes.items() if lane.count and not lane.busy]
            for tp in ready:
                lane = self._lanes[tp]
                lane.busy, lane.since = True, now
            return self._epoch, ready

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _reset(self) -> None:
        self._epoch += 1
        self._lanes = {}
        self._count = self._bytes = 0

    def _is_full(self) -> bool:
        return self._count >= CAPACITY or self._bytes >= CAPACITY_BYTES

    # ---- the thread ----

    def _run(self) -> None:
        try:
            consumer = Consumer(fetch_conf(self._kafka, self._group, self._wait_ms))
            try:
                self._fetch(consumer)
            finally:
                consumer.close()
        except Exception as error:  # noqa: BLE001 # whatever it is, without this thread the process is a zombie
            self._fatal(error)

    def _fetch(self, consumer: Consumer) -> None:
        epoch = -1
        while True:
            with self._changed:
                while not self._stopping and self._order is None and (self._is_full() or not self._lanes):
                    self._changed.wait(POLL * 10)
                if self._stopping:
                    return
                order, self._order = self._order, None
                if order is not None:
                    epoch = self._epoch
            if order is not None:
                self._assign(consumer, order)
            first = consumer.poll(POLL)
            if first is not None:
                self._hand_over(consumer, epoch, [first, *consumer.consume(CHUNK, 0)])
            self._balance(consumer)

    def _assign(self, consumer: Consumer, offsets: Mapping[TP, int]) -> None:
        if offsets:
            consumer.assign([TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()])
        else:
            consumer.unassign()

    def _hand_over(self, consumer: Consumer, epoch: int, messages: list[Message]) -> None:
        groups: dict[tuple[str | None, int | None], list[Message]] = {}
        # Three calls a record, made from C: they are a good part of what a record costs here.
        for message, place, error in zip(messages, _places(messages), map(Message.error, messages), strict=True):
            if error is not None:
                self._judge(message)
                continue
            group = groups.get(place)
            if group is None:
                groups[place] = [message]
            else:
                group.append(message)
        wake = False
        with self._changed:
            if epoch != self._epoch:
                return
            for key, group in groups.items():
                lane = self._lanes.get(key)  # type: ignore[call-overload] # a TP is such a pair
                if lane is None:
                    continue
                self._bytes += lane.add(group)
                self._count += len(group)
                wake = wake or not lane.busy
            wake = wake and not self._woken
            self._woken = self._woken or wake
        if wake and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _balance(self, consumer: Consumer) -> None:
        """Pause a partition whose backlog would keep the others waiting, resume it when that is worked off.

        Pausing throws away what librdkafka holds of a partition, so it is done only to one that alone fills half of the room.
        """
        with self._changed:
            pause = [tp for tp, lane in self._lanes.items() if not lane.paused and lane.count > CAPACITY // 2]
            resume = [tp for tp, lane in self._lanes.items() if lane.paused and lane.count < CAPACITY // 4]
            if len(self._lanes) < 2 or self._order is not None or not (pause or resume):
                return
            for tp in (*pause, *resume):
                self._lanes[tp].paused = tp in pause
        if pause:
            consumer.pause([TopicPartition(tp.topic, tp.partition) for tp in pause])
        if resume:
            consumer.resume([TopicPartition(tp.topic, tp.partition) for tp in resume])

    def _judge(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        where = f"{message.topic()}/{message.partition()}"
        if error.code() in GONE:
            raise ClusterError(
                f"{where}: the next record to read is no longer there, its retention is too short ({error.str()})"
            )
        if error.code() in DENIED:
            raise ClusterError(f"{where} cannot be read: {error.str()}")
        if error.fatal():
            raise Stalled(f"{where}: fetching cannot go on: {error.str()}")
        logger.warning("fetching %s: %s", where, error.str())
