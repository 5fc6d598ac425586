"""The demo in a browser: a Redis, the projector and the API with its console, beside the worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import LocalProcess, free_port
from rtcdp.servers.redis_server import RedisServer


def child(config: Path, *arguments: str) -> list[str]:
    """Command that runs `rtcdp` with these settings, whatever the environment says."""
    inherited = [f"--unset={name}" for name in os.environ if name.startswith("RTCDP_")]
    return ["env", *inherited, sys.executable, "-m", "rtcdp.cli", *arguments, "--config", str(config)]


class Window:
    """The console of a demo.

    server: the process of `rtcdp serve --link`; None where there is no console, then `missing` says why.
    """

    def __init__(self, server: LocalProcess | None = None, missing: str = "") -> None:
        self._server = server
        self._link = ""
        self.missing = missing

    @property
    def link(self) -> str:
        """Address with a token, for this machine; empty while it is being made, and where there is none."""
        if not self._link and self._server is not None:
            lines = self._server.log.read_text(errors="replace").splitlines()
            self._link = next((line for line in lines if line.startswith("http")), "")
        return self._link

    def keep_open(self) -> None:
        """Return only when Ctrl-C is pressed, if there is a console and somebody to press it."""
        if not (self.link and sys.stdin.isatty() and sys.stdout.isatty()):
            return
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(f"\nLook around in the console: {self.link}\nCtrl-C ends the demo.")
        try:
            while self._server is not None and self._server.code is None:
                time.sleep(0.2)
        except KeyboardInterrupt:
            console.print()


@contextmanager
def opened(config: Path, scratch: Path) -> Iterator[Window]:
    """Start what the console needs; without a Redis there is none.

    config:  TOML file of the demo's settings.
    scratch: folder for logs and tokens.
    """
    with ExitStack() as stack:
        try:
            redis = stack.enter_context(RedisServer()).url
        except ClusterError as error:
            yield Window(missing=str(error))
            return
        serving = ("--port", str(free_port()), "--tokens", str(scratch / "tokens.json"), "--link")
        parts: dict[str, Sequence[str]] = {"project": (), "serve": serving}
        started = {}
        for name, options in parts.items():
            command = child(config, name, "--redis", redis, "--metrics-port", "-1", *options)
            started[name] = LocalProcess(command, scratch / f"{name}.log")
            stack.callback(started[name].stop)
        yield Window(started["serve"])
