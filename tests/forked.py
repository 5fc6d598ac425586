"""Processes of rtcdp, forked from one that has it all imported: a start costs none of the second that imports take."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


class Forked:
    """`run(settings)` of a module in a process of its own, with the methods of `subprocess.Popen`.

    config: settings as JSON. log: what it writes is appended here. environment: all of its variables.
    before: what it calls first.
    """

    def __init__(
        self, module: str, config: Path, log: Path, environment: Mapping[str, str], before: Callable[[], None] | None = None
    ) -> None:
        arguments = (module, str(config), str(log), dict(environment), before)
        self._process = _context().Process(target=_become, args=arguments, daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, seconds)
        return self._process.exitcode

    def send_signal(self, how: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.poll() is None:
            os.kill(self._process.pid or 0, how)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "rtcdp.worker.main", "rtcdp.delivery.main"])  # counts with the first start
    return context


def _become(module: str, config: str, log: str, environment: dict[str, str], before: Callable[[], None] | None) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.environ.clear()
    os.environ.update(environment)
    from rtcdp.settings.config import Settings

    if before is not None:
        before()
    run: Any = import_module(module).run
    sys.exit(run(Settings.load(json.loads(Path(config).read_text("utf-8")))))
