"""One partition's deliveries: what comes in, what became of it, and one Kafka transaction after the other that says so.

A delivery is in `deliveries` before its first attempt and until its end is there too, in one transaction with the position
in the inputs, the event that tells of it and the dead letter. So whatever dies when: a delivery is neither forgotten nor
made anew, and an attempt whose end was not written down is made again with the same id and body.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from confluent_kafka import Message

from rtcdp.delivery import deliveries, making, outcomes
from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import DISABLED, ERASED, POSITION, DeadDelivery, Delivery, Enable, Outcome, Position, Retry
from rtcdp.delivery.lanes import Pending, wait_after
from rtcdp.delivery.making import Unmade
from rtcdp.delivery.surroundings import Surroundings
from rtcdp.delivery.waiting import Waiting
from rtcdp.delivery.work import Work, until_there
from rtcdp.errors import ClusterError
from rtcdp.monitoring.tracing import parent_of
from rtcdp.outputs import Cancel
from rtcdp.sealing.parcels import unpack
from rtcdp.times.timestamps import rfc3339
from rtcdp.transport.restore import restore
from rtcdp.transport.transactions import Aborted, TransactionalProducer

logger = logging.getLogger(__name__)

Values = list[bytes | None] | None

MOST_RESULTS = 5_000
LONGEST_ERROR = 500
RENEWED_MS = 8_000
"""After an erasure: by then everybody seals with a new key, and the old one is still there for some time."""


def _place(message: Message) -> dict[str, Any]:
    """Where a record lies, for the log."""
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}


class Partition:
    """A partition that this process owns. Everything but `open` and `close` belongs to the event loop."""

    def __init__(self, number: int, around: Surroundings, producer: TransactionalProducer) -> None:
        self.number = number
        self.pending = Waiting(self)
        self.position: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.wake = asyncio.Event()
        self.ending = False
        self._around = around
        self._producer = producer
        self._off: set[str] = set()
        self._results: list[tuple[Pending, Attempt | None]] = []
        self._restored: dict[bytes, bytes] = {}
        self._erased: list[bytes] = []
        self._renewals: deque[tuple[int, str]] = deque()
        self._parent: bytes | None = None

    # ---- takeover ----

    def open(self) -> None:
        """Fence the previous owner and read what it left. Blocks."""
        self._producer.open()
        settings = self._around.settings
        restore(settings.kafka(), settings.deliveries, self.number, self._restored, group=f"{settings.app}-deliver")
        read = self._restored
        self._restored = {}
        values = until_there(lambda: unpack(list(read.values()), self._around.sealer))
        for key, opened in zip(read, values, strict=True):
            if opened is None:
                self._erased.append(key)
            else:
                self._restored[key] = opened
        value = self._restored.pop(POSITION, None)
        self.position = {} if value is None else deliveries.decode_position(value).offsets

    def start_from(self, topic: str, low: int, high: int) -> int:
        """The offset at which reading an input goes on; remembers it as taken.

        low, high: the partition's first and end offset.

        Raises ClusterError where the position is of another topic of that name.
        """
        identity = self._around.topic_ids.get(topic, topic)
        known = self.position.get(identity)
        if known is None and self.position:
            raise ClusterError(
                f"topic {topic} is not the one that deliveries were made of: delete the topic "
                f"{self._around.settings.deliveries} to begin anew, and lose what waits there"
            )
        begin = known if known is not None else low if self._around.settings.deliver_from == "earliest" else high
        if begin < low:
            logger.error("%s/%d: %d records were removed by retention before they were read", topic, self.number, low - begin)
            begin = low
        self.taken[identity] = begin
        return begin

    def resume(self) -> None:
        """Put what was restored into the lanes; what nobody can deliver any more is given up with the next turn."""
        for key, value in self._restored.items():
            if key.startswith(DISABLED):
                name = key.removeprefix(DISABLED).decode()
                if name in self._around.lanes:
                    self._around.lanes[name].disabled = True
                continue
            pending = self.pending.add(deliveries.decode(value))
            if pending.delivery.destination in self._around.lanes:
                self._around.lanes[pending.delivery.destination].add(pending)
            else:
                self._results.append((pending, Attempt(Verdict.CHANGED)))
        self._restored = {}
        self.wake.set()
        for lane in self._around.lanes.values():
            lane.pump()

    def release(self) -> None:
        """Another process takes over: nothing of it is attempted here any more."""
        self.pending.release()

    def close(self) -> None:
        """Let the producer go. Blocks."""
        self._producer.close()

    def look(self) -> None:
        """Now and then: give up what waits for destinations that are off, whichever partition learned of it."""
        for name, lane in self._around.lanes.items():
            if lane.disabled and self.pending.for_destination(name):
                self._off.add(name)
                self.wake.set()
        if self._renewals and self._renewals[0][0] <= self._around.clock():
            self.wake.set()

    # ---- Owner ----

    def expired(self, pending: Pending) -> None:
        """It is too late for a delivery."""
        self._results.append((pending, None))
        self.wake.set()

    def attempted(self, pending: Pending, attempt: Attempt) -> None:
        """An attempt has ended."""
        self._around.measures.attempted(pending.delivery.destination, attempt)
        self._results.append((pending, attempt))
        self.wake.set()

    # ---- a turn ----

    @property
    def busy(self) -> bool:
        """Whether there are results that no turn has taken yet."""
        return bool(self._results or self._off)

    def _renewed(self, work: Work) -> None:
        """Write down anew what waits for whoever came back right after an erasure: it may be sealed with the key that goes."""
        while self._renewals and self._renewals[0][0] <= self._around.clock():
            for pending in self.pending.of_profile(self._renewals.popleft()[1]):
                work.keep(pending.delivery)

    @property
    def attempting(self) -> bool:
        """Whether an attempt is under way."""
        return any(pending.active for pending in self.pending)

    async def turn(self, batches: Mapping[str, list[Message]]) -> None:
        """Fold records and results into one transaction, then set off what it allows.

        batches: by topic, the records fetched.

        Raises Fenced, Stalled, ClusterError: the process cannot go on.
        """
        results, self._results = self._results[:MOST_RESULTS], self._results[MOST_RESULTS:]
        work = Work()
        sealed = batches.get(self._around.settings.delivery_commands)
        opened = None if sealed is None else await self._opened([message.value() for message in sealed])
        for topic, messages in batches.items():  # 1. what came in
            self._fold(topic, messages, work, opened if messages is sealed else None)
        for pending, attempt in results:  # 2. what became of what was attempted
            self._result(pending, attempt, work)
        for name in self._off:
            self._gone(name, work)
        for key in self._erased:  # of people who were erased while nobody delivered
            work.state[key] = None
        self._renewed(work)
        if not (batches or results or self._off or work.state):
            return
        self._off, self._erased = set(), []
        if batches:
            self.position = dict(self.taken)
            work.state[POSITION] = deliveries.encode(Position(offsets=self.position))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._around.threads, self._commit, work)  # 3. written down, all or nothing
        for pending in (*work.begun, *work.later):  # 4. set off
            if pending.live:
                self._around.lanes[pending.delivery.destination].add(pending)
        for name in {pending.delivery.destination for pending in (*work.begun, *work.later)}:
            self._around.lanes[name].pump()
        if self._results:
            self.wake.set()

    def _commit(self, work: Work) -> None:
        settings, producer = self._around.settings, self._producer
        state, dead = work.in_kafka(self._around.sealer)
        while True:
            try:
                producer.begin()
                producer.produce(settings.deliveries, state.items(), self.number)
                producer.produce(settings.deliveries_dlq, dead)
                for topic, records in work.outcomes.items():
                    producer.produce(topic, records)
                producer.commit()
            except Aborted as reason:
                logger.warning("a transaction of partition %d was aborted and is made again: %s", self.number, reason)
                producer.abort()
            else:
                return

    async def _opened(self, values: list[bytes | None]) -> Values:
        """What may be sealed as it was before. Waits while the key store is away."""
        sealer, loop = self._around.sealer, asyncio.get_running_loop()
        return await loop.run_in_executor(self._around.threads, until_there, lambda: unpack(values, sealer))

    # ---- what came in ----

    def _fold(self, topic: str, messages: list[Message], work: Work, values: Values = None) -> None:
        """values: of the messages, where they had to be opened."""
        settings = self._around.settings
        if topic == settings.triggers:
            fold: Callable[[bytes, int, Work], None] = self._trigger
        elif topic == settings.profile_changes:
            fold = self._change
        else:
            fold = self._command
        for place, message in enumerate(messages):
            value = message.value() if values is None else values[place]
            if value is None and message.value() is not None:
                continue  # of somebody who was erased
            self._parent = parent_of(message.headers()) if self._around.traced else None
            try:
                fold(value or b"", message.timestamp()[1], work)
            except msgspec.DecodeError:
                self._around.measures.unreadable(topic)
                logger.warning("a record cannot be read", extra=_place(message))
            except Exception:  # one bad record harms nobody else
                self._around.measures.unreadable(topic)
                logger.exception("a record cannot be used", extra=_place(message))
        self.taken[self._around.topic_ids.get(topic, topic)] = (messages[-1].offset() or 0) + 1

    def _trigger(self, value: bytes, made: int, work: Work) -> None:
        event = making.decode_trigger(value)
        if isinstance(event, Cancel):
            self._cancel(event, work)
            return
        for found in making.of_trigger(self._around.outlets, event, made):
            self._begin(found, work)

    def _change(self, value: bytes, made: int, work: Work) -> None:
        for found in making.of_change(self._around.outlets, making.decode_change(value), made):
            self._begin(found, work)

    def _command(self, value: bytes, made: int, work: Work) -> None:
        match deliveries.decode_command(value):
            case Retry(delivery=delivery):
                self._begin(delivery, work)
            case Enable(destination=name):
                self._off.discard(name)
                work.state[DISABLED + name.encode()] = None
                if name in self._around.lanes:
                    self._around.lanes[name].disabled = False
                    self._around.lanes[name].pump()

    def _begin(self, found: Delivery | Unmade, work: Work) -> None:
        delivery = found.delivery if isinstance(found, Unmade) else found
        if delivery.id in self.pending:
            return
        if self._parent is not None:
            delivery.trace = self._parent.decode()
        lane = self._around.lanes.get(delivery.destination)
        self._around.measures.taken(delivery.destination)
        if isinstance(found, Unmade):
            self._give_up(delivery, found.reason, work)
        elif lane is None:
            self._give_up(delivery, "unknown_destination", work)
        elif lane.disabled:
            self._give_up(delivery, "gone", work)
        elif len(lane) + work.sizes[delivery.destination] >= self._around.settings.deliver_queue:
            self._give_up(delivery, "overflow", work)
        else:
            work.keep(delivery)
            work.begun.append(self.pending.add(delivery))
            work.sizes[delivery.destination] += 1

    def _cancel(self, cancel: Cancel, work: Work) -> None:
        if cancel.data.reason == ERASED and self._around.sealer is not None:
            self._renewals.append((self._around.clock() + RENEWED_MS, cancel.data.profile))
        for pending in self.pending.of_profile(cancel.data.profile):
            delivery = pending.delivery
            if cancel.data.reason == ERASED:
                self._forget(pending, cancel, work)
                continue
            if delivery.kind != "trigger" or delivery.seq >= cancel.seq or cancel.data.trigger not in ("", delivery.name):
                continue
            if cancel.data.channel not in ("", delivery.channel):
                continue
            if pending.active:  # what is under way cannot be called back; its end is still unknown
                delivery.cancelled = True
                work.keep(delivery)
            else:
                self._finish(pending, Outcome.CANCELLED, work)

    def _forget(self, pending: Pending, cancel: Cancel, work: Work) -> None:
        """Its person was erased: what waits goes, and no event tells of it, which would begin a new profile."""
        delivery = pending.delivery
        if delivery.kind != "trigger" and delivery.seq >= cancel.seq:
            return  # of the erasure itself, or of what came later
        delivery.outcomes = False
        if pending.active:
            delivery.cancelled = True
            work.keep(delivery)
        else:
            self._finish(pending, Outcome.CANCELLED, work)

    # ---- what became of it ----

    def _result(self, pending: Pending, attempt: Attempt | None, work: Work) -> None:
        delivery = pending.delivery
        if not pending.live:
            return
        if attempt is None or (attempt.verdict is Verdict.AGAIN and delivery.cancelled):
            self._finish(pending, Outcome.CANCELLED if delivery.cancelled else Outcome.EXPIRED, work)
            return
        if attempt.verdict is Verdict.DELIVERED:
            self._finish(pending, Outcome.DELIVERED, work)
            return
        delivery.attempts += 1
        delivery.error = attempt.error[:LONGEST_ERROR]
        if attempt.verdict is Verdict.AGAIN:
            self._again(pending, attempt, work)
        elif attempt.verdict is Verdict.GONE:
            self._gone(delivery.destination, work)
        elif attempt.verdict is Verdict.REFUSED:
            self._give_up(delivery, "refused", work)
        else:
            known = delivery.destination in self._around.lanes
            self._give_up(delivery, "changed_address" if known else "unknown_destination", work)

    def _again(self, pending: Pending, attempt: Attempt, work: Work) -> None:
        delivery, now = pending.delivery, self._around.clock()
        wait = wait_after(self._around.outlets.destinations[delivery.destination], delivery.attempts, attempt)
        if wait is None:
            self._give_up(delivery, "exhausted", work)
        elif 0 < delivery.expires <= now + wait:
            self._finish(pending, Outcome.EXPIRED, work)
        else:
            delivery.due = now + wait
            work.keep(delivery)
            work.later.append(pending)

    def _gone(self, name: str, work: Work) -> None:
        """410: the destination is off until it is enabled again, and what waits for it is given up."""
        logger.error("a destination answered 410 and is off: `rtcdp deliveries enable`", extra={"destination": name})
        work.state[DISABLED + name.encode()] = b'{"since":"%b"}' % rfc3339(self._around.clock()).encode()
        for pending in self.pending.for_destination(name):
            self._give_up(pending.delivery, "gone", work)

    def _give_up(self, delivery: Delivery, reason: Any, work: Work) -> None:
        now = self._around.clock()
        self._around.measures.dead(delivery.destination, reason)
        work.bury(DeadDelivery(reason=reason, at=rfc3339(now), delivery=delivery))
        delivery.error = delivery.error or reason
        self._end(delivery, Outcome.FAILED, work)

    def _finish(self, pending: Pending, outcome: Outcome, work: Work) -> None:
        self._end(pending.delivery, outcome, work)

    def _end(self, delivery: Delivery, outcome: Outcome, work: Work) -> None:
        """The delivery is over: its state goes, and what became of it is told."""
        work.state[delivery.id.encode()] = None
        now = self._around.clock()
        self._around.measures.ended(delivery, outcome, now)
        self.pending.remove(delivery)
        if not delivery.outcomes:
            return
        found = outcomes.of_delivery(delivery, outcome, now)
        topic = None if found is None else self._around.tenants.get(found[0])
        if found is not None and topic is not None:
            work.outcomes.setdefault(topic, []).append(found[1:])
