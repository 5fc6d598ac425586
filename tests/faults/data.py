"""Rows 8 to 11: what comes in is bad, huge, repeated, disordered, or all for one profile."""

from __future__ import annotations

import json
import random
import signal
import time
from datetime import UTC, datetime
from typing import Any

from faults.crashes import crash
from faults.rig import Rig
from faults.stage import Result, Stage, finish, load, red

KINDS_OF_POISON = 13


def poisoned(rig: Rig, result: Result, letters: int, kills: int) -> None:
    """One event in fifty is poison, until there was so much of it; and workers die meanwhile."""
    with load(rig, poison=0.02) as sending:
        rig.start()
        for _ in range(kills):
            rig.moving()
            rig.sender.damage()
            rig.workers[-1].end(signal.SIGKILL)
            rig.fault("kill")
            crash(rig, "step3.letters", 1)
            rig.start()
        rig.await_load(sending, letters * 50)
    verdict = finish(rig, result)
    rig.faults += verdict["dead_letters"]
    result.faults += verdict["dead_letters"]


def row8(stage: Stage) -> Result:
    """poison of every kind"""
    result = Result(8, "poison of every kind", stage.seed, control="unusable records left out without a dead letter")
    with stage.rig("poison") as rig:
        poisoned(rig, result, stage.count(200, KINDS_OF_POISON), stage.count(5, 1))
    result.control_red = red(lambda outcome: poison_control(stage, outcome))
    return result


def short_row8(stage: Stage) -> Result:
    """Every kind of poison once or more."""
    result = Result(8, "poison of every kind", stage.seed)
    with stage.rig("poison") as rig:
        with load(rig, rate=800, poison=0.1) as sending:
            rig.start()
            rig.moving()
            rig.sender.damage()
            rig.await_load(sending, KINDS_OF_POISON * 20)
        verdict = finish(rig, result)
        result.faults += verdict["dead_letters"]
    return result


def poison_control(stage: Stage, outcome: Result) -> None:
    with stage.rig("poison-control", off=("letters",)) as rig:
        with load(rig, poison=0.1) as sending:
            rig.start()
            rig.await_load(sending, 300)
        finish(rig, outcome, 20)


def row9(stage: Stage) -> Result:
    """giant events, and a profile that grows without end"""
    result = Result(9, "giant events, and a profile that grows without end", stage.seed, control="sizes unchecked")
    with stage.rig("giants") as rig:
        with load(rig):
            rig.start()
            rig.moving()
            for number in range(stage.count(60, 30)):
                rig.sender.giant(number)
                rig.fault("giant")
                rig.sender.growing(number)
                rig.fault("growing")
                if number % 20 == 19:
                    rig.workers[-1].end(signal.SIGKILL)
                    rig.fault("kill")
                    rig.start()
        verdict = finish(rig, result, 120)
        if not verdict["refused"]:
            result.fail("the profile never grew too large: nothing was shown")
    result.control_red = red(lambda outcome: _giant_control(stage, outcome))
    return result


def _giant_control(stage: Stage, outcome: Result) -> None:
    with stage.rig("giants-control", off=("sizes",)) as rig:
        with load(rig), rig.kept("one"):
            rig.moving()
            for number in range(30):
                rig.sender.growing(number)
            time.sleep(5)
        finish(rig, outcome, 20)


def row10(stage: Stage) -> Result:
    """duplicates, disorder and skewed clocks: 20 shuffles, one digest"""
    result = Result(10, "duplicates, disorder and skewed clocks: 20 shuffles, one digest", stage.seed)
    result.control = "repeats without message ids"
    _shuffles(stage, result, ids=True)
    result.control_red = red(lambda outcome: _shuffles(stage, outcome, ids=False))
    return result


SHUFFLES = 20
STARTED = 1_750_000_000_000


