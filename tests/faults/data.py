"""Rows 8 to 11: what comes in is bad, huge, repeated, disordered, or all for one profile."""

from __future__ import annotations

import signal

from faults.crashes import crash
from faults.rig import Rig
from faults.stage import Result, Stage, finish, load, red

KINDS_OF_POISON = 13


def poisoned(rig: Rig, result: Result, letters: int, kills: int) -> None:
    """One event in fifty is poison, until there was so much of it; and workers die meanwhile."""
    with load(rig, poison=0.02) as sending:
        rig.start()
        for _ in range(kills):
            rig.moving()
            rig.damage()
            rig.workers[-1].end(signal.SIGKILL)
            rig.fault("kill")
            crash(rig, "step3.letters", 1)
            rig.start()
        rig.await_load(sending, letters * 50)
    verdict = finish(rig, result)
    rig.faults += verdict["dead_letters"]
    result.faults += verdict["dead_letters"]


def row8(stage: Stage) -> Result:
    """poison of every kind"""
    result = Result(8, "poison of every kind", stage.seed, control="unusable records left out without a dead letter")
    with stage.rig("poison") as rig:
        poisoned(rig, result, stage.count(200, KINDS_OF_POISON), stage.count(5, 1))
    result.control_red = red(lambda outcome: poison_control(stage, outcome))
    return result


def short_row8(stage: Stage) -> Result:
    """Every kind of poison once or more."""
    result = Result(8, "poison of every kind", stage.seed)
    with stage.rig("poison") as rig:
        with load(rig, rate=800, poison=0.1) as sending:
            rig.start()
            rig.moving()
            rig.damage()
            rig.await_load(sending, KINDS_OF_POISON * 20)
        verdict = finish(rig, result)
        result.faults += verdict["dead_letters"]
    return result


def poison_control(stage: Stage, outcome: Result) -> None:
    with stage.rig("poison-control", off=("letters",)) as rig:
        with load(rig, poison=0.1) as sending:
            rig.start()
            rig.await_load(sending, 300)
        finish(rig, outcome, 20)
