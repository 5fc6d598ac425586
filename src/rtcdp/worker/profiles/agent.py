"""The profile agent: takes partitions of `profile-events` over, runs each as a task of its own, lets them go.

Taking over: fence the previous owner, read the changelog to its end, start at the position + 1. State is kept over a
rebalance only into the very next generation of the group: nobody else can have owned the partition in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

from confluent_kafka import Consumer
from faust.types import TP, EventT

from rtcdp.errors import ClusterError, RtcdpError
from rtcdp.monitoring.metrics import Metrics
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.transport.app import App
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.owner import Batch
from rtcdp.transport.restore import Damaged, Stopped, restore
from rtcdp.transport.settings import restore_conf
from rtcdp.transport.transactions import TransactionalProducer
from rtcdp.worker.border import Border, Stopping
from rtcdp.worker.memory import give_back
from rtcdp.worker.profiles.changelog import REBUILD, Changelog
from rtcdp.worker.profiles.key_erasure import LOOK_S, KeyErasure
from rtcdp.worker.profiles.partition import ProfilePartition
from rtcdp.worker.profiles.sealed_store import SealedEntries, SealedStore
from rtcdp.worker.profiles.standby import Standby
from rtcdp.worker.profiles.stores import MemoryStore, Store
from rtcdp.worker.profiles.work import NewRunner, Topics, Work

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK = 0.1
"""How often partitions look whether a tick or switch is due, also without records (s)."""


class ProfileAgent:
    """Owner of `profile-events`, and the agent over it.

    app:        the Faust app.
    topics:     names of what is read and written.
    new_runner: makes the runner of a partition from its number, its state and its position.
    held:       where each partition's state is put (`ProfileTable.partitions_held`).
    topic_id:   id of `profile-events`, as it is recorded in positions; its name where the broker knows no ids.
    metrics:    where batches are counted.
    watermark:  the low watermark in ms, None where there is none yet.
    version:    version of the definitions that is current, None where it is not known; `shadow` is evaluated beside it.
    records, size: most that one transaction takes (records, bytes of values).
    limits:     `max.message.bytes` by topic, from preflight.
    new_store:  opens the store of a partition, as far as it has been kept; None: in memory.
    standby:    copies of partitions that others own; None: none are kept.
    border:     seals and opens, where personal data is encrypted.
    spans:      where batches with traced records are reported; None: nowhere.
    """

    def __init__(  # noqa: PLR0913 # hooks, each with its own meaning
        self,
        app: App,
        topics: Topics,
        new_runner: NewRunner,
        held: Callable[[], dict[int, MutableMapping[bytes, bytes]]],
        *,
        topic_id: str,
        metrics: Metrics | None = None,
        watermark: Callable[[], int | None] = lambda: None,
        version: Callable[[], str | None] = lambda: None,
        shadow: Callable[[], str] = lambda: "",
        records: int = 5_000,
        size: int = 8 << 20,
        limits: Mapping[str, int] | None = None,
        new_store: Callable[[int], Store] | None = None,
        standby: Standby | None = None,
        border: Border | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._app = app
        self._topics = topics
        self._new_runner = new_runner
        self._held = held
        self._topic_id = topic_id
        self._metrics = metrics or Metrics()
        self._executor = ThreadPoolExecutor(max_workers=64, thread_name_prefix="partition")
        self._partitions: dict[int, ProfilePartition] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._new_store = new_store
        self._standby = standby
        self._asker: Consumer | None = None
        self._looking: asyncio.Task[None] | None = None
        self._hurry = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work = Work(
            topics=topics,
            executor=self._executor,
            metrics=self._metrics,
            done=self._done,
            watermark=watermark,
            version=version,
            shadow=shadow,
            records=records,
            size=size,
            limits=limits or {},
            changelog_end=None if new_store is None else self._changelog_end,
            border=border,
            erased=self._erased,
            spans=spans,
        )
        self._key_erasure = None
        if border is not None:
            self._key_erasure = KeyErasure(border, app.kafka, topics.profile_events, app.conf.id, watermark)
        self._erasing: asyncio.Task[None] | None = None

    @property
    def partitions(self) -> Mapping[int, ProfilePartition]:
        """What is owned now."""
        return self._partitions

    # ---- Owner ----

    async def take_over(self, partitions: set[int], generation: int) -> Mapping[int, int | None]:
        """Own exactly these: keep what was owned in the generation before, open the rest; the offset to start at."""
        self._hurry = dropped = False
        for number in list(self._partitions):
            kept = number in partitions and generation == self._partitions[number].generation + 1
            if not kept:
                await self._drop(number)
                dropped = True
        if dropped:  # runner, engine and profiles refer to each other, and a worker hardly ever looks for such by itself
            await asyncio.to_thread(give_back)
        opened = partitions - set(self._partitions)
        witnesses = await self._app.members.group_offsets(TP(self._topics.profile_events, number) for number in opened)
        loop = asyncio.get_running_loop()
        opening = [
            loop.run_in_executor(
                self._executor, self._open, number, generation, witnesses.get(TP(self._topics.profile_events, number))
            )
            for number in sorted(opened)
        ]
        results = await asyncio.gather(*opening, return_exceptions=True)
        self._partitions.update({result.number: result for result in results if isinstance(result, ProfilePartition)})
        failure = next((result for result in results if isinstance(result, BaseException)), None)
        if failure is not None:
            raise failure
        if opened:
            await asyncio.to_thread(give_back)
        if self._standby is not None:
            self._standby.own(self._partitions)
        for partition in self._partitions.values():
            partition.generation = generation
        if self._hurry:  # a rebalance has begun, and its `let_go` has passed: nobody would stop what is started now
            raise Stopped("a rebalance began during the takeover")
        for number, partition in self._partitions.items():
            self._tasks[number] = asyncio.create_task(self._run(partition), name=f"partition-{number}")
        self._loop = loop
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="ticks")
            if self._key_erasure is not None:
                self._erasing = asyncio.create_task(self._erase(self._key_erasure), name="erasures")
        return {number: partition.offset + 1 for number, partition in self._partitions.items()}

    async def let_go(self, leaving: bool) -> None:  # noqa: FBT001 # as `Owner` has it
        """Await the commits in flight; what was only folded is dropped with its batch."""
        self._hurry = True
        for partition in self._partitions.values():
            partition.stop()
        tasks, self._tasks = list(self._tasks.values()), {}
        await asyncio.gather(*tasks)
        if leaving:
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            if self._erasing is not None:
                self._erasing.cancel()
                self._erasing = None
            await asyncio.gather(*(self._drop(number) for number in list(self._partitions)))
            self._executor.shutdown(wait=False)

    # ---- the agent ----

    async def agent(self, stream: Any) -> None:
        """Faust's agent over `profile-events`: gives each turn to its partition."""
        events: AsyncIterable[EventT[Any]] = stream.events()
        async for event in events:
            batch = cast("Batch", event.value)
            partition = self._partitions.get(batch.partition)
            if partition is not None and batch.epoch == self._app.members.epoch:
                partition.deliver(batch)

    # ---- opening and dropping ----

    def _open(self, number: int, generation: int, witness: int | None) -> ProfilePartition:
        """Fence, restore, check. Blocks: runs in a thread."""
        topics, started = self._topics, monotonic()
        producer = TransactionalProducer(self._app.kafka, f"{self._app.conf.id}-{number}")
        store: Store | None = None
        try:
            producer.open()
            if self._hurry:
                raise Stopped(str(number))  # noqa: TRY301  the producer is closed below, as after any failure
            store = kept = self._store(number)

            def report(offset: int, end: int) -> None:
                kept.restored(offset)
                seconds = monotonic() - started
                self._metrics.restoring(number, profiles=len(kept.entries), left=max(0, end - offset), seconds=seconds)

            restore(
                self._app.kafka, topics.changelog, number, kept.entries,
                group=self._app.conf.id, progress=report, stop=lambda: self._hurry, start=kept.behind,
            )  # fmt: skip
            store = self._unsealed(kept)
            state = store.entries
            position = self._checked(number, state, witness)
            runner = self._new_runner(number, state, position)
            self._waiting(runner.rebuild_timers)
            if (erasure := self._key_erasure) is not None:
                whose = state.whose if isinstance(state, SealedEntries) else lambda _names: list(state)
                self._waiting(lambda: erasure.found(number, kept.entries, whose))
        except BaseException as error:
            producer.close()
            if store is not None:
                store.close()
            if isinstance(error, Damaged):
                raise ClusterError(f"{error}; {REBUILD}") from error
            raise
        self._held()[number] = state
        seconds = monotonic() - started
        logger.info("partition %s: %s profiles at offset %s in %.2f s", number, len(state), position.offset, seconds)
        return ProfilePartition(number, runner, producer, self._work, position.offset, generation, store)

    def _unsealed(self, store: Store) -> Store:
        """What was restored, for the fold: in memory opened, on disk sealed as it is. Raises Stopped, ClusterError."""
        border, state = self._work.border, store.entries
        if border is None:
            return store
        if self._new_store is not None:
            return SealedStore(store, border.sealer)
        sealed = dict(state)
        found = self._waiting(lambda: border.sealer.open_all(list(sealed.items())))
        state.clear()
        state.update(one for one in found if one is not None and one[1])
        return store

    def _waiting(self, call: Callable[[], T]) -> T:
        """Something that may need the key store, again until it answers. Raises Stopped."""
        border = self._work.border
        if border is None:
            return call()
        try:
            return border.wait(call, lambda: self._hurry)
        except Stopping as reason:
            raise Stopped(str(reason)) from None

    def _checked(self, number: int, state: MutableMapping[bytes, bytes], witness: int | None) -> Position:
        """The position, taken out of the state, unless it contradicts the log or the group's offset."""
        changelog = Changelog(self._topics.changelog, self._topics.profile_events, number, self._topic_id)
        position = changelog.position(state.pop(POSITION_KEY, None), witness)
        if position is not None:
            return position
        # Records before the first switch are folded under what is current when the partition is owned for the first time.
        version = self._work.version()
        switches = [SwitchPoint(0, version, 0)] if version is not None else []
        return Position(topic_id=self._topic_id, switches=switches)

    async def _drop(self, number: int) -> None:
        """Forget a partition: its state, its producer, its gauges."""
        partition = self._partitions.pop(number)
        self._held().pop(number, None)
        if self._key_erasure is not None:
            self._key_erasure.drop(number)
        self._metrics.released(self._topics.profile_events, number)
        await asyncio.to_thread(partition.producer.close)
        partition.store.close()

    def _store(self, number: int) -> Store:
        if self._new_store is not None:
            return self._new_store(number)
        return MemoryStore() if self._standby is None else self._standby.take(number)

    def _changelog_end(self, number: int) -> int:
        if self._asker is None:
            self._asker = Consumer(restore_conf(self._app.kafka, self._app.conf.id))
        return partition_bounds(self._asker, self._topics.changelog, number)[1]

    # ---- running ----

    async def _run(self, partition: ProfilePartition) -> None:
        try:
            await partition.run()
        except Exception as error:  # noqa: BLE001 # a partition that stands still is a zombie: the process ends
            self._app.fatal(error)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self._poke()

    def _poke(self) -> None:
        for number in self._tasks:
            self._partitions[number].poke()

    def look_soon(self) -> None:
        """The watermark has moved: look what is due. From any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._poke)

    async def _erase(self, erasure: KeyErasure) -> None:
        """Destroy the keys of who was erased, when it is time."""
        while True:
            await asyncio.sleep(LOOK_S)
            if erasure.idle:
                continue
            try:
                await asyncio.to_thread(erasure.step, list(self._partitions.values()))
            except RtcdpError as reason:
                logger.warning("data keys of erased people wait to be destroyed: %s", reason)

    def _erased(self, number: int, keys: list[bytes]) -> None:
        if self._key_erasure is not None:
            self._key_erasure.erased(number, keys)

    def _done(self, number: int, offset: int, epoch: int) -> None:
        self._app.members.done(TP(self._topics.profile_events, number), offset, epoch)
