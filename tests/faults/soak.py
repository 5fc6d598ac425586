"""Rows 16 and 18: everything mixed for a long time, and more than can be worked off at once."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression

from faults.points import STEPS
from faults.rig import Rig
from faults.stage import Broker, Result, Stage, finish, load, red

SOAK_S = 1_200.0
WARM_UP = 0.3
"""Share of a soak after which nothing may grow any more."""
GROWTH_MIB = 25.0
"""What the memory of an idle interpreter moves by in that time."""
HANDLES = 12
LIVING = (0.2, 0.9)
"""From where to where of a soak its broker lives."""
CONTROL_S = 60.0
LARGE = 60_000
HELD_MIB = 250.0
"""What a worker may hold, whatever lies ready; its bounds are 64 MiB of records, and what they are in Python."""


@dataclass
class Samples:
    """Memory (MiB) and open handles of one process, as time (s) went by."""

    pid: int
    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)

    def take(self, at: float) -> None:
        """One more, where the process is still there."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text("utf-8").split()[1])
            handles = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        except (OSError, IndexError):
            return
        self.times.append(at)
        self.memory.append(pages * 4_096 / (1 << 20))
        self.handles.append(handles)

    def growth(self) -> tuple[float, int]:
        """By how much memory (MiB, by a straight line) and handles have grown since the warm-up.

        Handles come and go with the partitions that are owned: the fewest in the last half are compared with those before.
        """
        start = int(len(self.times) * WARM_UP)
        times, memory, handles = self.times[start:], self.memory[start:], self.handles[start:]
        if len(times) < 20:
            return 0.0, 0
        half = len(handles) // 2
        grown = linear_regression(times, memory).slope * (times[-1] - times[0])
        return grown, min(handles[half:]) - min(handles[:half])


def row16(stage: Stage) -> Result:
    """soak"""
    seconds = SOAK_S * stage.share
    result = Result(16, f"soak of {seconds / 60:.0f} minutes, all of it mixed", stage.seed)
    result.control = "for its memory: a worker that forgets nothing"
    with stage.broker() as broker, stage.rig("soak", bootstrap=broker.bootstrap, workers=broker.proxied) as rig:
        with rig.kept("steady", "one"), load(rig, rate=150, hot=0.2, poison=0.01):
            rig.moving()
            samples = watched(rig, seconds, lambda done: trouble(rig, broker, done))
            broker.proxy.heal()
        finish(rig, result, 120)
    growth = grown(rig, samples, result)
    result.note = (
        "exactness has no control of its own: what is switched off in the other rows would be red here too; of the steady "
        f"worker {growth}"
    )

    def control(outcome: Result) -> None:
        with stage.rig("soak-control", off=("forgetting",)) as rig:
            with load(rig, rate=150):
                rig.start("steady")
                rig.moving()
                samples = watched(rig, min(seconds, CONTROL_S), lambda _: None)
            finish(rig, Result(16, "exact all the same", stage.seed))
        grown(rig, samples, outcome)

    result.control_red = red(control)
    return result


def watched(rig: Rig, seconds: float, fault: Callable[[float], None]) -> list[Samples]:
    """The worker `steady`, each of its lives, for so long; every five seconds `fault` is told which part of it is done."""
    began = time.monotonic()
    samples: list[Samples] = []
    while (at := time.monotonic() - began) < seconds:
        fault(at / seconds)
        pid = rig.newest("steady").pid
        if not samples or samples[-1].pid != pid:
            samples.append(Samples(pid))
        for _ in range(10):
            samples[-1].take(time.monotonic() - began)
            time.sleep(0.5)
        rig.note("went on", at=at)
    return samples


def grown(rig: Rig, samples: list[Samples], result: Result) -> str:
    """Whether the longest life has grown, in words."""
    (rig.folder / "samples.json").write_text(json.dumps([vars(one) for one in samples]), "utf-8")
    longest = max(samples, key=lambda one: len(one.times))
    growth, handles = longest.growth()
    life = longest.times[-1] - longest.times[0] if longest.times else 0.0
    if growth > GROWTH_MIB or handles > HANDLES:
        result.fail(f"memory grew by {growth:.1f} MiB, handles by {handles}")
    return f"the memory moved by {growth:+.1f} MiB over {life:.0f} s, its handles by {handles:+d} (lives: {len(samples)})"


