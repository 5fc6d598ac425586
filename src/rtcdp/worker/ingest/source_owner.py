"""One source topic as the transport sees it: partition numbers alone do not say of which topic they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtcdp.worker.ingest.agent import Ingest


class SourceOwner:
    """Takes the partitions of one source topic over for `Ingest`."""

    def __init__(self, ingest: Ingest, topic: str) -> None:
        self._ingest = ingest
        self._topic = topic

    async def take_over(self, partitions: set[int], generation: int) -> Mapping[int, int | None]:
        """As `transport.Owner`."""
        return await self._ingest.take_over(self._topic, partitions, generation)

    async def let_go(self, leaving: bool) -> None:  # noqa: FBT001 # as `Owner` has it
        """As `transport.Owner`."""
        await self._ingest.let_go(self._topic, leaving=leaving)
