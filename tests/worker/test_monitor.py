"""The watchdog over what stands still."""

from __future__ import annotations

import threading

import pytest

from rtcdp.errors import Stalled
from rtcdp.monitoring.health import STALLED_LOOKS, Health, watch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcdp.monitoring.health.LOOK_S", 0.005)


def test_what_stands_still_ends_the_process_with_one_line() -> None:
    clock, ended, reasons = Clock(), threading.Event(), list[BaseException]()

    def fatal(reason: BaseException) -> None:
        reasons.append(reason)
        ended.set()

    health = Health(60, clock)
    health.begin("commit of profile-events/3")
    stopped = threading.Event()
    thread = watch(health, fatal, stopped)
    clock.now = 61
    assert ended.wait(10)
    thread.join(10)
    assert isinstance(reasons[0], Stalled)
    assert str(reasons[0]) == "commit of profile-events/3 has stood still for 61 s"


def test_a_process_that_was_suspended_is_not_ended() -> None:
    """Its clock jumps; the loop beats again before the watchdog has looked often enough."""
    over, reasons = threading.Event(), list[BaseException]()

    class Scripted(Health):
        looks = iter(([["still"]] * (STALLED_LOOKS - 1) + [[]]) * 3)

        def stalled(self) -> list[str]:
            found = next(self.looks, None)
            if found is None:
                over.set()
            return found or []

    stopped = threading.Event()
    thread = watch(Scripted(60), reasons.append, stopped)
    assert over.wait(10)
    stopped.set()
    thread.join(10)
    assert reasons == []
