"""Ends of the process: what cannot go on ends at once, with one clear line; a zombie helps nobody.

`os._exit` and not an exception: Faust swallows exceptions in several of the places where these happen, and leaves a member
of the group behind that never processes anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from time import sleep
from typing import NoReturn

from rtcdp.errors import ClusterError, SettingError, Stalled
from rtcdp.monitoring.logs import sentence

CANNOT_RUN = 2
ENDED = 1
BEAT = 1.0


def leave(reason: BaseException) -> NoReturn:
    """End the process now. Exit code 2 where the cluster or a setting is wrong, else 1 (start it again)."""
    code = CANNOT_RUN if isinstance(reason, ClusterError | SettingError) else ENDED
    sys.stderr.write(f"rtcdp: {sentence(reason)}\n")
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


class Watchdog:
    """Ends the process when its event loop stands still, or a rebalance, a takeover or a turn never ends.

    busy_for: seconds that the longest of those has been going on; 0 while there is none.
    limit:      how long either may last (s).
    fatal:      what to do then.

    It counts its own wake-ups instead of comparing clocks, so that a suspended process is not ended for having been suspended.
    """

    def __init__(self, limit: float, busy_for: Callable[[], float], fatal: Callable[[BaseException], None] = leave) -> None:
        self._limit = limit
        self._busy_for = busy_for
        self._fatal = fatal
        self._missed = 0
        self._stopped = threading.Event()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, from a daemon thread."""
        threading.Thread(target=self._run, args=(loop,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _beat(self) -> None:
        self._missed = 0

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            sleep(BEAT)
            if self._missed * BEAT > self._limit:
                self._fatal(Stalled(f"the event loop stood still for {self._limit:.0f} s"))
            if self._busy_for() > self._limit:
                self._fatal(Stalled(f"a rebalance, a takeover or the turn of a partition lasted more than {self._limit:.0f} s"))
            self._missed += 1
            try:
                loop.call_soon_threadsafe(self._beat)
            except RuntimeError:  # the loop is closed: the process is ending by itself
                return
