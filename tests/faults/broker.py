"""Rows 5 to 7 and 13: a broker that dies, is slow, cannot be reached, or has no room left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from faults.crashes import crash, kill
from faults.points import OPEN
from faults.rig import Rig
from faults.stage import Broker, Result, Stage, finish, load, red

START_S = 300.0
"""What the first start may take on a machine that is kept busy."""
LONG = 60.0
"""How long the broker is away, once (s)."""


def away(rig: Rig, broker: Broker, seconds: float) -> float:
    """The broker dies by kill -9, and comes back; then something comes out again. After how long that is (s)."""
    broker.kafka.stop(kill=True)
    rig.fault("broker killed", group=True, away=seconds)
    time.sleep(seconds)
    broker.kafka.start()
    began = time.monotonic()
    rig.moving(90)
    return time.monotonic() - began


def row5(stage: Stage) -> Result:
    """broker kill -9 and restart, once 60 s away"""
    result = Result(5, "broker kill -9 and restart, once 60 s away", stage.seed)
    result.control = "delivery reports ignored, records given up after 1 s"
    with stage.broker() as broker, stage.rig("broker", bootstrap=broker.bootstrap) as rig:
        with rig.kept("one"), load(rig, rate=200):
            rig.moving(START_S)
            for _ in range(stage.count(5, 1)):
                away(rig, broker, rig.random.uniform(0.0, 5.0))
            longest = LONG * min(1.0, stage.share * 2)
            back = away(rig, broker, longest)
        finish(rig, result, 120)
    result.note = (
        f"after {longest:.0f} s without its broker the deployment was back at work {back:.1f} s after the broker, "
        f"with all that had come meanwhile; {rig.restarts} workers ended by themselves and were started again"
    )

    def control(outcome: Result) -> None:
        with stage.broker() as broker, stage.rig("broker-control", bootstrap=broker.bootstrap, off=("delivery",)) as rig:
            with load(rig, rate=200):
                rig.start()
                rig.moving()
                away(rig, broker, 3.0)
            finish(rig, outcome, 30)

    result.control_red = red(control)
    return result


def row6(stage: Stage) -> Result:
    """slow broker, 0.5 to 2 s each way, with kill -9"""
    result = Result(6, "slow broker, 0.5 to 2 s an answer, with kill -9", stage.seed, control="transactions off")
    with stage.broker() as broker:
        with stage.rig("slow", bootstrap=broker.bootstrap, workers=broker.proxied) as rig:
            with load(rig, rate=100):
                rig.up().end(signal.SIGKILL)
                for _ in range(stage.count(10, 1)):
                    broker.proxy.delay = (0.25, 1.0)
                    rig.fault("slow", group=True)
                    crash(rig, rig.random.choice(OPEN), 2, 90.0)
                    kill(rig, 2.0, 10.0)
                broker.proxy.heal()
                rig.start()
            finish(rig, result, 120)

        def control(outcome: Result) -> None:
            with stage.rig("slow-control", bootstrap=broker.bootstrap, workers=broker.proxied, off=("transaction",)) as rig:
                broker.proxy.delay = (0.05, 0.2)
                with load(rig, rate=100):
                    crash(rig, "step3.triggers", 2, 90.0)
                    broker.proxy.heal()
                    rig.start()
                    rig.moving()
                finish(rig, outcome, 30)

        result.control_red = red(control)
    return result


def _mute(broker: Broker) -> None:
    broker.proxy.mute = True


def _deaf(broker: Broker) -> None:
    broker.proxy.deaf = True


def _half_open(broker: Broker) -> None:
    broker.proxy.mute = broker.proxy.deaf = True


CUTS: dict[str, Callable[[Broker], None]] = {
    "answers are lost": _mute,
    "requests are lost": _deaf,
    "half open": _half_open,
    "refused": lambda broker: broker.proxy.refuse(),
    "reset": lambda broker: broker.proxy.drop(),
}


def row7(stage: Stage) -> Result:
    """connection cut one way, half open, refused, reset"""
    result = Result(7, "connection cut one way, half open, refused, reset", stage.seed)
    result.control = "delivery reports ignored, records given up after 1 s"
    with stage.broker() as broker:
        with stage.rig("cut", bootstrap=broker.bootstrap, workers=broker.proxied) as rig:
            with rig.kept("one"), load(rig, rate=200):
                rig.moving(START_S)
                for _ in range(stage.count(5, 1)):
                    for name, cut in CUTS.items():
                        cut(broker)
                        rig.fault(name, group=True)
                        time.sleep(rig.random.choice((1.0, 4.0, 14.0)))
                        broker.proxy.heal()
                        rig.moving(120)
            finish(rig, result, 120)

        def control(outcome: Result) -> None:
            with stage.rig("cut-control", bootstrap=broker.bootstrap, workers=broker.proxied, off=("delivery",)) as rig:
                with load(rig, rate=1_000):
                    rig.up()
                    for _ in range(4):  # something must be under way at the moment of the cut
                        broker.proxy.refuse()
                        time.sleep(3.0)
                        broker.proxy.heal()
                        rig.moving(120)
                finish(rig, outcome, 30)

        result.control_red = red(control)
    return result
