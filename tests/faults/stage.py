"""What rows share: a Kafka, a folder, a seed, how much to do; and how a row's result is put together."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from faults.processes import Failed, Launcher
from faults.proxy import Proxy
from faults.rig import Rig
from faults.sending import Load
from rtcdp.servers import local_kafka
from rtcdp.servers.local_kafka import LocalKafka
from rtcdp.servers.local_process import free_port

ADDING = threading.Lock()
FAULTS = ("faults", "crashes_at_points", "kills_in_transaction", "group_faults")
BAD = ("lost", "wrong", "missing", "extra", "duplicate_ids")


@dataclass
class Result:
    """One line of the report.

    faults:      how many were injected.
    crashes_at_points: those of them that were a kill -9 at a named fail point, each with a restart at once;
    kills_in_transaction: of these, with an open transaction at the broker.
    group_faults: those that struck all workers at once, or moved partitions: the broker away, slow or cut off, every worker
                 killed, one that came, left, or slept through a takeover.
    lost:        events that no profile has counted; wrong, missing, extra: outputs; duplicate_ids: outputs repeated.
    worst_gap_s: longest time between an event, or the instant of what time does, and its output.
    caught_up_s: from the last fault to the last answer.
    control_red: whether the same went wrong without the row's protection; None: there can be no control, `note` says why.
    passed:      whether all of it was as it must be.
    """

    row: int
    name: str
    seed: int
    events: int = 0
    faults: int = 0
    crashes_at_points: int = 0
    kills_in_transaction: int = 0
    group_faults: int = 0
    lost: int = 0
    wrong: int = 0
    missing: int = 0
    extra: int = 0
    duplicate_ids: int = 0
    worst_gap_s: float = 0.0
    caught_up_s: float = 0.0
    control: str = ""
    control_red: bool | None = None
    passed: bool = True
    seconds: float = 0.0
    note: str = ""
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def add(self, verdict: dict[str, Any], rig: Rig) -> None:
        """Count a run in."""
        with ADDING:
            self._add(verdict, rig)

    def _add(self, verdict: dict[str, Any], rig: Rig) -> None:
        self.events += verdict["events"]
        self.add_faults(rig)
        for name in BAD:
            setattr(self, name, getattr(self, name) + verdict[name])
        self.worst_gap_s = max(self.worst_gap_s, round(verdict["worst_gap_s"], 3))
        bad = {name: verdict[name] for name in BAD if verdict[name]}
        if bad:
            self.fail(f"{bad}, for example {verdict['examples'][:3]}")

    def add_faults(self, rig: Rig) -> None:
        """Count a run's faults in, by kind."""
        self.faults += rig.faults
        self.group_faults += rig.group_faults
        killed = [point for point in rig.points() if point["action"] == "kill"]
        self.crashes_at_points += len(killed)
        self.kills_in_transaction += sum(point["open"] for point in killed)

    def fail(self, why: str) -> None:
        """Something was not as it must be."""
        self.passed = False
        self.failures.append(why)


class Stage:
    """Where rows are played.

    bootstrap: of a Kafka that goes on during all of them.
    share:     how much of a full row is done, 0 to 1.
    minutes:   after so many the longest loops end early; 0: never.
    """

    def __init__(self, bootstrap: str, folder: Path, seed: int, share: float = 1.0, minutes: float = 0.0) -> None:
        self.bootstrap, self.folder, self.seed, self.share = bootstrap, folder, seed, share
        self._until = time.monotonic() + minutes * 60 if minutes else float("inf")
        self.launcher = Launcher()
        self._numbers = itertools.count(1)

    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._until

    def count(self, full: int, least: int = 1) -> int:
        """How many of something to do."""
        return max(least, round(full * self.share))

    @contextmanager
    def rig(self, name: str, **more: Any) -> Iterator[Rig]:
        """A deployment of its own; its folder stays."""
        number = next(self._numbers)
        folder = self.folder / f"{number:02}-{name}"
        rig = Rig(more.pop("bootstrap", self.bootstrap), folder, self.launcher, seed=self.seed + number, **more)
        try:
            yield rig
        finally:
            rig.close()

    @contextmanager
    def broker(self, folder: Path | None = None, **settings: str) -> Iterator[Broker]:
        """A Kafka of its own that may be harmed; its data in that folder, or in one of the stage's."""
        with Broker(folder or self.folder / f"{next(self._numbers):02}-kafka", settings) as broker:
            yield broker

    def close(self) -> None:
        """End the launcher."""
        self.launcher.close()


class Broker:
    """A local Kafka with a second listener that is reached through a proxy."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        port, behind, front = free_port(), free_port(), free_port()
        self.bootstrap, self.proxied = f"127.0.0.1:{port}", f"127.0.0.1:{front}"
        controller = free_port()
        listeners = f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}"
        names = ("PLAINTEXT", "PROXIED", "CONTROLLER")
        self.folder = folder
        self.kafka = LocalKafka(
            folder,
            port,
            settings={
                "controller.quorum.bootstrap.servers": f"localhost:{controller}",
                "listeners": listeners,
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},PROXIED://{self.proxied}",
                "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
                "inter.broker.listener.name": "PLAINTEXT",
                **settings,
            },
        )
        self.proxy = Proxy(front, behind)

    def __enter__(self) -> Self:
        local_kafka.START_SECONDS = 300.0  # several start beside each other, on a machine that is kept busy
        self.kafka.start()
        return self

    def ended(self) -> bool:
        """Whether it has died."""
        process = self.kafka._process
        return process is None or process.code is not None

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
        self.kafka.stop(kill=True)
        shutil.rmtree(self.folder / "data", ignore_errors=True)


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, mounted on a folder. Raises Failed where that is not allowed."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        raise Failed("a small disk cannot be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def fill(folder: Path) -> None:
    """Leave no room on that disk."""
    with suppress(OSError), (folder / "filler").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()


@contextmanager
def load(rig: Rig, rate: float = 400, users: int = 40, **more: Any) -> Iterator[Load]:
    """Events during the block; all of them are acknowledged when it ends."""
    made = Load(rig, rate, users, **more)
    try:
        yield made
    finally:
        made.stop()


def finish(rig: Rig, result: Result, seconds: float = 60.0) -> dict[str, Any]:
    """Ask for every state, stop, hear the oracle, count it in."""
    result.caught_up_s = max(result.caught_up_s, round(rig.probe(seconds), 3))
    rig.stop()
    verdict = rig.verdict()
    result.add(verdict, rig)
    return verdict


def red(play: Callable[[Result], None], result: Result | None = None) -> bool:
    """Whether a run without its protection went wrong. result: where that is told."""
    result = result or Result(0, "control", 0)
    try:
        play(result)
    except Failed as failure:
        result.fail(str(failure))
    return not result.passed


def timed(row: Callable[[Stage], Result], stage: Stage) -> Result:
    """Play a row; what stops it is a failure of it."""
    began = time.monotonic()
    if stage.over():
        result = Result(int(row.__name__.removeprefix("row")), (row.__doc__ or "").splitlines()[0], stage.seed)
        result.note = "not played: time was up"
        result.fail(result.note)
        return result
    try:
        result = row(stage)
    except Exception as failure:  # noqa: BLE001 # whatever it is, the other rows go on
        traceback.print_exc()
        number = int(row.__name__.removeprefix("row"))
        result = Result(number, (row.__doc__ or "").splitlines()[0], stage.seed)
        result.fail(f"{type(failure).__name__}: {failure}")
    if result.control and not result.control_red:
        result.fail(f"the control was not red: {result.control}")
    result.seconds = round(time.monotonic() - began, 1)
    return result
