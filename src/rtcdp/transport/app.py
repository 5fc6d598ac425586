"""A Faust app whose data goes through librdkafka."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, cast

import faust
from mode.loop import use

from rtcdp.transport.consumer import Consumer
from rtcdp.transport.exits import Watchdog, leave
from rtcdp.transport.owner import Owner
from rtcdp.transport.recovery import TableManager
from rtcdp.transport.settings import LONG_POLL_MS, faust_settings

use("uvloop")  # before any loop exists: Faust's threads make theirs at import


class App(faust.App):
    """`faust.App` with the pinned settings, the `rtcdp` transport, owners of topics and a watchdog.

    name:     the app's id, which is its consumer group.
    kafka:    librdkafka's options for reaching the cluster (`bootstrap.servers`, security).
    instance: name for static group membership; empty: dynamic.
    stall:    how long the loop may stand still, or a rebalance, a takeover or a turn may last before the process ends (s).
    stop:     how long Faust may take to end after everything is committed and let go (s).
    fatal:    what ends the process; tests put their own.
    fetch_wait_ms: how long the broker may hold an empty fetch.
    options:  further settings of Faust, on top of the pinned ones.
    """

    def __init__(
        self,
        name: str,
        kafka: Mapping[str, Any],
        *,
        instance: str = "",
        stall: float = 60.0,
        stop: float = 8.0,
        fatal: Callable[[BaseException], None] = leave,
        fetch_wait_ms: int = LONG_POLL_MS,
        **options: Any,
    ) -> None:
        self.kafka = dict(kafka)
        self.fetch_wait_ms = fetch_wait_ms
        self.owners: dict[str, Owner] = {}
        self.fatal = fatal
        self._stop_s = stop
        self._ending: threading.Timer | None = None
        self._watchdog = Watchdog(stall, self._busy_for, fatal)
        servers = str(kafka["bootstrap.servers"]).split(",")
        super().__init__(
            name,
            **{
                **faust_settings(instance=instance),
                "broker": ";".join(f"rtcdp://{server.strip()}" for server in servers),
                "TableManager": TableManager,
                **options,
            },
        )

    def own(self, topic: str, owner: Owner) -> None:
        """Let `owner` take the partitions of `topic` over and let them go."""
        self.owners[topic] = owner

    @property
    def members(self) -> Consumer:
        """The consumer, as what it is."""
        return cast("Consumer", self.consumer)

    async def on_start(self) -> None:
        """Start watching the loop."""
        self._watchdog.start(self.loop)
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish what is in flight first: `super` stops the streams."""
        self._watchdog.stop()
        if self._consumer is not None:
            await self.members.leave()
            # Leaving the group can wait for a rebalance that others hold up; there is nothing left to lose by going.
            self._ending = threading.Timer(self._stop_s, os._exit, (0,))
            self._ending.daemon = True
            self._ending.start()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Everything has ended by itself."""
        if self._ending is not None:
            self._ending.cancel()
        await super().on_shutdown()

    def _busy_for(self) -> float:
        """How long what should be short has been going on: a rebalance, a takeover, a partition's turn."""
        consumer = cast("Consumer | None", self._consumer)
        if consumer is None:
            return 0.0
        since = consumer.busy_since
        return max(monotonic() - since if since else 0.0, consumer.fetching.longest_turn())