def trouble(rig: Rig, broker: Broker, done: float) -> None:
    """Some fault, by chance; the worker `steady` is left alone.

    The broker dies only in the first and the last part: where it stays away for long, as on a busy machine, workers end by
    themselves, and it is one life in between whose memory is looked at.
    """
    kinds = ("kill", "stop", "roll", "point", "damage", "giant", "slow", "drop", "nothing", "broker")
    kind = rig.random.choices(kinds, (3, 3, 3, 3, 3, 3, 3, 3, 1, 0 if LIVING[0] < done < LIVING[1] else 3))[0]
    if kind == "nothing":
        return
    worker = rig.newest("one")
    if kind == "kill":
        worker.end(signal.SIGKILL)
    elif kind == "stop":
        worker.send(signal.SIGSTOP)
        time.sleep(rig.random.choice((1.0, 3.0, 12.0)))
        worker.send(signal.SIGCONT)
    elif kind == "roll":
        worker.end(signal.SIGTERM)
    elif kind == "point":
        worker.end(signal.SIGKILL)
        rig.next_point = rig.random.choice(STEPS)
    elif kind == "damage":
        rig.sender.damage()
    elif kind == "giant":
        rig.sender.giant(rig.faults)
    elif kind == "slow":
        broker.proxy.delay = (0.05, 0.3)
        time.sleep(5.0)
        broker.proxy.heal()
    elif kind == "drop":
        broker.proxy.drop()
    elif kind == "broker":
        broker.kafka.stop(kill=True)
        broker.kafka.start()
    rig.fault(kind, group=kind in ("slow", "drop", "broker"))


def row18(stage: Stage) -> Result:
    """more events than the worker can take"""
    result = Result(18, "backpressure: events come faster than the worker takes them, and large ones lie ready", stage.seed)
    result.control = "fetching unbounded"
    with stage.rig("burst") as rig:
        events = stage.count(200_000, 20_000)
        samples, most = Samples(rig.start().pid), 0
        rig.owned_by(rig.newest("one"))
        with load(rig, rate=10_000, users=2_000) as sending:
            while sending.sent < events:
                samples.take(time.monotonic())
                most = max(most, _lag(rig))
                time.sleep(0.2)
        result.faults += 1
        began = time.monotonic()
        finish(rig, result, 300)
        growth = max(samples.memory) - samples.memory[0]
    result.note = f"{most} records behind at most, memory +{growth:.0f} MiB, worked off in {time.monotonic() - began:.0f} s"
    if growth > HELD_MIB:
        result.fail(f"memory grew by {growth:.0f} MiB")
    large = stage.count(LARGE, LARGE // 4)
    growth, seconds = _backlog(stage, result, large)
    result.note += f"; {large} of 6 KiB lying ready: memory +{growth:.0f} MiB, worked off in {seconds:.0f} s"
    result.control_red = red(lambda outcome: _backlog(stage, outcome, LARGE, "bounds"))
    return result


def _backlog(stage: Stage, outcome: Result, events: int, *off: str) -> tuple[float, float]:
    """So many large events lie ready when the worker starts. Its memory's growth (MiB), and how long it took (s)."""
    with stage.rig(f"backlog{''.join(off)}", off=off) as rig:
        for number in range(events):
            user = f"u{number % 500}"
            body = {"item": f"i{number % 20}", "note": "x" * 6_000}
            rig.sender.send(rig.sender.event(user, f"{number}", "Product Viewed", body), user)
            rig.sender.producer.poll(0)
        rig.sender.producer.flush(120)
        rig.fault("backlog")
        began = time.monotonic()
        samples = Samples(rig.start().pid)
        samples.take(began)
        while rig.topics.end_of(rig.settings.profile_events) < events:
            samples.take(time.monotonic())
            time.sleep(0.05)
            if time.monotonic() - began > 300 or rig.newest("one").code is not None:
                break  # the verdict says what is missing
        seconds = time.monotonic() - began
        finish(rig, outcome, 120)
    growth = max(samples.memory) - samples.memory[0]
    if growth > HELD_MIB:
        outcome.fail(f"memory grew by {growth:.0f} MiB")
    return growth, seconds


def _lag(rig: Rig) -> int:
    """Raw events that have not been taken in yet, roughly."""
    return max(0, rig.topics.end_of(rig.source) - rig.topics.end_of(rig.settings.profile_events))
