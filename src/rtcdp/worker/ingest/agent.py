"""The ingest agent: raw records in, clean events into `profile-events`, the rest into `events-dlq`.

Gapless and not transactional. Whatever dies when: a new owner begins behind the acknowledgements and makes the same
records again, with the same origins, and the fold drops what it has seen. So a source's records are made in order, by the
ingest version that `ingest-progress` names for their offset, and an offset is done only when its record is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message
from faust.types import TP, EventT

from rtcdp.errors import Unfit
from rtcdp.ingestion.ingestor import Accepted
from rtcdp.monitoring.health import Health
from rtcdp.monitoring.metrics import Metrics
from rtcdp.monitoring.tracing import parents_of
from rtcdp.servers.cluster import Cluster, source_name
from rtcdp.settings.config import Settings
from rtcdp.transport.app import App
from rtcdp.transport.bounds import bounds
from rtcdp.transport.gapless import GaplessProducer
from rtcdp.transport.owner import Batch, Owner
from rtcdp.worker.border import Border
from rtcdp.worker.ingest.clearing import clear_forever
from rtcdp.worker.ingest.command_queue import CommandQueue, people
from rtcdp.worker.ingest.held_ticks import bind_forever
from rtcdp.worker.ingest.lanes import Lane
from rtcdp.worker.ingest.log_writer import LogWriter
from rtcdp.worker.ingest.progress import Progress, ProgressTable, ProgressWriter
from rtcdp.worker.ingest.reports import Reports, announce
from rtcdp.worker.ingest.source_owner import SourceOwner
from rtcdp.worker.ingest.versions import Cleaned, IngestPlan, Plans
from rtcdp.worker.ingest.watermark import Ends

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans

logger = logging.getLogger(__name__)

CHUNK = 5_000
"""Most records cleaned in one go: the event loop serves the profile stage in between.

