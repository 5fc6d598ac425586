"""Where a worker seals what it writes about people, and opens what it reads. Nothing above this knows of encryption.

While the key store does not answer, work waits and the process is not ready; what is waited with has not been written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import sleep
from typing import TypeVar

from rtcdp.control import commands
from rtcdp.monitoring.health import Health
from rtcdp.sealing.sealer import RESERVED, Sealer
from rtcdp.sealing.stores import KeysAway

logger = logging.getLogger(__name__)

T = TypeVar("T")
AGAIN_S = 0.3
KEYS = "key store"
Entry = tuple[bytes, bytes]
Record = tuple[int, bytes | None, bytes | None]
GONE = b"~gone"
"""Key of a record that no key opens any more."""


class Stopping(Exception):
    """It was told to stop while it waited."""


class Border:
    """Seals and opens for the agents of one process.

    nothing: what is folded in place of a record that no key opens any more.
    """

    def __init__(self, sealer: Sealer, health: Health, nothing: Entry) -> None:
        self.sealer = sealer
        self._health = health
        self._nothing = nothing

    async def prepare(self, keys: Iterable[bytes], stopping: Callable[[], bool] = lambda: False) -> None:
        """Have the data keys of these profile keys. Raises Stopping."""
        if wanted := self.sealer.wanted(keys):
            await self._fetch(wanted, stopping)

    async def opened(self, records: Sequence[Record], stopping: Callable[[], bool]) -> list[Record]:
        """Records of the log as they were before they were sealed. Raises Stopping, ClusterError."""
        found, missing = self.sealer.open_held(records)
        if names := self.sealer.unknown(records, missing):
            await self._fetch(names, stopping, make=False)
        self.sealer.open_rest(records, found, missing)
        return [one or (records[place][0], *self._nothing) for place, one in enumerate(found)]

    async def asked(
        self, records: Sequence[tuple[bytes | None, bytes | None]]
    ) -> list[tuple[bytes | None, bytes | None] | None]:
        """Commands as they were sent; None where the person was erased."""
        while True:
            try:
                found = await asyncio.to_thread(commands.opened, records, self.sealer)
            except KeysAway as error:
                await self.pause(error)
            else:
                self._health.reached(KEYS)
                return found

    async def sealed_log(
        self, entries: Sequence[tuple[int | None, bytes, bytes]], stopping: Callable[[], bool]
    ) -> list[tuple[int | None, bytes, bytes]]:
        """Records for other profiles, with their partitions. Raises Stopping."""
        sealer = self.sealer
        await self.prepare({key for _, key, _ in entries}, stopping)
        return [(sealer.name(key).partition, *sealer.seal_record(key, value)) for _, key, value in entries]

    async def sealed_state(
        self, state: Iterable[tuple[bytes, bytes | None]], stopping: Callable[[], bool]
    ) -> list[tuple[bytes, bytes]]:
        """Entries of the changelog. What has ended is a sealed nothing, so that readers learn whose it was. Raises Stopping."""
        entries: list[Entry] = []
        reserved: list[Entry] = []
        for key, value in state:
            (reserved if key[:1] == RESERVED else entries).append((key, value or b""))
        await self.prepare([key for key, _ in entries], stopping)
        return self.sealer.seal_all(entries) + reserved

    def wait(self, call: Callable[[], T], stopping: Callable[[], bool]) -> T:
        """Do something that asks the key store, again until it answers. Blocks: for a thread. Raises Stopping."""
        while True:
            try:
                found = call()
            except KeysAway as error:
                self._away(error)
                sleep(AGAIN_S)
            else:
                self._health.reached(KEYS)
                return found
            if stopping():
                raise Stopping(KEYS)

    async def pause(self, error: KeysAway) -> None:
        """The key store was away: a moment, before it is tried again."""
        self._away(error)
        await asyncio.sleep(AGAIN_S)

    async def _fetch(self, names: Sequence[bytes], stopping: Callable[[], bool], *, make: bool = True) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sealer.fetch, names, make=make)
            except KeysAway as error:
                await self.pause(error)
            else:
                self._health.reached(KEYS)
                return
            if stopping():
                raise Stopping(KEYS)

    def _away(self, error: KeysAway) -> None:
        logger.warning("%s; waiting", error)
        self._health.missing(KEYS, str(error))
