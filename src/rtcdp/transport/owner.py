"""Who works on a topic's partitions: the hooks between the transport and what it carries data for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from faust.types import TP

if TYPE_CHECKING:
    from confluent_kafka import Message

    from rtcdp.transport.fetching import Fetching


class Batch:
    """A turn of one partition: the value of a Faust message. Take what was fetched, then say that the turn is over.

    topic, partition: whose turn it is.
    epoch: in which assignment; a batch of an older one yields nothing and changes nothing.
    """

    __slots__ = ("_fetching", "_tp", "epoch")

    def __init__(self, tp: TP, epoch: int, fetching: Fetching) -> None:
        self._tp = tp
        self.epoch = epoch
        self._fetching = fetching

    @property
    def topic(self) -> str:
        """The topic."""
        return self._tp.topic

    @property
    def partition(self) -> int:
        """The partition."""
        return self._tp.partition

    @property
    def waiting(self) -> int:
        """How many records have been fetched and not been taken."""
        return self._fetching.waiting(self._tp)

    def take(self, records: int = 2_000, size: int = 8 << 20) -> list[Message]:
        """The records that have been fetched by now, in order: at most `records` and about `size` bytes of values."""
        return self._fetching.take(self._tp, self.epoch, records, size)

    def end(self) -> None:
        """The turn is over: the next one comes as soon as there are records (at once, where some were left)."""
        self._fetching.end_turn(self._tp, self.epoch)


class Owner(Protocol):
    """Takes partitions of one topic over, and lets them go. Registered by `App.own`."""

    async def take_over(self, partitions: set[int], generation: int) -> Mapping[int, int | None]:
        """These partitions, and no others, are assigned in this generation of the group.

        Called before anything of them is fetched, while heartbeats go on. Returns the offset to start at for each; None, or
        absent: the group's offset, or the beginning where there is none. Whatever it raises ends the process.
        """

    async def let_go(self, leaving: bool) -> None:  # noqa: FBT001 # there is nothing else to say
        """Finish what is in flight and start nothing new: another process may own the partitions when this returns.

        leaving: the process is stopping; else a rebalance goes on, and what is held may be kept for the next `take_over`.
        """
