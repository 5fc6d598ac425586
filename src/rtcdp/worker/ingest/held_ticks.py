"""A tick that names ends which the sources do not have would hold up all commands behind it: it is bound to what there is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rtcdp.errors import ClusterError
from rtcdp.servers.cluster import source_ends
from rtcdp.worker.ingest.command_queue import CommandQueue

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often ticks that wait are looked at."""


async def bind_forever(kafka: Mapping[str, Any], topics: Iterable[str], queues: Callable[[], Iterable[CommandQueue]]) -> None:
    """Look at ticks that wait. kafka: librdkafka's options for reaching the cluster. topics: the sources."""
    names = list(topics)
    while True:
        await asyncio.sleep(LOOK_S)
        held = [(queue, until) for queue in queues() if (until := queue.held_until) >= 0]
        if not held:
            continue
        try:
            ends = await asyncio.to_thread(source_ends, kafka, names)
        except ClusterError as error:
            logger.warning("ticks wait, and nobody says where the sources end: %s", error)
            continue
        for queue, until in held:
            queue.bound(ends, until)
