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


def test_leaving_says_why_in_one_line() -> None:
    program = (
        "import os, sys; from rtcdp.errors import *; from rtcdp.transport.exits import leave\n"
        "for kind in ClusterError, SettingError, Fenced, Stalled:\n"
        "    child = os.fork() or leave(kind('the reason'))\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2", "1", "1"]
    kinds = ("ClusterError", "SettingError", "Fenced", "Stalled")
    assert done.stderr == "".join(f"rtcdp: {kind}: the reason\n" for kind in kinds)
