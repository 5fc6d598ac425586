"""When a partition appends the switch to the definitions that are current: once all profiles can be visited in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from rtcdp.records import Switch, encode
from rtcdp.sealing.stores import KeysAway
from rtcdp.worker.profiles.work import Runner, Work

END = object()


class Switching:
    """The switch of one partition, one outstanding.

    runner: of the partition. poke: called when there is something to append.
    """

    def __init__(self, runner: Runner, work: Work, poke: Callable[[], None]) -> None:
        self._runner = runner
        self._work = work
        self._poke = poke
        self._out: tuple[int, str, str] | None = None
        self._made: tuple[int, str, str] | None = None
        self._steps: Iterator[None] | None = None
        self._ordering: asyncio.Task[None] | None = None

    def proposal(self, watermark: int) -> bytes | None:
        """A switch record where the version folded last is not the current one and it is not yet on its way.

        watermark: low watermark (ms), its time.
        """
        version = self._work.version()
        passed = self._runner.position.switches
        shadow = self._work.shadow()
        shadow = "" if shadow == version else shadow
        if version is None or not passed or (passed[-1].version == version and passed[-1].shadow == shadow):
            return None
        number = passed[-1].number + 1
        self._made = (number, version, shadow)
        if self._out == self._made or not self._ordered():
            return None
        return encode(Switch(number=number, version=version, time=watermark, shadow=shadow))

    def appended(self) -> None:
        """The one that was made is in the log."""
        self._out, self._steps = self._made, None

    def close(self) -> None:
        """Make nothing ready any more."""
        self._steps = None
        if self._ordering is not None:
            self._ordering.cancel()
            self._ordering = None

    def _ordered(self) -> bool:
        """Whether the order is ready; else it is being made."""
        if self._ordering is not None:
            return False
        if self._steps is None:
            self._steps = self._runner.order()
            with suppress(KeysAway):  # the fold cannot go on without keys either, and waits for them
                if next(self._steps, END) is not END:
                    self._ordering = asyncio.create_task(self._order(self._steps), name="order")
                    return False
        return True

    async def _order(self, steps: Iterator[None]) -> None:
        with suppress(KeysAway):
            for _ in steps:
                await asyncio.sleep(0)  # a live event may come first
        self._ordering = None
        self._poke()
