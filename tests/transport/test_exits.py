from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from rtcdp.errors import Stalled
from rtcdp.transport import exits
from rtcdp.transport.exits import Watchdog


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "BEAT", 0.02)


def watch(busy: float, block: float) -> list[BaseException]:
    """What a watchdog with a limit of 0.2 s says of a loop that is blocked for some time."""
    said: list[BaseException] = []
    ended = threading.Event()

    def fatal(reason: BaseException) -> None:
        said.append(reason)
        dog.stop()
        ended.set()

    dog = Watchdog(0.2, lambda: busy, fatal)

    async def live() -> None:
        dog.start(asyncio.get_running_loop())
        time.sleep(block)  # noqa: ASYNC251  that is what is watched for
        if not said:
            await asyncio.sleep(0.3)
        dog.stop()

    asyncio.run(live())
    return said


def test_loop_that_beats_is_left_alone() -> None:
    assert watch(0.0, 0.05) == []


def test_loop_that_stands_still_ends_the_process() -> None:
    [reason] = watch(0.0, 1.5)
    assert isinstance(reason, Stalled)
    assert "event loop stood still" in str(reason)


def test_rebalance_that_never_ends_ends_the_process() -> None:
    [reason] = watch(0.5, 0.0)
    assert "rebalance" in str(reason)


@pytest.mark.parametrize(("error", "code"), [("ClusterError", 2), ("SettingError", 2), ("Fenced", 1), ("Stalled", 1)])
def test_leaving_says_why_in_one_line(error: str, code: int) -> None:
    text = f"from rtcdp.errors import *; from rtcdp.transport.exits import leave; leave({error}('the reason'))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, f"rtcdp: {error}: the reason\n")
