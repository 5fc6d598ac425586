"""What was taken in is deleted from its topic, where that is wanted (`delete_taken`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from faust.types import TP

from rtcdp.errors import ClusterError
from rtcdp.transport.bounds import delete_before

logger = logging.getLogger(__name__)

CLEAR_S = 10.0
"""How often."""


async def clear_forever(kafka: Mapping[str, Any], done: Callable[[], Mapping[TP, int]]) -> None:
    """Delete what the sources hold and the log has.

    kafka: librdkafka's options for reaching the cluster.
    done:  up to which offset the owned partitions of the sources are done now.

    What was done a round ago has been recorded on `ingest-progress` meanwhile.
    """
    cleared: dict[TP, int] = {}
    while True:
        before = done()
        await asyncio.sleep(CLEAR_S)
        owned = done()
        due = {tp: offset for tp, offset in before.items() if tp in owned and offset > cleared.get(tp, 0)}
        if not due:
            continue
        try:
            await asyncio.to_thread(delete_before, kafka, due)
        except ClusterError as error:
            logger.warning("what has been taken in stays in its topics: %s", error)
        else:
            cleared.update(due)
