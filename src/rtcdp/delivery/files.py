"""Deliveries as lines of NDJSON files, for BI and data lakes: durable before they count as delivered.

What comes while a write is under way is the next one. A crash may leave half a line, which is cut off before the next one is
written; a line that was written and not yet recorded as delivered is written again, with the same id.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import time

import msgspec

from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination

_TAIL = 65_536


class FileSender:
    """Appends to one destination with `file`: a line `{"id": ..., "profile": ..., "body": ...}` a delivery."""

    def __init__(self, destination: Destination) -> None:
        self._pattern = "".join(part for part in destination.address if isinstance(part, str))
        self._threads = ThreadPoolExecutor(1, f"file-{destination.name}")
        self._waiting: list[tuple[bytes, asyncio.Future[Attempt]]] = []
        self._writing = False
        self._path: Path | None = None

    async def attempt(self, delivery: Delivery) -> Attempt:
        """Write one line; returns when it is on the disk."""
        future: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        self._waiting.append((line(delivery), future))
        if not self._writing:
            self._writing = True
            try:
                await self._write()
            finally:
                self._writing = False
        return await future

    async def close(self) -> None:
        """What is being written is waited for."""
        self._threads.shutdown(wait=True)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._threads, self._append, b"".join(text for text, _ in batch))
                result = Attempt(Verdict.DELIVERED)
            except OSError as error:
                result = Attempt(Verdict.AGAIN, f"the file cannot be written ({error.strerror})", alive=False)
            for _, future in batch:
                if not future.done():
                    future.set_result(result)

    def _append(self, lines: bytes) -> None:
        path = Path(datetime.fromtimestamp(time(), UTC).strftime(self._pattern))
        if path != self._path:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_half_line(path)
        with path.open("ab") as file:
            self._path = path
            size = file.tell()
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)  # a full disk leaves half a line, too
                raise


def line(delivery: Delivery) -> bytes:
    """The line of a delivery."""
    fields = {
        "id": delivery.id,
        "profile": delivery.profile,
        "kind": delivery.kind,
        "name": delivery.name,
        "at": delivery.at,
        "seq": delivery.seq,
        "body": msgspec.Raw(delivery.body.encode()),
    }
    return msgspec.json.encode(fields) + b"\n"


def _cut_half_line(path: Path) -> None:
    """Remove what a crash left behind the last line end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - _TAIL)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                end = start + place + 1
                break
            end = start
        if end < size:
            file.truncate(end)
