"""The process that people deploy: everything checked, put together, run, and stopped in order.

Exit codes: 0 an orderly stop, 1 it cannot go on (start it again), 2 a setting, the definitions or the cluster is wrong.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import faust

from rtcdp.control.audit import Actor, Trail
from rtcdp.control.reviews import NotNow, insist
from rtcdp.control.versions import CURRENT, DefinitionsTopic, Told, Versions, named, propose
from rtcdp.errors import SettingError, Stalled
from rtcdp.monitoring.health import Health, HealthServer, watch
from rtcdp.monitoring.metrics import Metrics
from rtcdp.monitoring.tracing import spans_of
from rtcdp.position import Position, SwitchPoint
from rtcdp.processes.lifecycle import WELL, begin, guarded
from rtcdp.records import SWITCH_KEY
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load_marked
from rtcdp.sealing.sealer import Sealer
from rtcdp.servers.cluster import Cluster, source_name
from rtcdp.servers.preflight import preflight
from rtcdp.settings.config import Settings
from rtcdp.transport.app import App
from rtcdp.transport.exits import leave
from rtcdp.transport.settings import LONG_POLL_MS
from rtcdp.worker.app import Worker, build
from rtcdp.worker.border import Border
from rtcdp.worker.folder import FolderWatch
from rtcdp.worker.ingest.agent import Ingest
from rtcdp.worker.ingest.progress import ProgressTable
from rtcdp.worker.ingest.versions import IngestPlan, Plans
from rtcdp.worker.ingest.watermark import Ends, Watermark, expected_sources
from rtcdp.worker.layout import check_layout, marking_of, sealer_for
from rtcdp.worker.monitor import Monitor
from rtcdp.worker.profiles.partition import NOTHING
from rtcdp.worker.profiles.runners import new_runner
from rtcdp.worker.profiles.standby import Standby
from rtcdp.worker.profiles.stores import RocksStore, Store
from rtcdp.worker.profiles.work import Runner

logger = logging.getLogger(__name__)

EMBEDDED_POLL_MS = 5


class Assembly:
    """A worker with everything around it, ready to run.

    settings: what it was told. cluster: what preflight found. fatal: what ends the process.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        topic: DefinitionsTopic,
        versions: Versions,
        *,
        sealer: Sealer | None = None,
        fatal: Callable[[BaseException], None] = leave,
    ) -> None:
        self.settings = settings
        self.cluster = cluster
        self.metrics = Metrics()
        self.health = Health(settings.stall_s)
        self._border = None if sealer is None else Border(sealer, self.health, (SWITCH_KEY, NOTHING))
        self._name = marking_of(topic, settings.app, sealer)
        self._spans = spans_of(settings, "worker")
        self._topic = topic
        self._versions = versions
        self._fatal = fatal
        kafka = settings.kafka()
        self.table = ProgressTable(kafka, settings.ingest_progress, cluster.partitions[settings.ingest_progress], settings.app)
        self.watermark = Watermark(self.table, expected_sources(settings, cluster), settings.tick_grace_ms)
        self._ends = Ends(kafka, settings.app, interval=1.0)
        self._ingest: Ingest | None = None
        self._stopped = threading.Event()
        self._server: HealthServer | None = None
        self._folder = _watch_of(settings, topic)
        self._standby = (
            Standby(kafka, settings.changelog, cluster.partitions[settings.changelog], settings.app)
            if settings.standby and settings.store == "memory"
            else None
        )
        self.worker: Worker = build(
            settings,
            topic_ids=cluster.topic_ids,
            new_runner=self._new_runner,
            ingest=self._new_ingest,
            metrics=self.metrics,
            watermark=self.watermark.now,
            version=lambda: versions.current,
            shadow=lambda: versions.shadow,
            limits=cluster.max_message_bytes,
            new_store=self._new_store if settings.store == "rocksdb" else None,
            standby=self._standby,
            border=self._border,
            spans=self._spans,
            fatal=fatal,
            # The embedded broker does not end a long poll when records come: there every fetch would wait in full.
            fetch_wait_ms=EMBEDDED_POLL_MS if cluster.embedded else LONG_POLL_MS,
        )
        if self.worker.profiles is not None:
            self.table.told = self.worker.profiles.look_soon
        monitor = Monitor(self.worker, settings.profile_events, self.metrics, self.health, self.watermark, self._ends)
        self.worker.app.task(monitor.run)

    @property
    def metrics_port(self) -> int | None:
        """Where /metrics answers; None where nothing does."""
        return None if self._server is None else self._server.port

    def start(self) -> None:
        """Begin what runs beside Faust. Raises SettingError where the port for metrics is taken."""
        if self.settings.metrics_port >= 0:
            self._server = HealthServer(
                self.settings.metrics_host, self.settings.metrics_port, self.metrics.registry, self.health
            )
        self.table.start()
        self._topic.follow(self._switch, self._evaluate_beside)
        if self._folder is not None:
            self._folder.start()
        if self._standby is not None:
            self._standby.start()
        watch(self.health, self._fatal, self._stopped)

    def close(self) -> None:
        """End what `start` began."""
        self._stopped.set()
        if self._folder is not None:
            self._folder.close()
        self._topic.close()
        self.table.close()
        if self._standby is not None:
            self._standby.close()
        self._ends.close()
        if self._server is not None:
            self._server.close()

    def _new_store(self, number: int) -> Store:
        """A RocksDB for one partition, of this replica alone."""
        settings = self.settings
        folder = settings.state_dir / "profiles" / settings.app / (settings.instance or "one") / str(number)
        return RocksStore(folder, source_name(self.cluster.topic_ids[settings.changelog], number))

    def _new_runner(self, number: int, state: MutableMapping[bytes, bytes], position: Position) -> Runner:
        if not position.switches:  # nobody has owned the partition before: it begins under what is current
            position.switches = [SwitchPoint(0, self._versions.current, 0)]
        return new_runner(self.settings, self.cluster, self._versions, number, state, position, self._name)

    def _new_ingest(self, app: App) -> Ingest:
        definitions = self._versions.definitions(self._versions.current)
        if definitions is None:
            raise SettingError(f"definitions: the version {self._versions.current} cannot be read")
        plan = IngestPlan.of(definitions)
        self._ingest = Ingest(
            app,
            self.settings,
            self.cluster,
            plan,
            Plans(self._versions.definitions, plan),
            self.table,
            metrics=self.metrics,
            health=self.health,
            border=self._border,
            spans=self._spans,
        )
        return self._ingest

    def _switch(self, version: str) -> None:
        """Another version is current. Called from a thread: it is compiled here, off the event loop."""
        try:
            definitions = self._versions.make_current(version)
        except KeyError:
            logger.warning("the definitions %s are current and are not known: %s stays", version, self._versions.current)
            return
        logger.info("the definitions %s are current now", version)
        if self._ingest is not None:
            self.worker.app.loop.call_soon_threadsafe(self._ingest.use, IngestPlan.of(definitions))

    def _evaluate_beside(self, version: str) -> None:
        """Another version, or none, is evaluated beside the current one. Called from a thread."""
        try:
            self._versions.make_shadow(version)
        except KeyError:
            logger.warning("the definitions %s are to be evaluated beside and are not known", version)
            return
        logger.info("evaluated beside the current definitions: %s", version or "none")


