"""Row 23: personal data encrypted, while workers die and standbys take over."""

from __future__ import annotations

import signal
from typing import Any

from faults.crashes import crash, crashes, kill_control
from faults.points import INGEST, STEPS
from faults.rig import Rig
from faults.stage import Result, Stage, finish, load, red
from rtcdp.sealing.master import make_key_file


def sealing(stage: Stage, name: str) -> dict[str, Any]:
    """Settings of a deployment whose data keys lie in SQLite, in a folder of its own."""
    folder = stage.folder / f"keys-{name}"
    folder.mkdir(parents=True)
    make_key_file(folder / "master.key")
    return {
        "encryption": "sqlite",
        "keys_file": str(folder / "keys.db"),
        "master_key_file": str(folder / "master.key"),
    }


def _takeovers(rig: Rig, times: int) -> None:
    """Of two workers with standbys, the one that works is killed, and the other goes on with its copy."""
    names = ["a", "b"]
    rig.up("a")
    rig.owned_by(rig.start("b"))
    for _ in range(times):
        dies, lives = (rig.newest(name) for name in names)
        before = rig.takeovers(lives)
        dies.end(signal.SIGKILL)
        rig.fault("kill", group=True, instance=names[0])
        rig.await_takeover(lives, before)
        rig.moving()
        rig.owned_by(rig.start(names[0]))
        names.reverse()


def row23(stage: Stage) -> Result:
    """kill -9 and takeover by standbys, with encryption"""
    result = Result(23, "kill -9 and takeover by standbys, with encryption", stage.seed, control="transactions off")
    with stage.rig("sealed", partitions=4, **sealing(stage, "kills")) as rig:
        points = [*STEPS, *INGEST, "start.restoring", "start.restored"] * stage.count(3, 1)
        crashes(stage, rig, result, points, stage.count(10, 1))
    with stage.rig("sealed-standby", partitions=4, standby=True, **sealing(stage, "standby")) as rig:
        with load(rig):
            _takeovers(rig, stage.count(8, 2))
            for worker in rig.workers:
                worker.end(signal.SIGKILL)
            crash(rig, "step3.position", 2)
            rig.start()
        finish(rig, result, 90)

    def control(outcome: Result) -> None:
        kill_control(stage, outcome, **sealing(stage, "control"))

    def plain(outcome: Result) -> None:
        """The look for names is no empty one: it finds them in a deployment without encryption."""
        with stage.rig("sealed-plain") as rig:
            rig.sealed = True
            with load(rig, rate=100):
                rig.start()
                rig.moving()
            finish(rig, outcome)

    result.control_red = red(control) and red(plain)
    return result
