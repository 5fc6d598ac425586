"""`rtcdp demo`: an embedded broker, the real worker as a process of its own, a generated shop, and what came out checked.

What the worker publishes is compared with an offline replay of the shop's own list of events, not of what Kafka holds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rtcdp.control.commands import tick
from rtcdp.errors import RtcdpError
from rtcdp.rules.loading.folder import load
from rtcdp.servers.embedded_kafka import EmbeddedKafka
from rtcdp.servers.local_process import LocalProcess, free_port
from rtcdp.settings.config import Settings
from rtcdp.simulate.board import Board, ready, scrape
from rtcdp.simulate.oracle import Differences, Output, compare, order_free
from rtcdp.simulate.replay import replay
from rtcdp.simulate.screen import draw, save_picture
from rtcdp.simulate.shop import DAY_MS, Shop
from rtcdp.simulate.traffic import Feeder, Reader, Timed
from rtcdp.simulate.window import Window, child, opened

CONFIG = "demo.toml"
PARTITIONS = 8
UNREAD_BYTES = 2 << 20  # a partition of the embedded broker keeps 5 MiB: never let more than this wait in one
AFTERWARDS_MS = 40 * DAY_MS  # how far time runs on after the last event: far enough for "30 days without an order"
STRIKE_S = 0.5  # between two ticks of the shop's clock
LOOK_S = 0.2
READY_S = 60.0
SILENCE_S = 15.0  # outputs that are expected and do not come within this are lost
SETTLE_S = 0.7  # outputs that are not expected would come within this

SHOWN = 5
Judge = Callable[[Sequence[Output]], Differences]
"""Compares what was found with what should have been."""


@dataclass(frozen=True)
class DemoOptions:
    """What `rtcdp demo` was asked for.

    events: records sent; rate: per second, 0 for no limit; live: drawn in the terminal; picture: an SVG to save.
    console: with the console in a browser.
    """

    events: int = 20_000
    rate: float = 1_500
    seed: int = 1
    live: bool = True
    picture: Path | None = None
    console: bool = False


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
    if options.picture:
        save_picture(Board(total=options.events), options.picture)  # better now than after the show
    folder = shop_definitions()
    definitions = load(folder)
    shop = Shop(options.seed)
    records = [Timed(key, value, shop.now) for key, value in shop.records(options.events)]
    until = shop.now + AFTERWARDS_MS
    with ExitStack() as stack:
        broker = stack.enter_context(EmbeddedKafka(quiet=options.live))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtcdp-demo-")))
        settings = _settings(broker, folder, scratch)
        process = stack.enter_context(_worker(settings, scratch))
        window = stack.enter_context(opened(scratch / CONFIG, scratch)) if options.console else Window()
        expected = list(replay((record.value for record in records), definitions, until))
        _await_ready(process, settings.metrics_port)
        judge = partial(compare, expected, order_free=order_free(definitions))
        found = _play(options, settings, records, until, judge, process, window)
        differences = judge(found.board.outputs)
        report = _report(found, differences)
        if options.live:
            _print(report)
        _explain(differences, found.failures)
        window.keep_open()
    return report


@dataclass(frozen=True)
class _Found:
    """What was seen. seconds: from the first record sent to the last output that an event caused."""

    board: Board
    seconds: float
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
    given = ("bootstrap", "app", "definitions", "partitions", "metrics_port", "log_level", "state_dir")
    lines = [f'{name} = "{getattr(settings, name)}"' for name in given]
    (scratch / CONFIG).write_text("\n".join([*lines, 'sources = "events:event"', ""]))
    process = LocalProcess(child(scratch / CONFIG, "worker"), scratch / "worker.log")
    try:
        yield process
    finally:
        process.stop()


def _await_ready(process: LocalProcess, port: int) -> None:
    deadline = time.monotonic() + READY_S
    while not ready(port):
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
    judge: Judge,
    process: LocalProcess,
    window: Window,
) -> _Found:
    """Send everything, let time run on, and read until all has come or nothing comes any more."""
    topics = {
        settings.profile_changes: "profile-changes",
        settings.triggers: "triggers",
        settings.events_dlq: "events-dlq",
    }
    mean = max(1, sum(len(record.value or b"") for record in records) // len(records))
    unread = UNREAD_BYTES * PARTITIONS // mean
    board = Board(total=len(records))

    def allowed() -> int:
        return board.gauges.folded + board.counts["events-dlq"] + unread

    feeder = Feeder(settings.bootstrap, settings.sources[0].topic, records, options.rate, board, allowed)
    reader = Reader(settings.bootstrap, topics, board)
    clock = _ShopClock(settings, records, feeder)
    reader.start()
    with _screen(board, live=options.live) as refresh:
        look = partial(_look, settings, process, board, refresh)
        feeder.start()
        while feeder.is_alive():
            look()
            board.note = _of_console(window)
            clock.strike()
        look()
        if options.picture:
            save_picture(board, options.picture)
        board.note = "The shop has closed; its time runs on for another 40 days. " + _of_console(window)
        end = _End(board, judge)
        tick(settings, str(until))
        while not end.has_come():
            look()
    feeder.stop()
    reader.stop()
    return _Found(board, board.last_event_at - feeder.began, feeder.failed + reader.failed)


def _of_console(window: Window) -> str:
    if window.missing:
        return f"No console: {window.missing}"
    return f"Console: {window.link}" if window.link else ""


class _ShopClock:
    """Lets the shop's time go on by itself: explicit ticks up to the last record that Kafka surely has.

    Outputs do not depend on them: the offline replay has none of these ticks.
    """

    def __init__(self, settings: Settings, records: Sequence[Timed], feeder: Feeder) -> None:
        self._settings = settings
        self._records = records
        self._feeder = feeder
        self._next = 0.0

    def strike(self) -> None:
        """Send a tick, if it is time for one."""
        confirmed = self._feeder.confirmed
        if confirmed and time.monotonic() >= self._next:
            tick(self._settings, str(self._records[confirmed - 1].at))
            self._next = time.monotonic() + STRIKE_S


class _End:
    """Looks, whenever nothing has come for a moment, whether all has."""

    def __init__(self, board: Board, judge: Judge) -> None:
        self._board = board
        self._judge = judge
        self._closed = time.monotonic()
        self._judged = 0.0

    def has_come(self) -> bool:
        """All that is expected is there, or nothing comes any more."""
        last = max(self._board.last_output_at, self._closed)
        silence = time.monotonic() - last
        if silence <= SETTLE_S:
            return False
        if silence > SILENCE_S:
            return True
        if self._judged == last:
            return False
        self._judged = last
        return self._judge(self._board.outputs).lost == 0


def _look(settings: Settings, process: LocalProcess, board: Board, refresh: Callable[[], None]) -> None:
    """One turn of the main thread: ask the worker how it is doing, draw."""
    time.sleep(LOOK_S)
    _check(process)
    board.gauges = scrape(settings.metrics_port) or board.gauges
    refresh()


@contextmanager
def _screen(board: Board, *, live: bool) -> Iterator[Callable[[], None]]:
    if not live:
        yield lambda: None
        return
    with Live(draw(board), console=Console(), auto_refresh=False, screen=False) as view:
        yield lambda: view.update(draw(board), refresh=True)


def _report(found: _Found, differences: Differences) -> Report:
    board = found.board
    return Report(
        events_in=board.sent,
        events_dead=board.counts["events-dlq"],
        profiles=board.gauges.profiles,
        changes=board.counts["profile-changes"],
        triggers=board.counts["triggers"],
        latency_ms={"p50": round(board.gauges.p50_ms, 1), "p99": round(board.gauges.p99_ms, 1)},
        events_per_s=round(board.sent / found.seconds, 1) if found.seconds > 0 else 0.0,
        lost=differences.lost,
        missing=len(differences.missing),
        extra=len(differences.extra),
        different=len(differences.different),
    )


def _print(report: Report) -> None:
    table = Table.grid(padding=(0, 2))
    rows = (
        ("events in", f"{report.events_in:,}"),
        ("dead letters", f"{report.events_dead:,}"),
        ("profiles", f"{report.profiles:,}"),
        ("profile changes", f"{report.changes:,}"),
        ("triggers", f"{report.triggers:,}"),
        ("latency, append to commit", f"p50 {report.latency_ms['p50']} ms, p99 {report.latency_ms['p99']} ms"),
        ("events per second", f"{report.events_per_s:,.0f}"),
        ("lost", f"{report.lost:,}  (compared with an offline replay of the shop's own events)"),
    )
    for name, value in rows:
        table.add_row(name, f"[bold]{value}[/]")
    console = Console()
    console.print()
    console.print(table)


def _explain(differences: Differences, failures: Sequence[str]) -> None:
    """What is wrong, if anything is: a few examples of each kind, on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    for failure in failures[:SHOWN]:
        console.print(f"failed: {failure}")
    for kind, outputs in (("missing", differences.missing), ("extra", differences.extra)):
        for output in outputs[:SHOWN]:
            console.print(f"{kind}: {output.topic} {output.value.decode('utf-8', 'replace')}")
    for wanted, got in differences.different[:SHOWN]:
        console.print(f"expected: {wanted.topic} {wanted.value.decode('utf-8', 'replace')}")
        console.print(f"found:    {got.topic} {got.value.decode('utf-8', 'replace')}")
