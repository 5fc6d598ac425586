"""The deliverer: `rtcdp deliver`. Reads triggers and changes, sends them on, and keeps in Kafka what is not done yet.

Exit codes as those of every process: `lifecycle`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import uvloop
from faust.types import TP

from rtcdp.delivery.callbacks import CallbackServer
from rtcdp.delivery.destinations import Outlets
from rtcdp.delivery.inputs import check_cluster, inputs
from rtcdp.delivery.loading import load
from rtcdp.delivery.measures import Measures
from rtcdp.delivery.membership import Membership
from rtcdp.delivery.partition import Partition
from rtcdp.delivery.senders import Senders
from rtcdp.delivery.surroundings import Surroundings
from rtcdp.errors import SettingError
from rtcdp.monitoring.health import Health, HealthServer, watch
from rtcdp.monitoring.metrics import now_ms
from rtcdp.monitoring.tracing import spans_of
from rtcdp.processes.lifecycle import begin, guarded, stopping
from rtcdp.sealing.parcels import shared_sealer
from rtcdp.servers.cluster import Cluster
from rtcdp.settings.config import Settings
from rtcdp.transport.bounds import bounds
from rtcdp.transport.exits import leave
from rtcdp.transport.fetching import Fetching
from rtcdp.transport.transactions import TransactionalProducer
from rtcdp.worker.ingest.watermark import Ends

logger = logging.getLogger(__name__)

PATIENCE_S = 0.5
LOOK_S = 1.0
GATHER_S = 0.005
"""How long results are gathered before a transaction of them alone: many small ones load the broker and gain nothing."""
LAST_RESULTS_S = 3.0
HANDOVER_S = 20.0
TAKEOVER = "takeover"


class Deliverer:
    """The running process. `run` belongs to the event loop.

    fatal: what ends the process when it cannot go on.
    """

    def __init__(
        self, settings: Settings, outlets: Outlets, cluster: Cluster, *, fatal: Callable[[BaseException], None] = leave
    ) -> None:
        self.settings = settings
        self.outlets = outlets
        self.cluster = cluster
        self.measures = Measures(outlets.destinations, inputs(settings))
        self.health = Health(settings.stall_s)
        self.partitions: dict[int, Partition] = {}
        self._fatal = fatal
        self._inputs = inputs(settings)
        self._fetching = Fetching(settings.kafka(), f"{settings.app}-deliver", self._fail)
        self._ends = Ends(settings.kafka(), f"{settings.app}-deliver", interval=LOOK_S)
        self._threads = ThreadPoolExecutor(max(4, min(32, cluster.partitions[settings.triggers] + 2)), "deliver")
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ready: dict[int, set[TP]] = {}
        self._epoch = -1
        self._stop = asyncio.Event()
        self._change = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        sealer = shared_sealer(settings)
        spans = spans_of(settings, "deliver")
        self._senders = Senders(settings, outlets, now_ms, spans)
        self._around = Surroundings(
            settings,
            outlets,
            self._senders.lanes,
            cluster.topic_ids,
            {source.tenant: source.topic for source in reversed(settings.sources)},
            self.measures,
            self._threads,
            now_ms,
            traced=spans is not None,
            sealer=sealer,
        )
        self.health.missing(TAKEOVER, "no partitions have been taken over yet")

    def stop(self) -> None:
        """End in order. Thread-safe."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self) -> None:
        """Deliver until `stop`."""
        settings = self.settings
        member = Membership(
            settings.kafka(),
            settings.triggers,
            f"{settings.app}-deliver",
            f"{settings.instance}-deliver" if settings.instance else "",
            self._assigned,
            self._fail,
        )
        callbacks = await CallbackServer.start(settings, self.outlets, self.measures)
        member.start()
        hands = asyncio.create_task(self._hand_out())
        looks = asyncio.create_task(self._look())
        try:
            await self._stop.wait()
        finally:
            self._fetching.stop()
            await callbacks.close()
            await self._let_go(set(self.partitions), patient=True)
            for task in (hands, looks):
                task.cancel()
            await self._senders.close()
            await asyncio.to_thread(member.close)
            await asyncio.to_thread(self._fetching.close)
            await asyncio.to_thread(self._ends.close)
            self._threads.shutdown(wait=False, cancel_futures=True)

    # ---- which partitions ----

    def _assigned(self, owned: set[int]) -> None:
        """From the thread of the membership: these are ours now."""
        if self._stop.is_set():
            return
        future = asyncio.run_coroutine_threadsafe(self._own(owned), self._loop)
        try:
            future.result(HANDOVER_S + self.settings.stall_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process does not own what the group thinks it does
            self._fail(error)

    async def _own(self, owned: set[int]) -> None:
        async with self._change:
            self.health.missing(TAKEOVER, "partitions are being taken over")
            began = monotonic()
            await self._let_go(set(self.partitions) - owned, patient=True)
            taken = sorted(owned - set(self.partitions))
            found = await asyncio.gather(*(asyncio.to_thread(self._take_over, number) for number in taken))
            places = [TP(topic, number) for number in sorted(owned) for topic in self._inputs]
            known = await asyncio.to_thread(bounds, self.settings.kafka(), f"{self.settings.app}-deliver", places)
            for partition in found:
                for topic in self._inputs:
                    partition.start_from(topic, *known[TP(topic, partition.number)])
                self.partitions[partition.number] = partition
            offsets = {
                TP(topic, number): partition.taken[self.cluster.topic_ids.get(topic, topic)]
                for number, partition in self.partitions.items()
                for topic in self._inputs
            }
            self._ready = {number: set() for number in self.partitions}
            self._epoch = self._fetching.start(offsets)
            self._ends.watch(offsets)
            for partition in found:
                partition.resume()
                self._tasks[partition.number] = asyncio.create_task(self._work(partition))
            self.health.reached(TAKEOVER)
            waiting = sum(len(partition.pending) for partition in found)
            logger.info("delivering for partitions %s, %d wait; %.1f s", sorted(owned), waiting, monotonic() - began)

    def _take_over(self, number: int) -> Partition:
        producer = TransactionalProducer(self.settings.kafka(), f"{self.settings.app}-deliver-{number}")
        partition = Partition(number, self._around, producer)
        partition.open()
        return partition

    async def _let_go(self, numbers: set[int], *, patient: bool) -> None:
        """Do no more for these partitions: what is under way may end, its results are written, then another may have them."""
        leaving = [self.partitions[number] for number in numbers]
        if not leaving:
            return
        until = monotonic() + LAST_RESULTS_S
        for partition in leaving:
            partition.ending = True
        while patient and any(partition.busy or partition.attempting for partition in leaving) and monotonic() < until:  # noqa: ASYNC110 - many partitions and a deadline
            await asyncio.sleep(0.02)
        for partition in leaving:
            partition.wake.set()
            await self._tasks.pop(partition.number)
            partition.release()
            del self.partitions[partition.number]
            await asyncio.to_thread(partition.close)

    # ---- work ----

    async def _hand_out(self) -> None:
        """Tell partitions that there are records for them, for ever."""
        while True:
            epoch, places = await self._fetching.turns(PATIENCE_S)
            for place in places:
                if epoch == self._epoch and place.partition in self.partitions:
                    self._ready[place.partition].add(place)
                    self.partitions[place.partition].wake.set()

    async def _work(self, partition: Partition) -> None:
        """One turn of a partition after the other, until it ends."""
        name = f"turn of partition {partition.number}"
        most = self.settings.batch_records, self.settings.batch_bytes
        try:
            while not partition.ending or partition.busy:
                await partition.wake.wait()
                partition.wake.clear()
                ready = set() if partition.ending else self._ready.get(partition.number, set())
                if not ready and partition.busy:
                    await asyncio.sleep(GATHER_S)
                places, epoch = list(ready), self._epoch
                ready.clear()
                self.health.begin(name)
                fetched = [(place.topic, self._fetching.take(place, epoch, *most)) for place in places]
                await partition.turn({topic: messages for topic, messages in fetched if messages})
                for place in places:
                    self._fetching.end_turn(place, epoch)
                self.health.end(name)
        except Exception as error:  # noqa: BLE001 - fenced, refused or broken: this process must not go on
            self._fail(error)

    async def _look(self) -> None:
        """What can only be seen by looking now and then."""
        while True:
            self.health.beat()
            for name, lane in self._senders.lanes.items():
                self.measures.lane(name, len(lane), held=lane.held, disabled=lane.disabled)
            for partition in self.partitions.values():
                partition.look()
                for topic in self._inputs:
                    end = self._ends.found.get((topic, partition.number))
                    if end is not None:
                        taken = partition.taken[self.cluster.topic_ids.get(topic, topic)]
                        self.measures.lag(topic, partition.number, max(0, end.offset - taken))
            await asyncio.sleep(LOOK_S)

    def _fail(self, error: BaseException) -> None:
        self._fatal(error)


def run(settings: Settings) -> int:
    """Deliver until SIGTERM or SIGINT; returns the exit code. What cannot run says why in one line on stderr."""
    begin(settings)
    return guarded(lambda: _run(settings))


def _run(settings: Settings) -> None:
    if settings.destinations is None:
        raise SettingError("destinations: no folder of destinations given (--destinations or RTCDP_DESTINATIONS)")
    outlets = load(settings.destinations)
    logger.info("destinations: %s", ", ".join(f"{count} {name}" for name, count in outlets.summary().items()))
    cluster = check_cluster(settings)
    uvloop.run(_main(settings, outlets, cluster))


async def _main(settings: Settings, outlets: Outlets, cluster: Cluster) -> None:
    deliverer = Deliverer(settings, outlets, cluster)
    stopped = threading.Event()
    watch(deliverer.health, leave, stopped)
    server = None
    if settings.metrics_port >= 0:
        server = HealthServer(settings.metrics_host, settings.metrics_port, deliverer.measures.registry, deliverer.health)
    try:
        with stopping(deliverer.stop, settings.stop_s):
            await deliverer.run()
    finally:
        stopped.set()
        if server is not None:
            server.close()
