"""uvicorn's connection, made safe against clients that send slowly, without end, or more than a head should hold."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 16_384
"""Most that the request line and all header fields together may take."""
HEAD_FIELDS = 64
PATIENCE_S = 15.0

_ANSWERS = {
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
}
_CLOSED = b"content-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """A connection whose client has so long to send a whole request, from its first byte on.

    A request that comes in one piece, as nearly all do, costs nothing here: the timer only runs while something is missing.
    """

    patience_s = PATIENCE_S

    _head_bytes = 0
    _received = 0  # bytes since the head began
    _missing = True  # a request, or its rest
    _in_head = True
    _too_large = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A new connection has to say something soon."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any longer."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; afterwards watch a request that is not complete."""
        self._received += len(data)
        before = self.cycle
        super().data_received(data)
        if self._in_head and self._received > HEAD_BYTES and not self.transport.is_closing():
            self._end(431)
        elif self._missing or (self.cycle is before and not self._answering()):
            self._watch()  # also where it was nothing of a request: uvicorn has stopped to wait by now
        else:
            self._rest()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._missing = self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of the request line. Raises ValueError where it is too large."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field. Raises ValueError where it is too large."""
        super().on_header(name, value)
        self._count(len(name) + len(value))
        if len(self.headers) > HEAD_FIELDS:
            self._refuse_head()

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._missing = self._in_head = False
        self._received = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed; uvicorn calls it, also where the head was too large."""
        if self._too_large:
            self._end(431)
        else:
            super().send_400_response(msg)

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > HEAD_BYTES:
            self._refuse_head()

    def _refuse_head(self) -> NoReturn:
        self._too_large = True
        raise ValueError("the head is too large")  # ends the parsing; uvicorn answers what its parser refuses

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.patience_s, self._expired)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._end(408)

    def _end(self, status: int) -> None:
        """Close, and say why where no answer has begun."""
        if not (self._answering() and self.cycle.response_started):
            self.transport.write(_ANSWERS[status] + _CLOSED)
        self.transport.close()


def patient(seconds: float) -> type[Connection]:
    """The connection class with this patience."""
    return type("Connection", (Connection,), {"patience_s": seconds})
