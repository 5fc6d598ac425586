"""Reading a request's body within its limits, before anything in it is looked at."""

from __future__ import annotations

import zlib
from typing import Self

from starlette.types import Receive

from rtcdp.serving.collector.refusals import Refusal

DISCARDED = 8
"""A body that is too large is read on to so many times its limit and thrown away: a client that is still sending would not
see the answer."""
GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with a gzip header


class Budget:
    """How many bytes all bodies together may take."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, length: int) -> None:
        """Raises Refusal (`busy`) where there is no room."""
        if self.held + length > self._limit:
            raise Refusal("busy", "too much is being received at the moment", retry_after=1, close=True)
        self.held += length

    def give_back(self, length: int) -> None:
        """The bytes are no longer needed."""
        self.held -= length


class Body:
    """One request's body. Use it as a context manager: at its end the budget has its bytes back.

    limit:    largest body as it comes (bytes). unpacked: once unpacked (bytes).
    """

    def __init__(self, receive: Receive, budget: Budget, *, limit: int, unpacked: int) -> None:
        self._receive = receive
        self._budget = budget
        self._limit = limit
        self._unpacked = unpacked
        self._taken = 0

    def __enter__(self) -> Self:
        """Nothing is read yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the budget its bytes back."""
        self._budget.give_back(self._taken)

    async def read(self, *, gzip: bool) -> bytes:
        """The whole body, unpacked. Raises Refusal: too_large, client_gone, busy, malformed_gzip.

        A client that sends too slowly is sent away by its connection (`serving.connections`).
        """
        body = await self._read()
        return self._unzip(body) if gzip else body

    async def _read(self) -> bytes:
        chunks = []
        length, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Refusal("client_gone", "the client closed the connection before its body had ended")
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            length += len(chunk)
            if length <= self._limit:
                self._take(len(chunk))
                chunks.append(chunk)
            elif length > self._limit * DISCARDED:
                break
        if length > self._limit:
            raise Refusal("too_large", f"the body is larger than {self._limit} bytes", close=more)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _unzip(self, body: bytes) -> bytes:
        """Never holds more than the limit and one byte, whatever the packed body promises."""
        unpack = zlib.decompressobj(GZIP)
        try:
            text = unpack.decompress(body, self._unpacked + 1)
        except zlib.error as error:
            raise Refusal("malformed_gzip", f"the body is no gzip ({error})") from None
        if len(text) > self._unpacked:
            raise Refusal("too_large", f"the body is larger than {self._unpacked} bytes once unpacked")
        if not unpack.eof:
            raise Refusal("malformed_gzip", "the body ends inside its gzip data")
        if unpack.unused_data:
            raise Refusal("malformed_gzip", "there is more after the end of the gzip data")
        self._take(len(text))
        return text

    def _take(self, length: int) -> None:
        self._budget.take(length)
        self._taken += length
