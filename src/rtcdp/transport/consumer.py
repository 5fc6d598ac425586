"""Faust's consumer with the data path replaced: aiokafka keeps the group, `Fetching` fetches, a message is a turn.

Written against faust-streaming 0.15 and aiokafka 0.14; every override names what it replaces and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aiokafka.errors import KafkaError as GroupError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as GroupPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode import Service

from rtcdp.errors import ClusterError
from rtcdp.transport.bounds import bounds
from rtcdp.transport.fetching import Fetching
from rtcdp.transport.owner import Batch, Owner
from rtcdp.transport.restore import Stopped

if TYPE_CHECKING:
    from rtcdp.transport.app import App

logger = logging.getLogger(__name__)


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Pauses aiokafka's own fetching of whatever is assigned: Faust's pause does not reach it."""

    async def on_partitions_assigned(self, assigned: Iterable[GroupPartition]) -> None:
        """Before the first await, or its fetcher has already asked."""
        partitions = list(assigned)
        if partitions:
            self._thread._ensure_consumer().pause(*partitions)
        await super().on_partitions_assigned(partitions)


class Consumer(driver.Consumer):
    """Group membership by aiokafka, records by librdkafka, offsets by whoever says that something is done."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = RebalanceListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner = cast("App", self.app)
        self.fetching = Fetching(owner.kafka, owner.conf.id, owner.fatal, owner.fetch_wait_ms)
        self.epoch = -1
        self.busy_since = 0.0
        self._starts: dict[TP, int] = {}
        self._sought = False
        self._done: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._taking_over = asyncio.Lock()

    @property
    def _owning_app(self) -> App:
        return cast("App", self.app)

    # ---- taking over and letting go ----

    async def take_over(self, generation: int) -> bool:
        """Have the owners take over what is assigned; false when a newer generation has begun meanwhile.

        Shielded: a new rebalance cancels the caller, and half a takeover is worse than a whole one; `let_go` asks the owners
        to hurry, and the next takeover waits for this one.
        """
        return await asyncio.shield(asyncio.ensure_future(self._take_over(generation)))

    async def _take_over(self, generation: int) -> bool:
        async with self._taking_over:
            app = self._owning_app
            assigned = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
            if generation != app.consumer_generation_id:
                return False
            self.busy_since = monotonic()
            starts: dict[TP, int | None] = dict.fromkeys(assigned)
            try:
                for found in await self._all_take_over(assigned, generation):
                    starts.update(found)
                if generation == app.consumer_generation_id:
                    self._starts = await self._checked(starts)
            except Stopped:
                return False
            except Exception as error:  # whatever it is: Faust would go on as a member that processes nothing
                app.fatal(error)
                raise
            return generation == app.consumer_generation_id

    async def _all_take_over(self, assigned: set[TP], generation: int) -> list[dict[TP, int | None]]:
        """The owners take over beside each other; none is left running when one fails."""

        async def one(topic: str, owner: Owner) -> dict[TP, int | None]:
            found = await owner.take_over({tp.partition for tp in assigned if tp.topic == topic}, generation)
            return {TP(topic, partition): offset for partition, offset in found.items()}

        owners = self._owning_app.owners
        results = await asyncio.gather(*(one(*owned) for owned in owners.items()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    async def _checked(self, starts: Mapping[TP, int | None]) -> dict[TP, int]:
        """Where to start, as numbers: the owner's word, else the group's offset, else the beginning."""
        app = self._owning_app
        foreign = [tp for tp, offset in starts.items() if offset is None]
        committed = await self.group_offsets(foreign)
        limits = await asyncio.to_thread(bounds, app.kafka, app.conf.id, list(starts))
        checked: dict[TP, int] = {}
        for tp, wanted in starts.items():
            low, high = limits[tp]
            offset = committed.get(tp) if wanted is None else wanted
            if offset is None:
                offset = low
            elif offset > high:
                raise ClusterError(
                    f"{tp.topic}/{tp.partition} ends at {high} and {offset} records of it are recorded as done: "
                    "it was deleted and made again, or has lost records"
                )
            elif offset < low:
                if wanted is not None and offset > 0:
                    raise ClusterError(
                        f"{tp.topic}/{tp.partition} begins at {low} and only {offset} are done: its retention is too short"
                    )
                logger.warning("%s/%s: offsets %s to %s are gone unread", tp.topic, tp.partition, offset, low)
                offset = low
            checked[tp] = offset
        return checked

    async def group_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The offsets that the group has committed; partitions without one are absent."""
        asked = [GroupPartition(tp.topic, tp.partition) for tp in partitions]
        if not asked:
            return {}
        coordinator = self._thread._ensure_consumer()._coordinator
        found = await self._thread.call_thread(coordinator.fetch_committed_offsets, asked)
        return {TP(tp.topic, tp.partition): entry.offset for tp, entry in found.items() if entry.offset >= 0}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop fetching, then have the owners finish what is in flight. Heartbeats go on during this."""
        self.busy_since = monotonic()
        self._stop_fetching()
        try:
            await super().on_partitions_revoked(revoked)
            await self._let_go(leaving=False)
        except Exception as error:  # raised from here it would end the app and leave the process alive
            self._owning_app.fatal(error)
            raise

    async def leave(self) -> None:
        """The process stops: let everything go, then tell the group what is done."""
        self._stop_fetching()
        await self._let_go(leaving=True)
        await self.commit()
        await asyncio.to_thread(self.fetching.close)

    async def _let_go(self, *, leaving: bool) -> None:
        await asyncio.gather(*(owner.let_go(leaving) for owner in self._owning_app.owners.values()))

    def _stop_fetching(self) -> None:
        self.epoch = -1
        self._sought = False
        self.fetching.stop()

    async def perform_seek(self) -> None:
        """Replaces the seek to the group's offsets, which are not the truth: where to start the takeover has said."""
        self._read_offset.clear()  # messages below it would be dropped silently
        self._committed = await self.group_offsets(self._starts)
        self._done = {}
        self._sought = True

    def begin(self, generation: int) -> None:
        """Begin fetching, where nothing has been revoked since the takeover.

        Only once Faust's flow is resumed: that empties the queues of its streams, and with a turn in them a partition would
        stand still.
        """
        if generation != self._owning_app.consumer_generation_id:
            return
        if self._sought:
            self._sought = False
            self.epoch = self.fetching.start(self._starts)
            self.busy_since = 0.0
        elif not self.assignment():  # more workers than partitions: this one waits
            self.busy_since = 0.0

    # ---- messages ----

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # as Faust's
        """One message per partition that has something: its value is a `Batch`. Replaces aiokafka's fetch."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type] # an asyncio.Event is as good as mode's
        epoch, ready = await self.fetching.turns(timeout)
        for tp in ready:  # none may be left out: its lane would wait for the end of its turn for ever
            yield tp, cast("Message", self._turn(tp, epoch))

    def _turn(self, tp: TP, epoch: int) -> ConsumerMessage:
        batch = Batch(tp, epoch, self.fetching)
        # A message of another generation is dropped silently by the stream: every one says its own.
        generation = self.app.consumer_generation_id
        value: Any = batch  # Faust takes anything for a value where the topic is raw
        return ConsumerMessage(tp.topic, tp.partition, 0, 0.0, 0, [], b"", value, None, tp=tp, generation_id=generation)

    async def _drain_messages(self, fetcher: Any) -> None:
        """From `getmany` to the agents. Replaces Faust's loop, whose checks of offsets and gaps are about records."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _tp, message in self.getmany(timeout=1.0):
                    await self.callback(message)
        except asyncio.CancelledError:
            # During a rebalance Faust's fetcher would take this for a crash, also when the process is told to stop.
            if not (self.should_stop or fetcher.should_stop or self.app.should_stop):
                raise

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: an interval tree that nobody trims once offsets are kept elsewhere."""

    def ack(self, message: Message) -> bool:
        """A message acknowledged by its stream: a turn was given, which says nothing about offsets (`done` does)."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    # ---- offsets ----

    def done(self, tp: TP, offset: int, epoch: int) -> None:
        """Everything of the partition below `offset` is done; the group will be told. Ignored from an older epoch."""
        if epoch == self.epoch:
            self._done[tp] = offset

    def progress(self) -> dict[TP, tuple[int, int]]:
        """Per partition that has moved: the offset up to which it is done, and the one that the group knows (-1: none)."""
        return {tp: (offset, self._committed.get(tp, -1)) for tp, offset in self._done.items()}

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 # as Faust's
        """Tell the group what is done. Replaces the commit of acknowledged messages; never while rebalancing."""
        app = self._owning_app
        if app.rebalancing or app.client_only:
            return False
        offsets = {tp: offset for tp, offset in self._done.items() if offset > self._committed.get(tp, -1)}
        if not offsets:
            return False
        try:
            await self._thread.call_thread(self._commit_to_group, offsets)
        except GroupError as error:  # a rebalance began meanwhile, or the coordinator moves: the next second will do
            logger.info("the group's offsets could not be committed yet: %r", error)
            return False
        self._committed.update(offsets)
        return True

    async def _commit_to_group(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._thread._ensure_consumer()
        assigned = consumer.assignment()
        named = {GroupPartition(tp.topic, tp.partition): OffsetAndMetadata(o, "") for tp, o in offsets.items()}
        await consumer.commit({tp: value for tp, value in named.items() if tp in assigned})

    async def wait_empty(self) -> None:
        """Nothing: it would wait for agents without limit; owners are awaited in `let_go`."""

    # ---- life ----

    @Service.task
    async def _stay_member(self) -> None:
        """Count as fetching: aiokafka leaves the group when nothing is fetched through it for `max_poll_interval`."""
        while not self.should_stop:
            thread = self._thread
            if thread._consumer is not None:
                thread._consumer._subscription._last_fetch_ended = monotonic()
            await self.sleep(1.0)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: it reads the state of aiokafka's fetcher, which stands still on purpose."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing, for the same reason."""