def _shuffles(stage: Stage, result: Result, *, ids: bool) -> None:
    """The same events for 20 profiles, in 20 orders, by 20 clocks, with 20 choices of repeats: one state."""
    with stage.rig("shuffles", event_time=True) as rig:
        chance = random.Random(stage.seed)
        events = [_one(chance, number) for number in range(stage.count(1_000, 200))]
        for copy in range(SHUFFLES):
            skew = chance.randrange(-86_400_000, 86_400_000)
            once = list(enumerate(events))
            chance.shuffle(once)
            for number, (occurred, event, properties) in once:
                for _ in range(chance.choice((1, 1, 2))):
                    _send(rig, f"copy{copy}", f"m{number}" if ids else "", occurred, skew, event, properties)
            result.faults += 1
        rig.sender.producer.flush(60)
        rig.start(point="step3.position", after=2)
        rig.await_end(rig.workers[-1], 20)
        rig.start()
        for copy in range(SHUFFLES):
            _send(rig, f"copy{copy}", "probe", STARTED + 900_000, 0, "Probe", {})
        rig.sender.producer.flush(60)
        told = rig.topics.answers(SHUFFLES, 60)
        rig.stop()
    result.events += len(events) * SHUFFLES
    wanted = _plain(events)
    digests = {json.dumps(payload, sort_keys=True) for payload in told.values()}
    result.missing += SHUFFLES - len(told)
    result.wrong += sum(1 for payload in told.values() if payload != wanted)
    if len(told) != SHUFFLES or digests != {json.dumps(wanted, sort_keys=True)}:
        result.fail(
            f"{len(told)} answers, {len(digests)} different ones; wanted {wanted}, had {next(iter(told.values()), None)}"
        )


def _one(chance: random.Random, number: int) -> tuple[int, str, dict[str, Any]]:
    event = chance.choice(("Product Viewed", "Product Viewed", "Order Completed"))
    properties: dict[str, Any] = {"item": f"i{chance.randrange(30)}"}
    if event == "Order Completed":
        properties = {"amount": chance.randrange(100, 10_000) / 100}
    return STARTED + chance.randrange(600_000), event, properties


def _send(rig: Rig, user: str, identity: str, occurred: int, skew: int, event: str, properties: dict[str, Any]) -> None:
    """An event by a clock that is `skew` ms wrong, received ten minutes after the start."""
    received = STARTED + 600_000
    body = {"type": "track", "event": event, "userId": user, "properties": properties}
    times = {"timestamp": occurred + skew, "sentAt": received + skew, "receivedAt": received}
    if event == "Probe":
        times = {"timestamp": occurred, "receivedAt": occurred}
    body |= {name: _rfc3339(at) for name, at in times.items()}
    if identity:
        body["messageId"] = f"{identity}-{user}"
    rig.sender.send(json.dumps(body).encode(), user)


def _rfc3339(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="milliseconds")


def _plain(events: list[tuple[int, str, dict[str, Any]]]) -> dict[str, Any]:
    """What every copy has to answer."""
    cents = sum(round(properties["amount"] * 100) for _, event, properties in events if event == "Order Completed")
    viewed = [
        (at, f"m{number}", properties["item"]) for number, (at, event, properties) in enumerate(events) if event[0] == "P"
    ]
    orders = len(events) - len(viewed)
    last = max(viewed)[2]
    spend = cents // 100 if cents % 100 == 0 else cents / 100
    kinds = len({item for _, _, item in viewed})
    counts = {"events": len(events) + 1, "orders": orders, "spend": spend, "views": 0, "kinds": kinds}
    return counts | {"last_item": last}


def row11(stage: Stage) -> Result:
    """half of all events on one key"""
    result = Result(11, "half of all events on one key", stage.seed, control="origins unchecked")
    with stage.rig("hot") as rig:
        with load(rig, rate=800, hot=0.5) as sending:
            rig.up().end(signal.SIGKILL)
            for point in ("ingest.acknowledged", "step3.position", "ingest.produced", "step3.committed") * stage.count(5, 1):
                crash(rig, point, 3)
            rig.start()
            rig.await_load(sending, stage.count(60_000, 5_000))
        finish(rig, result, 120)

    def control(outcome: Result) -> None:
        with stage.rig("hot-control", off=("origins",)) as rig:
            with load(rig, rate=2_000, hot=0.9):
                rig.up().end(signal.SIGKILL)
                for _ in range(2):
                    crash(rig, "ingest.acknowledged", 4)
                rig.start()
                rig.moving()
            finish(rig, outcome, 20)

    result.control_red = red(control)
    return result
