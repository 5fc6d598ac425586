"""`rtcdp demo`: an embedded broker, the real worker as a process of its own, a generated shop, and the proof that nothing was lost.

What the worker publishes is compared with an offline replay of the shop's own list of events, not of what Kafka holds.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rtcdp.brokers import EmbeddedKafka
from rtcdp.commands import tick
from rtcdp.config import Settings
from rtcdp.errors import RtcdpError
from rtcdp.local_process import LocalProcess, free_port
from rtcdp.rules.loading import load
from rtcdp.simulate.board import Board, Gauges, scrape
from rtcdp.simulate.oracle import Differences, Output, compare
from rtcdp.simulate.replay import replay
from rtcdp.simulate.screen import draw, save_picture
from rtcdp.simulate.shop import DAY_MS, Shop
from rtcdp.simulate.traffic import Feeder, Reader, Timed

PARTITIONS = 8
UNREAD_BYTES = 2 << 20  # a partition of the embedded broker keeps 5 MiB: never let more than this wait in one
AFTERWARDS_MS = 40 * DAY_MS  # how far time runs on after the last event: far enough for "30 days without an order"
READY_S = 60.0
SILENCE_S = 15.0  # outputs that are expected and do not come within this are lost
SETTLE_S = 0.7  # outputs that are not expected would come within this
SHOWN = 5


@dataclass(frozen=True)
class DemoOptions:
    """What `rtcdp demo` was asked for. events: records sent; rate: per second, 0 for no limit; picture: an SVG to save."""

    events: int = 20_000
    rate: float = 1_500
    seed: int = 1
    live: bool = True
    picture: Path | None = None


@dataclass(frozen=True)
class Report:
    """What came of it. lost: outputs missing, too many, or different from the offline replay. Latency in ms."""

    events_in: int
    events_dead: int
    profiles: int
    changes: int
    triggers: int
    latency_ms: dict[str, float]
    events_per_s: float
    lost: int
    missing: int
    extra: int
    different: int

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def shop_definitions() -> Path:
    """The folder of the shop's definitions: in the installed package, else in the checkout."""
    packaged = Path(__file__).parents[1] / "examples" / "shop"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "examples" / "shop"


def run(options: DemoOptions) -> Report:
    """Run the demo. Raises RtcdpError where it cannot run."""
    folder = shop_definitions()
    definitions = load(folder)
    shop = Shop(options.seed)
    records = [Timed(key, value, shop.now) for key, value in shop.records(options.events)]
    until = shop.now + AFTERWARDS_MS
    board = Board(total=len(records))
    with EmbeddedKafka(quiet=options.live) as broker, tempfile.TemporaryDirectory(prefix="rtcdp-demo-") as scratch:
        settings = _settings(broker, folder, Path(scratch))
        with _worker(settings, Path(scratch)) as process:
            expected = list(replay((record.value for record in records), definitions, until))
            _await_ready(process, settings.metrics_port)
            found = _play(options, settings, records, until, len(expected), board, process)
    differences = compare(expected, found.outputs)
    report = _report(board, found, differences)
    if options.live:
        _print(report)
    _explain(differences, found.failures)
    return report


@dataclass(frozen=True)
class _Found:
    outputs: list[Output]
    seconds: float
    gauges: Gauges
    failures: list[str]


def _settings(broker: EmbeddedKafka, folder: Path, scratch: Path) -> Settings:
    flags: dict[str, Any] = {
        "bootstrap": broker.bootstrap,
        "app": "demo",
        "definitions": folder,
        "sources": "events:event",
        "partitions": PARTITIONS,
        "metrics_port": free_port(),
        "log_level": "warning",
        "state_dir": scratch,
    }
    settings = Settings(**flags)  # not `load`: a demo is the same whatever the environment says
    one_partition = {settings.definitions_topic, settings.ingest_progress}
    for topic in (*(source.topic for source in settings.sources), *settings.own_topics().values()):
        broker.create_topic(topic, 1 if topic in one_partition else PARTITIONS)
    return settings


@contextmanager
def _worker(settings: Settings, scratch: Path) -> Iterator[LocalProcess]:
    inherited = [f"--unset={name}" for name in os.environ if name.startswith("RTCDP_")]
    command = ["env", *inherited, sys.executable, "-m", "rtcdp", "worker", "--config", str(scratch / "worker.toml")]
    given = ("bootstrap", "app", "definitions", "partitions", "metrics_port", "log_level", "state_dir")
    lines = [f'{name} = "{getattr(settings, name)}"' for name in given]
    (scratch / "worker.toml").write_text("\n".join([*lines, 'sources = "events:event"', ""]))
    process = LocalProcess(command, scratch / "worker.log")
    try:
        yield process
    finally:
        process.stop()


def _await_ready(process: LocalProcess, port: int) -> None:
    deadline = time.monotonic() + READY_S
    while scrape(port) is None:
        _check(process)
        if time.monotonic() > deadline:
            raise RtcdpError(f"the worker is not ready after {READY_S:.0f} s: {process.last_words()}")
        time.sleep(0.05)


def _check(process: LocalProcess) -> None:
    if process.code is not None:
        raise RtcdpError(f"the worker ended with code {process.code}: {process.last_words()}")


def _play(
    options: DemoOptions,
    settings: Settings,
    records: Sequence[Timed],
    until: int,
    expected: int,
    board: Board,
    process: LocalProcess,
) -> _Found:
    """Send everything, let time run on, and read until all has come or nothing comes any more."""
    topics = {
        settings.profile_changes: "profile-changes",
        settings.triggers: "triggers",
        settings.events_dlq: "events-dlq",
    }
    mean = max(1, sum(len(record.value or b"") for record in records) // len(records))
    window = UNREAD_BYTES * PARTITIONS // mean
    feeder = Feeder(
        settings.bootstrap, "events", records, options.rate, board, lambda: board.gauges.folded + board.counts["events-dlq"] + window
    )
    reader = Reader(settings.bootstrap, topics, board)
    reader.start()
    with _screen(board, live=options.live) as refresh:
        feeder.start()
        while feeder.is_alive():
            _look(settings, process, board, refresh)
        if options.picture:
            _look(settings, process, board, refresh)
            save_picture(board, options.picture)
        board.note = "the shop has closed; time runs on for 40 days ..."
        closed = time.monotonic()
        tick(settings, str(until))
        while not _finished(board, expected, closed):
            _look(settings, process, board, refresh)
    feeder.stop()
    reader.stop()
    return _Found(board.outputs, board.last_event_at - feeder.began, board.gauges, feeder.failed + reader.failed)


def _finished(board: Board, expected: int, closed: float) -> bool:
    silence = time.monotonic() - max(board.last_output_at, closed)
    return silence > (SETTLE_S if len(board.outputs) >= expected else SILENCE_S)
