"""A takeover that another rebalance overlaps: nothing of it may go on, or a partition would be run twice, by nobody's word."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtcdp.transport.restore import Stopped
from rtcdp.worker.profiles.agent import ProfileAgent
from rtcdp.worker.profiles.partition import ProfilePartition
from rtcdp.worker.profiles.work import Topics

TOPICS = Topics("profile-events", "changes", "triggers", "dlq", "changelog")


class Partition(ProfilePartition):
    """What is opened: runs until it is stopped, and knows how many run it."""

    def __init__(self, number: int, generation: int) -> None:
        self.number, self.offset, self.generation = number, 9, generation
        self.producer = self.store = SimpleNamespace(close=lambda: None)
        self.running = self.most = 0
        self._over = asyncio.Event()

    async def run(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self._over.clear()
        await self._over.wait()
        self.running -= 1

    def stop(self) -> None:
        self._over.set()

    def poke(self) -> None:
        """Nothing is ever due."""


class Agent(ProfileAgent):
    """Opens partitions without a Kafka: slowly, and without looking whether a rebalance has begun."""

    def __init__(self, kind: type[Partition] = Partition) -> None:
        async def offsets(_: Any) -> dict[Any, int]:
            return {}

        app = SimpleNamespace(
            kafka={}, conf=SimpleNamespace(id="app"), members=SimpleNamespace(group_offsets=offsets), fatal=pytest.fail
        )
        super().__init__(cast("Any", app), TOPICS, cast("Any", None), dict, topic_id="id")
        self.kind = kind
        self.opening, self.go_on = threading.Event(), threading.Event()

    def _open(self, number: int, generation: int, witness: int | None) -> Any:
        self.opening.set()
        assert self.go_on.wait(10)
        return self.kind(number, generation)


class Deaf(Agent):
    """One that does not hear that a rebalance has begun: the control."""

    @property
    def _hurry(self) -> bool:  # type: ignore[override] # an attribute there
        return False

    @_hurry.setter
    def _hurry(self, _: bool) -> None:
        """Not heard."""


async def overlapped(agent: Agent) -> Partition:
    """A takeover in the generation 1, a rebalance before it is over, and the takeover in the generation 2."""
    first = asyncio.create_task(agent.take_over({0}, 1))
    await asyncio.to_thread(agent.opening.wait, 10)
    await agent.let_go(leaving=False)
    agent.go_on.set()
    outcome = (await asyncio.gather(first, return_exceptions=True))[0]
    await asyncio.sleep(0)  # tasks that were started begin
    partition = cast("Partition", cast("Any", agent.partitions[0]))
    if isinstance(outcome, Stopped):
        assert partition.running == 0
    assert await agent.take_over({0}, 2) == {0: 10}
    await asyncio.sleep(0)
    assert agent.partitions[0] is cast("Any", partition), "kept: nobody else can have had it"
    await asyncio.sleep(0)
    await agent.let_go(leaving=True)
    return partition


def test_a_takeover_that_is_overlapped_starts_nothing() -> None:
    assert asyncio.run(overlapped(Agent())).most == 1


def test_without_looking_a_partition_would_be_run_twice() -> None:
    assert asyncio.run(overlapped(Deaf())).most == 2
