"""What every process does at its start and end: logging, the report of its settings, exit codes, SIGTERM.

Exit codes: 0 an orderly stop, 1 it cannot go on (start it again), 2 a setting, the definitions or the cluster is wrong.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtcdp.errors import ClusterError, DefinitionErrors, RtcdpError, SettingError, Stalled
from rtcdp.monitoring import logs
from rtcdp.settings.config import Settings, unknown_variables
from rtcdp.transport.exits import leave

logger = logging.getLogger(__name__)

WELL, CANNOT_GO_ON, CANNOT_RUN = 0, 1, 2


def begin(settings: Settings) -> None:
    """Configure logging to stderr, and report every setting (secrets masked) and variables that are likely typing errors."""
    logs.configure(settings.log_level, settings.log_format, app=settings.app, instance=settings.instance)
    told = ", ".join(f"{name}={value}" for name, value in settings.report().items() if value)
    logger.info("settings: %s", told, extra={"whole": True})
    for name in unknown_variables(os.environ):
        logger.warning("the variable %s is close to a setting's name, but is none", name)


def guarded(work: Callable[[], int | None]) -> int:
    """Run a process's work; returns the exit code. What cannot run says why in one line on stderr."""
    try:
        return work() or WELL
    except DefinitionErrors as errors:
        say(str(errors))
        return CANNOT_RUN
    except (SettingError, ClusterError) as error:
        say(f"rtcdp: {error}")
        return CANNOT_RUN
    except RtcdpError as error:
        say(f"rtcdp: {type(error).__name__}: {error}")
        return CANNOT_GO_ON


@contextmanager
def stopping(stop: Callable[[], None], stop_s: float) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT call `stop` (in the main thread, between two instructions).

    stop_s: how long the orderly stop may take (s), from the signal until this context is left; then the process is ended.
    """

    def last_resort() -> None:
        leave(Stalled(f"the orderly stop took longer than {stop_s:.0f} s"))

    timer = threading.Timer(stop_s, last_resort)
    timer.daemon = True
    begun = threading.Event()

    def asked(_number: int, _frame: object) -> None:
        if not begun.is_set():
            begun.set()
            timer.start()
        stop()

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """One line for whoever started the process."""
    sys.stderr.write(text + "\n")
