"""Row 19: how long nobody works, by the clock."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

from faults.processes import Worker, wait_for
from faults.rig import Rig
from faults.stage import Result, Stage, red

PROFILES = 100_000
LIMITS = {"takeover by another worker": 15.0, "planned restart": 5.0, "restart after kill -9": 4.0}
"""Seconds on a machine that has nothing else to do."""


def row19(stage: Stage) -> Result:
    """takeover and restart, timed"""
    profiles = stage.count(PROFILES, 2_000)
    result = Result(19, f"takeover and restart with {profiles:,} profiles, timed", stage.seed)
    result.control = "sessions as Kafka has them (45 s), no static membership"
    with stage.rig("takeover", partitions=4) as rig:
        one, two = rig.start("one"), rig.start("two")
        rig.owned_by(one)
        rig.owned_by(two)
        _fill(rig, profiles)
        figures = {"takeover by another worker": _timed(rig, lambda: _kill(one), two)}
        two.end(signal.SIGKILL)
        rig.await_no_members()
        three = rig.start("one")
        rig.owned_by(three)
        began = time.monotonic()
        three.end(signal.SIGTERM)
        four = rig.start("one")
        rig.owned_by(four)
        figures["planned restart"] = time.monotonic() - began
        began = time.monotonic()
        _kill(four)
        five = rig.start("one")
        rig.owned_by(five)
        figures["restart after kill -9"] = time.monotonic() - began
        rig.stop()
    result.events, result.faults = profiles, 3
    load = os.getloadavg()[0]
    told = ", ".join(f"{name} {seconds:.1f} s (limit {LIMITS[name]:.0f})" for name, seconds in figures.items())
    result.note = f"{told}; load average {load:.1f} on {os.cpu_count()} cores"
    late = [name for name, seconds in figures.items() if seconds > LIMITS[name]]
    if late:
        result.fail(f"too slow: {', '.join(late)}, at a load average of {load:.1f}")

    def control(outcome: Result) -> None:
        with stage.rig("takeover-control", partitions=4, off=("session",)) as rig:
            one, two = rig.start("one"), rig.start("two")
            rig.owned_by(one)
            rig.owned_by(two)
            seconds = _timed(rig, lambda: _kill(one), two)
        if seconds > LIMITS["takeover by another worker"]:
            outcome.fail(f"taken over after {seconds:.1f} s")
            result.note += f"; control: {seconds:.1f} s"

    result.control_red = red(control)
    return result


def _fill(rig: Rig, profiles: int) -> None:
    """One event for each of so many profiles, worked off."""
    for number in range(profiles):
        body = {"type": "track", "event": "Product Viewed", "userId": f"v{number}", "messageId": f"v{number}"}
        rig.sender.send(json.dumps(body | {"properties": {"item": "i1"}}).encode(), f"v{number}")
    rig.sender.producer.flush(120)
    rig.sender.send(rig.sender.event("last", "last", "Probe", {}), "last")
    rig.sender.producer.flush(30)
    wait_for(lambda: rig.topics.end_of(rig.settings.profile_events) > profiles, 300, "the events in the log")
    wait_for(lambda: rig.topics.end_of(rig.settings.changelog) > profiles, 300, "the profiles in the changelog")
    rig.topics.answers(1, 120)


def _kill(worker: Worker) -> None:
    worker.end(signal.SIGKILL)


def _timed(rig: Rig, fault: Callable[[], None], survivor: Worker) -> float:
    """From a fault until the survivor has taken over."""
    before = rig.takeovers(survivor)
    began = time.monotonic()
    fault()
    rig.await_takeover(survivor, before)
    return time.monotonic() - began
