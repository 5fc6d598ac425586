"""Rows 1 to 4: workers that die, start, move and sleep."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

from faults.points import INGEST, OPEN, REVOKE, STARTING, STEPS
from faults.processes import Failed
from faults.rig import Rig
from faults.stage import Result, Stage, finish, load, red
from faults.stock_faust import stock_control

BESIDE = 4
"""So many deployments are crashed beside each other."""
ROUNDS = 28
"""How often row 1 comes to each fail point."""
REACH = 20.0
"""How long a worker may take to come to its fail point (s)."""


def crash(rig: Rig, point: str, after: int, seconds: float = REACH) -> None:
    """One worker that dies at a point; by kill -9 from outside where it never comes there."""
    worker = rig.start(point=point, after=after)
    if point == "step3.letters":
        rig.sender.damage(6)
    if point in REVOKE:
        rig.owned_by(worker)
        worker.send(signal.SIGTERM)
    code = rig.await_end(worker, seconds)
    if code != -signal.SIGKILL:  # it had less to let go of than the plan counts, or could not go on and said so
        rig.note("ended by itself", point=point, code=code)
        return
    rig.fault("crash", point=point)


def kill(rig: Rig, least: float, most: float) -> None:
    """One worker that is killed some time after its start."""
    worker = rig.start()
    time.sleep(rig.random.uniform(least, most))
    worker.end(signal.SIGKILL)
    rig.fault("kill")


def crashes(stage: Stage, rig: Rig, result: Result, points: list[str], kills: int) -> None:
    """Crashes at these points and at random moments, under load; then a worker that works it all off."""
    todo = [*points, *[""] * kills]
    rig.random.shuffle(todo)
    tried: set[str] = set()
    with load(rig):
        rig.up().end(signal.SIGKILL)
        for number, point in enumerate(todo):
            if number % 10 == 0:
                rig.sender.damage()
            if stage.over():
                result.note += f" time was up after {number} of {len(todo)} crashes;"
                break
            if point:
                tried.add(point)
                crash(rig, point, rig.random.randint(1, 4))
            else:
                kill(rig, 1.0, 4.0)
        rig.start()
    finish(rig, result)
    never = tried - {found["point"] for found in rig.points()}
    if never:
        result.note += f" never reached: {', '.join(sorted(never))}"


def row1(stage: Stage) -> Result:
    """kill -9 of the worker"""
    result = Result(1, "kill -9 of the worker", stage.seed, control="transactions off; Faust as it ships")
    points = [*STEPS, *INGEST, *OPEN, *REVOKE]
    rounds = stage.count(ROUNDS, 1)
    parts = min(BESIDE, rounds)

    def part(number: int) -> None:
        with stage.rig(f"kills-{number}", partitions=4) as rig:
            crashes(stage, rig, result, points * (rounds // parts), stage.count(100, 2) // parts)

    with ThreadPoolExecutor(parts) as pool:  # a crash is mostly waiting
        for future in [pool.submit(part, number) for number in range(parts)]:
            try:
                future.result()
            except Failed as failure:  # the others' results count all the same
                result.fail(str(failure))

    stock = Result(1, "stock Faust", stage.seed)
    result.control_red = red(lambda outcome: kill_control(stage, outcome)) and red(lambda _: stock_control(stage, stock), stock)
    result.note += f"; {stock.note}"
    return result


def row20(stage: Stage) -> Result:
    """kill -9 of a worker that keeps its profiles in RocksDB"""
    result = Result(20, "kill -9 of a worker that keeps its profiles in RocksDB", stage.seed, control="transactions off")
    with stage.rig("rocksdb", store="rocksdb") as rig:
        crashes(stage, rig, result, [*STEPS, "start.restoring"] * stage.count(3, 1), stage.count(10, 1))
    result.control_red = red(lambda outcome: kill_control(stage, outcome, store="rocksdb"))
    return result


def kill_control(stage: Stage, outcome: Result, **settings: str) -> None:
    with stage.rig("kills-control", off=("transaction",), **settings) as rig:
        with load(rig):
            crash(rig, "step3.triggers", 2)
            rig.start()
            rig.moving()
        finish(rig, outcome, 20)


def short_row1(stage: Stage) -> Result:
    """A few crashes: those with an open transaction, around it, and in ingest."""
    result = Result(1, "kill -9 of the worker", stage.seed)
    with stage.rig("kills") as rig:
        crashes(stage, rig, result, ["step3.position", "step3.committed", "ingest.acknowledged", "step3.changes"], 0)
    return result


def row2(stage: Stage) -> Result:
    """kill -9 while starting and restoring"""
    result = Result(2, "kill -9 while starting and restoring", stage.seed, control="restores read aborted records too")
    with stage.rig("starts", partitions=4) as rig:
        with load(rig):
            rig.up().end(signal.SIGKILL)
            for number in range(stage.count(20, 1)):
                for point in STARTING:
                    crash(rig, point, rig.random.randint(1, 2))
                kill(rig, 0.05, 1.5)
                if number % 2 == 0:
                    crash(rig, rig.random.choice(OPEN), 2)
            rig.start()
        finish(rig, result)

    def control(outcome: Result) -> None:
        with stage.rig("starts-control", off=("committed_only",)) as rig:
            with load(rig):
                for _ in range(2):
                    crash(rig, "step3.position", 3)
                rig.start()
                rig.moving()
            finish(rig, outcome)

    result.control_red = red(control)
    return result


def row3(stage: Stage) -> Result:
    """rolling restarts, 1 to 3 to 1 workers under load"""
    result = Result(3, "rolling restarts, 1 to 3 to 1 workers under load", stage.seed)
    result.control = "state kept over generations, fencing off"
    with stage.rig("rolling", partitions=6, standby=True) as rig:
        with load(rig):
            names = ("a", "b", "c")
            workers = {"a": rig.up("a")}
            for _ in range(stage.count(5, 1)):
                for name in names[1:]:
                    workers[name] = rig.start(name)
                    rig.fault("join", group=True, instance=name)
                    time.sleep(rig.random.uniform(1.0, 4.0))
                for name in names:  # the whole group at once
                    workers[name].send(signal.SIGKILL)
                rig.fault("all killed", group=True)
                for name in names:
                    workers[name].wait()
                    workers[name] = rig.start(name)
                time.sleep(rig.random.uniform(0.0, 4.0))
                for name in names:
                    workers[name].end(signal.SIGTERM)
                    rig.fault("roll", group=True, instance=name)
                    workers[name] = rig.start(name)
                    time.sleep(rig.random.uniform(0.5, 3.0))
                for name in names[1:]:
                    workers[name].end(rig.random.choice((signal.SIGTERM, signal.SIGKILL)))
                    rig.fault("leave", group=True, instance=name)
                    time.sleep(rig.random.uniform(0.0, 2.0))
            rig.moving()
        finish(rig, result, 90)

    def control(outcome: Result) -> None:
        with stage.rig("rolling-control", off=("generation",)) as rig:
            with load(rig):
                first = rig.start("")
                rig.moving()
                second = rig.start("")
                rig.owned_by(second)
                time.sleep(2)
                second.end(signal.SIGTERM)
                rig.moving()
                time.sleep(3)
                first.end(signal.SIGTERM)
                rig.start("")
                rig.moving()
            finish(rig, outcome)

    result.control_red = red(control)
    return result


def sleep_through(rig: Rig, point: str, *, other: str, seconds: float, off: tuple[str, ...] | None = None) -> None:
    """A worker sleeps while another one takes its partitions over, and wakes up."""
    often = 1 if point == "step3.letters" else 3  # what is damaged may all come in one batch
    first = rig.start("one", point, action="stop", after=often, off=off)
    if point == "step3.letters":
        rig.sender.damage(6)
    rig.stopped(first, 180)  # some come only with time, and after what has come up meanwhile
    rig.fault("stop", group=True, point=point)
    began = time.monotonic()
    second = rig.start(other, off=off)
    rig.owned_by(second, 60)
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    first.send(signal.SIGCONT)
    time.sleep(1.5)
    second.end(signal.SIGKILL)
    if first.code is None:
        first.end(signal.SIGKILL)


def row4(stage: Stage) -> Result:
    """SIGSTOP beyond the session, another worker takes over, SIGCONT"""
    result = Result(4, "SIGSTOP beyond the session, another worker takes over, SIGCONT", stage.seed, control="fencing off")
    with stage.rig("sleepers") as rig:
        with load(rig):
            for number in range(stage.count(12, 1)):
                beyond = number % 3 == 2
                point = rig.random.choice((*STEPS[:10], "ingest.produced"))
                sleep_through(rig, point, other="two" if beyond else "one", seconds=11.0 if beyond else 2.0)
            rig.start()
        finish(rig, result)
    result.control_red = red(lambda outcome: sleeper_control(stage, outcome))
    return result


def short_row4(stage: Stage) -> Result:
    """One sleeper within a transaction; its place is taken over at once."""
    result = Result(4, "SIGSTOP, another worker takes over, SIGCONT", stage.seed)
    with stage.rig("sleeper") as rig:
        with load(rig):
            sleep_through(rig, "step3.position", other="one", seconds=1.0)
            rig.start()
        finish(rig, result)
    return result


def sleeper_control(stage: Stage, outcome: Result) -> None:
    with stage.rig("sleeper-control", off=("fencing",)) as rig:
        with load(rig):
            sleep_through(rig, "step3.position", other="one", seconds=1.0)
            rig.start()
        finish(rig, outcome, 30)