class _FaustWorker(faust.Worker):
    """Faust's worker, ended by force when an orderly stop takes too long."""

    def __init__(self, app: App, stop_s: float, **options: Any) -> None:
        super().__init__(app, **options)
        self.spinner = None  # it writes control characters, whatever `quiet` says
        self._stop_s = stop_s

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        super()._schedule_shutdown(signal)
        timer = threading.Timer(self._stop_s, leave, [Stalled(f"the orderly stop took longer than {self._stop_s:.0f} s")])
        timer.daemon = True
        timer.start()

    def _enter_debugger(self) -> None:
        """Nothing: SIGUSR2 must not stop a process that people deploy."""


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code. What cannot run says why in one line on stderr."""
    begin(settings)
    return guarded(lambda: _work(settings))


def _work(settings: Settings) -> int:
    assembly = assemble(settings)
    assembly.start()
    _settle_collector()
    try:
        return _run_until_stopped(assembly)
    finally:
        assembly.close()


def _settle_collector() -> None:
    """Profiles in memory are no garbage: going through them all again and again costs throughput and long pauses."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 4, 50_000)  # what has come since the last time is gone through in some milliseconds


def _run_until_stopped(assembly: Assembly) -> int:
    worker = _FaustWorker(
        assembly.worker.app,
        assembly.settings.stop_s,
        loglevel=assembly.settings.log_level.upper(),
        logfile=None,
        quiet=True,  # else a banner on standard output
        override_logging=False,
        redirect_stdouts=False,
        loop=asyncio.new_event_loop(),
    )
    run: Callable[[], object] = worker.execute_from_commandline
    try:
        run()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else WELL
    return WELL


def assemble(settings: Settings, *, fatal: Callable[[BaseException], None] = leave) -> Assembly:
    """Check everything and put the worker together; nothing runs yet.

    Raises SettingError, DefinitionErrors, ClusterError: what is wrong, in one sentence each.
    """
    definitions, shadow = _from_folder(settings.definitions)
    cluster = preflight(settings)
    for sentence in cluster.unchecked:
        logger.warning("not checked: %s", sentence)
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, settings.app)
    topic.read()
    sealer = sealer_for(topic, settings, cluster)
    first = (definitions.version if definitions else named(topic.entries, CURRENT)) or ""
    check_layout(topic, settings, cluster, first, keys="" if sealer is None else sealer.id)
    if definitions is not None:
        try:
            done = propose(topic, definitions, _instance(settings), shadow=shadow, told=_told(settings, topic))
        except NotNow as reason:
            logger.warning("what is in force stays: %s", reason)
        else:
            logger.info("definitions %s: %s", definitions.version, done)
    return Assembly(settings, cluster, topic, Versions(topic), sealer=sealer, fatal=fatal)


def _instance(settings: Settings) -> str:
    """Who proposes a folder: this replica's name, else the machine's."""
    return settings.instance or socket.gethostname()


def _watch_of(settings: Settings, topic: DefinitionsTopic) -> FolderWatch | None:
    if settings.definitions is None or not settings.watch_definitions:
        return None
    return FolderWatch(settings.definitions, topic, _instance(settings), _told(settings, topic))


def _told(settings: Settings, topic: DefinitionsTopic) -> Told:
    """Puts into the audit log that a folder's definitions become current; raises NotNow where they are to be reviewed first."""

    def told(before: str, after: str) -> None:
        if before:  # without any there is nothing to go on with
            insist(settings, topic.entries, after)
        trail = Trail(settings, Actor("process", f"worker {_instance(settings)}"))
        trail.write("apply", about={"version": after, "previous": before, "folder": str(settings.definitions)})

    return told


def _from_folder(folder: Path | None) -> tuple[Definitions | None, bool]:
    if folder is None:
        return None, False
    if not folder.is_dir():
        raise SettingError(f"definitions: {folder} is no folder")
    return load_marked(folder)
