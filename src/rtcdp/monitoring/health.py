"""Whether this process is alive and ready, and the small HTTP server that says so beside the metrics.

`/metrics`  Prometheus text.
`/healthz`  200 while the event loop turns and nothing has stood still for too long, else 503 with the reasons.
`/readyz`   200 once restored and caught up, else 503 with what is missing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from rtcdp.errors import SettingError, Stalled

LOOP = "event loop"
LOOK_S = 1.0
STALLED_LOOKS = 5


class Health:
    """What has begun and not ended, and what is still missing before work can be taken. Thread-safe.

    stall_s: how long a thing may stand still (s) before it counts as stalled.
    clock:   monotonic seconds.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._lock = Lock()
        self._moving: dict[str, float] = {}
        self._missing: dict[str, str] = {}

    def begin(self, name: str) -> None:
        """`name` (`restore of profile-events/3`, `rejoin`, `commit of ...`) is under way: it must move until `end`."""
        with self._lock:
            self._moving[name] = self._clock()

    def moved(self, name: str) -> None:
        """`name` got on, if it is under way: its time counts from now."""
        with self._lock:
            if name in self._moving:
                self._moving[name] = self._clock()

    def end(self, name: str) -> None:
        """`name` is over; nothing happens where it was not under way."""
        with self._lock:
            self._moving.pop(name, None)

    def beat(self) -> None:
        """The event loop turns. From the first call on it has to go on doing so."""
        self.begin(LOOP)

    def missing(self, name: str, what: str) -> None:
        """Not ready: `what` says why (`restoring 3 partitions`)."""
        with self._lock:
            self._missing[name] = what

    def reached(self, name: str) -> None:
        """What `missing` reported under `name` is there now."""
        with self._lock:
            self._missing.pop(name, None)

    def stalled(self) -> list[str]:
        """What stands still, one sentence each; empty while all is well."""
        now = self._clock()
        with self._lock:
            return [
                f"{name} has stood still for {now - since:.0f} s"
                for name, since in self._moving.items()
                if now - since > self._stall_s
            ]

    def unready(self) -> list[str]:
        """What is missing before work can be taken; what is stalled is not ready either."""
        with self._lock:
            missing = list(self._missing.values())
        return missing + self.stalled()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False


class _Quiet(WSGIRequestHandler):
    timeout = 5  # a client that sends nothing must not hold a thread

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """One line per scrape would fill the log."""


class HealthServer:
    """Serves the three paths from threads of its own, so that a blocked event loop can still be seen.

    Raises SettingError where the address cannot be bound. `port` is the one bound (it matters where 0 was asked for).
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        with suppress(ValueError):  # the same registry served once before
            ProcessCollector(registry=registry)
        self._metrics = make_wsgi_app(registry)
        self._health = health
        try:
            self._server = make_server(host, port, self._answer, _Server, _Quiet)
        except OSError as error:
            place = f"{host}:{port}"
            raise SettingError(f"metrics_host, metrics_port: cannot listen on {place} ({error.strerror})") from None
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name="rtcdp-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops answering; returns when the port is free."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        if path == "/healthz":
            return _verdict(self._health.stalled(), start_response)
        if path == "/readyz":
            return _verdict(self._health.unready(), start_response)
        return _text("404 Not Found", "not found: /metrics, /healthz, /readyz\n", start_response)


def _verdict(reasons: list[str], start_response: StartResponse) -> Iterable[bytes]:
    if reasons:
        return _text("503 Service Unavailable", "\n".join(reasons) + "\n", start_response)
    return _text("200 OK", "ok\n", start_response)


def _text(status: str, text: str, start_response: StartResponse) -> Iterable[bytes]:
    body = text.encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, ("Cache-Control", "no-store")])
    return [body]


def watch(health: Health, fatal: Callable[[BaseException], None], stopped: threading.Event) -> Thread:
    """Start a thread that ends the process when something has stood still for too long.

    It must see it several times over: a process that was suspended has stood still by the clock, and goes on at once.
    """

    def run() -> None:
        seen = 0
        while not stopped.wait(LOOK_S):
            reasons = health.stalled()
            seen = seen + 1 if reasons else 0
            if seen >= STALLED_LOOKS:
                fatal(Stalled("; ".join(reasons)))
                return

    thread = Thread(target=run, name="stalls", daemon=True)
    thread.start()
    return thread
