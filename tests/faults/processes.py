"""Workers as processes: a launcher that has everything imported, and the workers that it forks."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Failed(Exception):
    """A row could not be carried out: what it waited for did not come."""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.02)
    return value


class Launcher:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RTCDP_")} | {"PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.launcher"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        self._pids: queue.Queue[int] = queue.Queue()
        self._codes: dict[int, int] = {}
        self._ordering = threading.Lock()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "code" in answer:
                self._codes[answer["pid"]] = answer["code"]
            else:
                self._pids.put(answer["pid"])

    def start(self, order: dict[str, Any]) -> int:
        """Fork a worker; its process id."""
        assert self._process.stdin is not None
        with self._ordering:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            return self._pids.get(timeout=300)

    def code(self, pid: int) -> int | None:
        """Exit code of a worker, negative for a signal; None while it runs."""
        return self._codes.get(pid)

    def close(self) -> None:
        """End it, and whatever it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._listening.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Worker:
    """One worker process."""

    def __init__(self, launcher: Launcher, order: dict[str, Any]) -> None:
        self._launcher = launcher
        self.pid = launcher.start(order)
        self.started = time.monotonic()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._launcher.code(self.pid)

    def send(self, how: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.code is None:
            with suppress(ProcessLookupError):  # it ended by itself just now
                os.kill(self.pid, how)

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit code, once it has ended."""
        wait_for(lambda: self.code is not None, seconds, f"the end of worker {self.pid}")
        return self.code or 0

    def end(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send it a signal and wait for its end."""
        self.send(how)
        return self.wait(seconds)
