"""One HTTP server for every HTTP process: binds before it says it runs, ends in order on SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from rtcdp.errors import SettingError
from rtcdp.processes.lifecycle import stopping
from rtcdp.serving.connections import PATIENCE_S, patient

logger = logging.getLogger(__name__)

BACKLOG = 2_048
IDLE_S = 75
"""How long a connection is kept open between two requests: longer than load balancers keep theirs (60 s)."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `stopping` has them, and does not end the process by them a second time."""
        yield


def listen(host: str, port: int, names: str = "host, port") -> socket.socket:
    """A listening socket. port 0 takes a free one.

    names: the settings that said so, for the message.

    Raises SettingError where the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise SettingError(f"{names}: cannot listen on {host}:{port} ({error.strerror})") from None
    bound.settimeout(0)
    return bound


def serve(
    app: ASGIApp,
    bound: socket.socket,
    *,
    stop_s: float,
    concurrency: int | None = None,
    patience_s: float = PATIENCE_S,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT. The application's lifespan begins before the first request and ends after the last.

    bound:       from `listen`; it is closed at the end.
    stop_s:      how long an orderly stop may take (s); requests get half of it to end by themselves.
    concurrency: connections and requests at a time beyond which 503 is answered; None for no limit.
    patience_s:  how long a client may take to send a request (s).
    ending:      called when the stop begins: ends the answers that have no end of their own. Not on the loop.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=patient(patience_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,  # whoever needs the client's address decides himself whom to believe
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=max(1, int(stop_s / 2)),
        limit_concurrency=concurrency,
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True
        ending()

    host, port = bound.getsockname()[:2]
    logger.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    with stopping(stop, stop_s):
        server.run(sockets=[bound])
    if not server.started:
        raise SettingError("the HTTP server could not start; the log says why")
