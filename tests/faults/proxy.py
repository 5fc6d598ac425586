"""A TCP proxy in front of a broker that can be slow, deaf, mute or gone."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from typing import Any


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`, in a thread of its own.

    delay: seconds (least, most) that every chunk of bytes is held up, each way.
    deaf:  what clients send is thrown away; mute: what the broker answers is.
    `refuse()` closes everything and listens no longer until `heal()`.
    """

    def __init__(self, port: int, target: int, seed: int = 1) -> None:
        self.port, self._target = port, target
        self.delay = (0.0, 0.0)
        self.deaf = self.mute = False
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def refuse(self) -> None:
        """Connections are refused, those that are open are reset."""
        self._call(self._close())

    def drop(self) -> None:
        """Those that are open are reset; new ones are taken."""
        self._call(self._reset())

    def heal(self) -> None:
        """As if nothing had been. Connections that were cut one way stay lost: they are reset."""
        if self.deaf or self.mute:
            self.drop()  # first: TCP loses a connection, never bytes in the middle of one
        self.deaf = self.mute = False
        self.delay = (0.0, 0.0)
        if self._server is None:
            self._call(self._listen())

    def close(self) -> None:
        """End it."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _end(self) -> None:
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset(self) -> None:
        open_ones = set(self._writers)
        for writer in open_ones:
            writer.transport.abort()
        while open_ones & self._writers:  # noqa: ASYNC110 # what is waited for ends in many places
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(broker_writer)
        try:
            await asyncio.gather(
                self._pump(reader, broker_writer, answers=False), self._pump(broker_reader, writer, answers=True)
            )
        finally:
            for one in (writer, broker_writer):
                self._writers.discard(one)
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError, RuntimeError):  # a transport that was aborted raises the latter
            while chunk := await reader.read(1 << 16):
                if any(self.delay):
                    await asyncio.sleep(self._random.uniform(*self.delay))
                if self.mute if answers else self.deaf:
                    continue
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()
