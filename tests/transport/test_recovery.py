"""What follows a rebalance comes in its order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import Recovery as FaustRecovery

from rtcdp.transport.recovery import Recovery


@pytest.mark.parametrize("method", ["on_recovery_completed", "_resume_streams"])
@pytest.mark.parametrize("current", [True, False])
def test_fetching_begins_once_faust_has_emptied_its_queues(
    monkeypatch: pytest.MonkeyPatch, method: str, *, current: bool
) -> None:
    """What was fetched before would be thrown away, and its partition would stand still: `worker/test_taking_over.py`."""
    steps: list[Any] = []

    async def take_over(generation: int) -> bool:
        steps.append(("take over", generation))
        return current

    async def resumed(_: Any, generation: int = 0) -> None:
        await asyncio.sleep(0)
        steps.append("queues emptied")

    monkeypatch.setattr(FaustRecovery, method, resumed)
    recovery: Any = Recovery.__new__(Recovery)
    begin = lambda generation: steps.append(("begin", generation))  # noqa: E731 # as short as it is
    recovery.app = SimpleNamespace(consumer=SimpleNamespace(take_over=take_over, begin=begin))
    asyncio.run(getattr(recovery, method)(7))
    assert steps == ([("take over", 7), "queues emptied", ("begin", 7)] if current else [("take over", 7)])
