"""Queues of destinations, with a clock and a sender that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination, Rate
from rtcdp.delivery.lanes import FAILURES, OPEN_MS, Lane, Pending, wait_after
from tests.delivery.test_webhooks import delivery

WELL = Attempt(Verdict.DELIVERED)
SILENT = Attempt(Verdict.AGAIN, "no", alive=False)


class Stage:
    """A lane, its sender and its owner in one."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000_000
        self.answer: Callable[[], Attempt] = lambda: WELL
        self.attempts: list[str] = []
        self.ends: list[tuple[str, Attempt | None]] = []
        self.destination = Destination("d", "file", ("x",), **options)
        self.lane = Lane(self.destination, self, lambda: self.now)

    async def attempt(self, delivery: Delivery) -> Attempt:
        self.attempts.append(delivery.id)
        await asyncio.sleep(0)
        return self.answer()

    async def close(self) -> None: ...

    def expired(self, pending: Pending) -> None:
        self.ends.append((pending.delivery.id, None))

    def attempted(self, pending: Pending, attempt: Attempt) -> None:
        self.ends.append((pending.delivery.id, attempt))

    def add(self, *names: str, **fields: Any) -> list[Pending]:
        found = [Pending(delivery(id=name, **fields), self) for name in names]
        for pending in found:
            self.lane.add(pending)
        return found

    async def settle(self) -> list[str]:
        """Let everything happen that can at this instant; the attempts so far."""
        self.lane.pump()
        for _ in range(200):
            await asyncio.sleep(0)
        return self.attempts


def play(scene: Callable[[Stage], Any], **options: Any) -> None:
    async def run() -> None:
        stage = Stage(**options)
        await scene(stage)
        await stage.lane.close()

    asyncio.run(run())


def test_what_is_too_late_or_withdrawn_is_not_attempted() -> None:
    async def scene(stage: Stage) -> None:
        stage.add("old", expires=stage.now)
        stage.add("called off", cancelled=True)
        (gone,) = stage.add("gone")
        gone.live = False
        stage.add("good", expires=stage.now + 1)
        assert await stage.settle() == ["good"]
        assert stage.ends == [("old", None), ("called off", None), ("good", WELL)]
        assert len(stage.lane) == 0

    play(scene)


def test_what_is_due_later_waits_and_stops_nobody() -> None:
    async def scene(stage: Stage) -> None:
        stage.add("later", due=stage.now + 1_000)
        stage.add("now")
        assert await stage.settle() == ["now"]
        stage.now += 1_000
        assert await stage.settle() == ["now", "later"]

    play(scene)


def test_a_silent_destination_is_left_alone_then_probed() -> None:
    async def scene(stage: Stage) -> None:
        stage.answer = lambda: SILENT
        stage.add(*(f"a{n}" for n in range(FAILURES + 20)))
        tried = len(await stage.settle())
        assert FAILURES <= tried < FAILURES + 4, "what was under way ends, nothing more begins"
        assert stage.lane.held
        stage.now += OPEN_MS
        assert len(await stage.settle()) == tried + 1, "one probe"
        stage.now += OPEN_MS
        assert len(await stage.settle()) == tried + 1, "it is left alone for longer now"
        stage.now += OPEN_MS
        stage.answer = lambda: WELL
        assert len(await stage.settle()) == FAILURES + 20
        assert not stage.lane.held

    play(scene, concurrency=4)


def test_a_refusal_says_nothing_against_its_health() -> None:
    async def scene(stage: Stage) -> None:
        stage.answer = lambda: Attempt(Verdict.REFUSED, "422")
        stage.add(*(f"a{n}" for n in range(50)))
        assert len(await stage.settle()) == 50

    play(scene)


def test_rate_concurrency_and_pause() -> None:
    async def scene(stage: Stage) -> None:
        stage.add(*(f"a{n}" for n in range(7)))
        assert len(await stage.settle()) == 3
        stage.now += 999
        assert len(await stage.settle()) == 3
        stage.now += 1
        assert len(await stage.settle()) == 6
        stage.now += 1_000
        stage.answer = lambda: Attempt(Verdict.AGAIN, "429", pause=5_000)
        assert len(await stage.settle()) == 7
        stage.add("b")
        stage.now += 4_999
        assert len(await stage.settle()) == 7
        stage.now += 1
        assert len(await stage.settle()) == 8

    play(scene, rate=Rate(3, 1_000), concurrency=2)


def test_gone_ends_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.answer = lambda: Attempt(Verdict.GONE, "410")
        stage.add("a", "b", "c")
        assert await stage.settle() == ["a"]
        stage.now += 10**9
        assert await stage.settle() == ["a"]
        stage.lane.disabled = False
        stage.answer = lambda: WELL
        assert await stage.settle() == ["a", "b", "c"]

    play(scene, concurrency=1)


def test_waits_grow_spread_and_end() -> None:
    where = Destination("d", "file", ("x",), retries=(1_000, 60_000))
    failed = Attempt(Verdict.AGAIN, "no")
    assert [wait_after(where, n, failed, lambda: 0.5) for n in (1, 2, 3)] == [1_000, 60_000, None]
    assert (wait_after(where, 1, failed, lambda: 0.0), wait_after(where, 1, failed, lambda: 1.0)) == (800, 1_200)
    assert wait_after(where, 1, Attempt(Verdict.AGAIN, "429", pause=9_000), lambda: 0.5) == 9_000