What is cleaned between two of its transactions is the next one, and a large one costs less per event: with 500 here both
agents took 47 us of CPU per event, with 5,000 (some 30 ms) 35, with 20,000 the same. Below full load fewer are waiting.
"""
CHUNK_BYTES = 4 << 20
IN_FLIGHT = 100_000
"""Records that may wait for their acknowledgement; beyond it nothing is taken."""
SERVE_S = 0.05
REPORT_S = 0.3
"""Longest between two reports; each answer about the ends is one, so that no watermark is old before it is told."""
LEAVE_S = 5.0


class Ingest:
    """All source partitions that this process owns, one producer for them all. Used from the event loop only.

    app:     the Faust app.
    cluster: what preflight found out.
    plan:    `tracking:` and `identity:` that are current.
    plans:   finds those of an earlier ingest version.
    table:   `ingest-progress`, followed.
    border:  seals, where personal data is encrypted.
    spans:   where batches with traced records are reported; None: nowhere, and no record's headers are handed on.
    """

    def __init__(  # noqa: PLR0913 # what it is put together from
        self,
        app: App,
        settings: Settings,
        cluster: Cluster,
        plan: IngestPlan,
        plans: Plans,
        table: ProgressTable,
        *,
        metrics: Metrics,
        health: Health,
        border: Border | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._app = app
        self._spans = spans
        self._border = border
        self._settings = settings
        self._cluster = cluster
        self._plan = plan
        self._plans = plans
        self._table = table
        self._metrics = metrics
        self._sources = {source.topic: source for source in settings.sources}
        self._arrival = any(source.time == "arrival" for source in settings.sources)
        self._producer = GaplessProducer(app.kafka)
        self._log = LogWriter(settings, cluster, self._producer, metrics, border)
        self._writer = ProgressWriter(app.kafka, settings.ingest_progress)
        self._reports = Reports(self._writer, metrics, health, settings.tick_grace_ms)
        self._ends = Ends(app.kafka, settings.app, told=self._answered)
        self._answer = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes: dict[TP, Lane] = {}
        self._generations: dict[str, int] = {}
        self._commands: dict[TP, CommandQueue] = {}
        self._asked: dict[TP, list[tuple[bytes | None, bytes | None] | None]] = {}
        self._serving: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._settled.set()
        self._beside: list[asyncio.Task[None]] = []

    def owner(self, topic: str) -> Owner:
        """Who takes that topic's partitions over."""
        return SourceOwner(self, topic)

    @property
    def lanes(self) -> Mapping[TP, Lane]:
        """What is owned now."""
        return self._lanes

    # ---- taking over and letting go ----

    async def take_over(self, topic: str, partitions: set[int], generation: int) -> dict[int, int | None]:
        """Own exactly these partitions of a topic; returns where each begins."""
        kept = generation == self._generations.get(topic, -1) + 1
        self._generations[topic] = generation
        for tp in [tp for tp in self._lanes if tp.topic == topic]:
            if tp.partition not in partitions or not kept:
                self._forget(tp)
        opened = [TP(topic, number) for number in sorted(partitions) if TP(topic, number) not in self._lanes]
        starts = await self._open(opened)
        self._loop = asyncio.get_running_loop()
        self._ends.watch((tp.topic, tp.partition) for tp in self._lanes)
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve_forever(), name="ingest")
            binding = bind_forever(self._app.kafka, self._sources, self._commands.values)
            self._beside.append(asyncio.create_task(binding, name="held-ticks"))
            if self._settings.delete_taken:
                self._beside.append(asyncio.create_task(clear_forever(self._app.kafka, self._taken), name="clearing"))
        return {tp.partition: starts.get(tp, lane.position) for tp, lane in self._lanes.items() if tp.topic == topic}

    async def _open(self, opened: list[TP]) -> dict[TP, int | None]:
        """Lanes for partitions that this process did not own before."""
        if not opened:
            return {}
        recorded, limits, committed = await asyncio.gather(
            asyncio.to_thread(self._table.read),
            asyncio.to_thread(bounds, self._app.kafka, self._settings.app, opened),
            self._app.members.group_offsets(opened),
        )
        starts: dict[TP, int | None] = {}
        announced = []
        for tp in opened:
            source = source_name(self._cluster.topic_ids[tp.topic], tp.partition)
            progress = recorded.get(source)
            low, high = limits[tp]
            if progress is None:
                # The group's offset alone says nothing: the topic may have been made again. Repeats are dropped by origin.
                progress, done = Progress(), low
                if committed.get(tp, 0) > low:
                    logger.warning("%s/%s is not the topic it was: read from its beginning", tp.topic, tp.partition)
            else:
                done = max(committed.get(tp, 0), progress.done)
            if done < low:
                logger.warning("%s/%s: the records %s to %s are gone unread", tp.topic, tp.partition, done, low - 1)
                done = low
            starts[tp] = done
            settings = self._sources.get(tp.topic)
            timed = self._arrival if settings is None else settings.time == "arrival"
            lane = Lane(source, done, progress.versions, timed=timed, watermark=progress.watermark)
            if self._take_up_version(lane, max(high, done)):
                announced.append(lane)
            self._lanes[tp] = lane
            if tp.topic == self._settings.commands:
                topics = frozenset(self._cluster.topic_ids[topic] for topic in self._sources)
                self._commands[tp] = CommandQueue(
                    source,
                    self._log,
                    self._log.target,
                    self._cluster.partitions[self._log.target],
                    topics,
                    arrival=self._arrival,
                    room=self._log.room,
                )
        await announce(self._writer, announced)
        return starts

    def _take_up_version(self, lane: Lane, end: int) -> bool:
        """Let the current ingest version count from the source's end on; true where that is new and to be announced.

        Everything before it may have been made by the owner before this one, under the version it had.
        """
        plan = self._plan
        if not lane.versions:
            lane.begin_version(lane.position, plan.version, plan.definitions)
        elif lane.versions[-1].version != plan.version:
            lane.begin_version(max(end, lane.versions[-1].offset), plan.version, plan.definitions)
        else:
            return False
        return True

    async def let_go(self, topic: str, *, leaving: bool) -> None:
        """Wait for the acknowledgements of what was taken, and record them; not for ever: a repeat does no harm."""
        deadline = monotonic() + LEAVE_S
        while self._producer.in_flight and monotonic() < deadline:
            self._producer.poll(0)
            await asyncio.sleep(0.002)
        self._advance()
        mine = [tp for tp in self._lanes if tp.topic == topic]
        for tp in mine:  # whoever comes next begins there, whatever the group has been told
            self._writer.publish(self._lanes[tp].source, self._lanes[tp].progress())
        if leaving:
            if self._serving is not None:
                self._serving.cancel()
                self._serving = None
                for task in self._beside:
                    task.cancel()
                self._beside.clear()
                await asyncio.to_thread(self._ends.close)
            for tp in mine:
                self._forget(tp)
        await asyncio.to_thread(self._writer.flush, 2.0)

    def _forget(self, tp: TP) -> None:
        lane = self._lanes.pop(tp)
        self._commands.pop(tp, None)
        self._producer.forget(lane.source)
        self._metrics.released(tp.topic, tp.partition)

    # ---- work ----

    async def agent(self, stream: Any) -> None:
        """Faust's agent over all source topics."""
        events: AsyncIterable[EventT[Any]] = stream.events()
        async for event in events:
            batch: Batch = event.value  # type: ignore[assignment] # what the transport puts there
            try:
                await self.turn(batch)
            except Exception as error:  # noqa: BLE001 # Faust would go on without the rest of the turn
                self._app.fatal(error)

    async def turn(self, batch: Batch) -> None:
        """One turn of one partition: take, clean, produce."""
        tp = TP(batch.topic, batch.partition)
        while self._producer.in_flight > IN_FLIGHT:
            self._producer.poll(0)
            await asyncio.sleep(0.002)
        await self._settled.wait()
        lane = self._lanes.get(tp)
        if lane is None or batch.epoch != self._app.members.epoch:
            return
        messages = batch.take(CHUNK, CHUNK_BYTES)
        if messages and self._border is None:
            self.work(tp, lane, messages)
        elif messages and not await self._work_sealed(tp, lane, messages, batch.epoch):
            return
        batch.end()
        await asyncio.sleep(0)  # turns follow each other without a wait: let the other tasks have theirs

    def work(self, tp: TP, lane: Lane, messages: list[Message]) -> None:
        """Make the records of consecutive messages of one partition."""
        started = perf_counter()
        cleaned = () if tp in self._commands else self._plans.clean(lane, self._sources[tp.topic], messages)
        self._send(tp, lane, messages, cleaned, started)

    async def _work_sealed(self, tp: TP, lane: Lane, messages: list[Message], epoch: int) -> bool:
        """The same where records are sealed: the data keys are asked for in between. False where the partition has gone."""
        border = self._border
        assert border is not None  # noqa: S101  the caller has looked
        while True:
            started, plan = perf_counter(), self._plan
            if tp in self._commands:
                cleaned: Sequence[Cleaned] = ()
                asked = await border.asked([(message.key(), message.value()) for message in messages])
                await border.prepare(people(one[0] for one in asked if one is not None))
                self._asked[tp] = asked
            else:
                cleaned = self._plans.clean(lane, self._sources[tp.topic], messages)
                await border.prepare({one.key for _, results in cleaned for one in results if isinstance(one, Accepted)})
            await self._settled.wait()
            if self._lanes.get(tp) is not lane or epoch != self._app.members.epoch:
                return False
            if plan is self._plan:  # else they were made under a version that no longer counts here
                self._send(tp, lane, messages, cleaned, started)
                return True

    def _send(self, tp: TP, lane: Lane, messages: list[Message], cleaned: Sequence[Cleaned], started: float) -> None:
        """Produce what the messages became."""
        parents = {} if self._spans is None else parents_of(messages)
        if self._spans is None or not parents:
            self._send_all(tp, lane, messages, cleaned, started, {})
            return
        about: dict[str, str | int] = {"rtcdp.topic": tp.topic, "rtcdp.partition": tp.partition, "rtcdp.records": len(messages)}
        with self._spans.batch("ingest", parents.values(), about):
            self._send_all(tp, lane, messages, cleaned, started, parents)

    def _send_all(
        self,
        tp: TP,
        lane: Lane,
        messages: list[Message],
        cleaned: Sequence[Cleaned],
        started: float,
        parents: Mapping[int, bytes],
    ) -> None:
        dead: Counter[str] = Counter()
        if (commands := self._commands.get(tp)) is not None:
            self._command(commands, tp, lane, messages, dead)
        rest = messages
        for ingestor, results in cleaned:
            dead += self._log.write(ingestor, results, rest[: len(results)], lane.source, parents)
            rest = rest[len(results) :]
        last = messages[-1]
        lane.took((last.offset() or 0) + 1, last.timestamp()[1])
        self._producer.poll(0)
        metrics = self._metrics
        metrics.taken("ingest", len(messages))
        if (found := self._sources.get(tp.topic)) is not None:
            metrics.of_tenant(found.tenant, len(messages))
        metrics.ingest_batch.observe(len(messages))
        metrics.ingest_time.observe(perf_counter() - started)
        if dead:
            metrics.dead("ingest", dead)

    def _command(self, commands: CommandQueue, tp: TP, lane: Lane, messages: Sequence[Message], dead: Counter[str]) -> None:
        def bury(message: Message) -> Callable[[Unfit], None]:
            def report(unfit: Unfit) -> None:
                dead[unfit.reason] += 1
                self._log.bury(message, lane.source, unfit)

            return report

        asked = self._asked.pop(tp, None) or [(message.key(), message.value()) for message in messages]
        for message, one in zip(messages, asked, strict=True):
            offset = message.offset() or 0
            if one is None:
                commands.skip(offset)
            else:
                commands.take(offset, *one, message.timestamp()[1], bury(message))
        commands.carry_out(self._table.done)

    # ---- progress ----

    def use(self, plan: IngestPlan) -> None:
        """Another `tracking:` or `identity:` is current: every lane goes on under it from its next record."""
        if plan.version == self._plan.version:
            return
        self._plan = plan
        self._plans.add(plan)
        asyncio.ensure_future(self._change_version()).add_done_callback(self._changed)

    async def _change_version(self) -> None:
        self._settled.clear()  # no turn makes records until the new version's offset is acknowledged
        try:
            lanes = [lane for lane in self._lanes.values() if self._take_up_version(lane, lane.position)]
            await announce(self._writer, lanes)
        finally:
            self._settled.set()

    def _changed(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._app.fatal(error)

    async def _serve_forever(self) -> None:
        reported = monotonic()
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._answer.wait(), SERVE_S)
                self._producer.poll(0)
                self._writer.poll()
                for commands in self._commands.values():
                    commands.carry_out(self._table.done)
                if self._answer.is_set() or monotonic() - reported >= REPORT_S:
                    self._answer.clear()
                    reported = monotonic()
                    done = sum(lane.done for lane in self._lanes.values())
                    self._reports.tell(self._advance(), done, self._producer.in_flight)
        except Exception as error:  # noqa: BLE001 # without this task nothing is ever done again
            self._app.fatal(error)

    def _answered(self) -> None:
        """There is an answer about the ends of the sources. Called in the thread that asks."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._answer.set)

    def _advance(self) -> list[Lane]:
        """Bring every lane up to date; those that moved."""
        acknowledged = self._producer.acknowledged()
        epoch, moved = self._app.members.epoch, []
        for tp, lane in self._lanes.items():
            place = (tp.topic, tp.partition)
            end = self._ends.found.get(place)
            if lane.advance(acknowledged.get(lane.source), end, self._ends.empty.get(place)):
                moved.append(lane)
                self._app.members.done(tp, lane.done, epoch)
            elif lane.may_be_empty(end):
                self._ends.look_closer(place, lane.position)
            lag = None if end is None else max(0, end.offset - lane.position)
            self._metrics.progress(tp.topic, tp.partition, lag=lag, uncommitted=lane.position - lane.done)
        return moved

    def _taken(self) -> dict[TP, int]:
        """Up to where the owned partitions of the sources are done."""
        return {tp: lane.done for tp, lane in self._lanes.items() if tp.topic in self._sources}
