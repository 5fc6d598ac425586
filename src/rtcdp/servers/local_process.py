"""A server as a child process on 127.0.0.1 that never outlives this one, however this one ends."""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rtcdp.errors import ClusterError

STOP_SECONDS = 15.0

# Ends the server and removes its directory when our end of the pipe closes: that also happens when this process gets kill -9.
_GUARD = 'read _; kill -KILL "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"'


class LocalProcess:
    """A running server. Creating it starts it.

    command: program and arguments.
    log:     file that its output is appended to.
    remove:  directory to remove if this process dies before `stop`; None keeps everything.
    """

    def __init__(self, command: Sequence[str], log: Path, remove: Path | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C is for the program, which still has to commit to this server.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        guard = ["/bin/sh", "-c", _GUARD, "rtcdp-guard", str(self.pid), str(remove or "")]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def stop(self, *, kill: bool = False) -> None:
        """End it: SIGTERM, after 15 s SIGKILL; at once SIGKILL with `kill`."""
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._guard.kill()
        self._guard.communicate()

    def last_words(self) -> str:
        """The line of its log that tells most: the last one with an error, else the last one."""
        return telling_line(self.log.read_text(errors="replace"))


def telling_line(text: str) -> str:
    """The line that tells most about a failure: the last one with an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "Exception" in line]
    return (telling or lines or ["it said nothing"])[-1][:300]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on. Raises ClusterError.

    Below the ephemeral range, so that no outgoing connection takes it while the server is down, nor a client that
    retries connects to itself.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ClusterError("No port between 20000 and 32000 is free on 127.0.0.1.")
