"""Faust's table recovery, replaced by the owners' takeover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery

if TYPE_CHECKING:
    from rtcdp.transport.consumer import Consumer


class Recovery(FaustRecovery):
    """Keeps Faust's order of things after a rebalance; the restoring itself is `Owner.take_over`."""

    def need_recovery(self) -> bool:
        """Never: the owners restore."""
        return False

    async def _build_highwaters(self, *args: Any) -> None:
        """Nothing to compare with."""

    async def _build_offsets(self, *args: Any) -> None:
        """Nothing to compare."""

    async def _seek_offsets(self, *args: Any) -> None:
        """Nothing is fetched through aiokafka."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Take over, then let Faust resume. Not in the assignment callback: heartbeats stand still there."""
        consumer = cast("Consumer", self.app.consumer)
        if await consumer.take_over(generation_id):
            await super().on_recovery_completed(generation_id)
            consumer.begin(generation_id)

    async def _resume_streams(self, generation_id: int = 0) -> None:
        """The same for an app without tables."""
        consumer = cast("Consumer", self.app.consumer)
        if await consumer.take_over(generation_id):
            await super()._resume_streams(generation_id)
            consumer.begin(generation_id)


class TableManager(FaustTableManager):
    """Uses `Recovery`."""

    async def on_start(self) -> None:
        """As Faust's, without its second of sleep: the conductor waits for the agents by itself."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    @property
    def recovery(self) -> FaustRecovery:
        """The replaced recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
