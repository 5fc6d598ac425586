"""Row 21: people under several names become one, and two again, while workers die."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from faults.crashes import crash, kill
from faults.points import IDENTITY, OPEN
from faults.processes import Failed
from faults.rig import Rig
from faults.stage import ADDING, Result, Stage, red
from rtcdp.privacy import splitting

POINTS = (
    *(point for point in OPEN if point != "step3.letters"),
    "step3.committed",
    "step3.link",
    "step3.merge",
    "step3.forward",
)
"""Before, amid and behind the transaction in which a state is handed over, an alias made, an event passed on."""
ASK_S = 3.0
ALL = 1_000_000
"""Answers to wait for: as many as come in that time."""


class People:
    """People who do things under three names, in any order, until told to stop. orders: by user, how many they have placed."""

    def __init__(self, rig: Rig, people: int, rate: float) -> None:
        self.orders: dict[str, int] = {}
        self.visits: dict[str, int] = {}
        self.sent = 0
        self._rig, self._people, self._rate = rig, people, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say once more of everybody who they are; returns when all of it is acknowledged."""
        self._stop.set()
        self._thread.join(60)
        for number in range(self._people):
            for names in ({"anonymousId": f"a{number}"}, {"traits": {"email": f"e{number}@example.com"}}):
                self._send(number, "identify", {"userId": f"u{number}", **names})
        self._rig.sender.producer.flush(60)

    def _run(self) -> None:
        chance = self._rig.random
        while not self._stop.wait(1 / self._rate):
            number = chance.randrange(self._people)
            visitor = {"anonymousId": f"a{number}"}
            address = {"context": {"traits": {"email": f"e{number}@example.com"}}}
            what = chance.random()
            if what < 0.1:
                names = chance.choice((visitor, {"traits": {"email": f"e{number}@example.com"}}))
                self._send(number, "identify", {"userId": f"u{number}", **names})
            elif what < 0.15:
                self._send(number, "identify", {**visitor, "traits": {"email": f"e{number}@example.com"}})
            else:
                names = chance.choice((visitor, address, {"userId": f"u{number}"}))
                self.orders[f"u{number}"] = self.orders.get(f"u{number}", 0) + 1
                if names is visitor:
                    self.visits[f"u{number}"] = self.visits.get(f"u{number}", 0) + 1
                self._send(number, "track", {"event": "Order Completed", "properties": {"amount": 1}, **names})
            self._rig.sender.producer.poll(0)

    def _send(self, number: int, kind: str, fields: dict[str, Any]) -> None:
        self.sent += 1
        body = {"type": kind, "messageId": f"m{self.sent}", **fields}
        self._rig.sender.send(json.dumps(body).encode(), f"{number}")


@contextmanager
def people(rig: Rig, count: int, rate: float = 150) -> Iterator[People]:
    """Events of people during the block; all of them are acknowledged, and everybody is linked, when it ends."""
    made = People(rig, count, rate)
    try:
        yield made
    finally:
        made.stop()


def settled(rig: Rig, result: Result, wanted: dict[str, int], seconds: float) -> None:
    """Ask everybody until all have counted what they should, or the time is up; what differs then is counted in.

    wanted: profile key -> orders.
    """
    names = {"user_id": "userId", "anonymous_id": "anonymousId"}
    deadline = time.monotonic() + seconds
    for asking in itertools.count():
        for key in wanted:
            space, _, value = key.partition("/")[2].partition(":")
            body = {"type": "track", "event": "Probe", names[space]: value, "messageId": f"probe{asking}-{key}"}
            rig.sender.send(json.dumps(body).encode(), key)
        rig.sender.producer.flush(30)
        time.sleep(ASK_S / 3)
        found = rig.topics.answers(ALL, ASK_S)
        wrong = {key: (found.get(key, {}).get("orders", 0), many) for key, many in wanted.items()}
        wrong = {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}
        if not wrong or time.monotonic() > deadline:
            break
    with ADDING:
        result.lost += sum(max(0, many - had) for had, many in wrong.values())
        result.extra += sum(max(0, had - many) for had, many in wrong.values())
    if wrong:
        result.fail(f"{len(wrong)} people, orders counted and placed: {dict(list(wrong.items())[:3])}")


def count_in(rig: Rig, result: Result, events: int) -> None:
    """The numbers of a run."""
    with ADDING:
        result.events += events
        result.add_faults(rig)
    if letters := rig.topics.end_of(rig.settings.events_dlq):
        result.fail(f"{letters} dead letters")


def apart(rig: Rig, result: Result, found: People, pairs: int) -> None:
    """Split visitors off, while the worker dies between the person's part and the visitor's."""
    wanted: dict[str, int] = {}
    chosen = sorted(user for user in found.visits)[:pairs]
    with ThreadPoolExecutor(1) as pool:
        for user in chosen:
            visitor = f"anonymous_id:a{user[1:]}"
            asked = pool.submit(splitting.split, rig.settings, f"user_id:{user}", visitor, by="row 21")
            crash(rig, "step3.part", 1)
            worker = rig.start()
            if asked.result(120) is None:
                raise Failed(f"{visitor} was not linked to {user}")
            worker.end(signal.SIGKILL)
            rig.fault("kill")
            wanted[f"main/{visitor}"] = found.visits[user]
            wanted[f"main/user_id:{user}"] = found.orders[user] - found.visits[user]
    rig.start()
    settled(rig, result, wanted, 60)


def row21(stage: Stage) -> Result:
    """kill -9 while people under several names become one, and two again"""
    result = Result(21, "kill -9 while people under several names become one, and two again", stage.seed)
    result.control = "transactions off"
    with stage.rig("identities", partitions=4) as rig:
        points = [*POINTS] * stage.count(3, 1)
        rig.random.shuffle(points)
        with people(rig, 40) as found:
            rig.start().end(signal.SIGKILL)
            for point in points:
                crash(rig, point, rig.random.randint(1, 4))
            for _ in range(stage.count(10, 1)):
                kill(rig, 1.0, 3.0)
        for point in IDENTITY[:2]:
            crash(rig, point, 1)
        rig.start()
        settled(rig, result, {f"main/user_id:{user}": many for user, many in found.orders.items()}, 90)
        rig.workers[-1].end(signal.SIGKILL)
        apart(rig, result, found, stage.count(4, 1))
        count_in(rig, result, found.sent)
    result.control_red = red(lambda outcome: identities_control(stage, outcome))
    return result


def identities_control(stage: Stage, outcome: Result) -> None:
    """Handing over and becoming an alias are no transaction: a state comes twice."""
    with stage.rig("identities-control", off=("transaction",), partitions=1) as rig:
        with people(rig, 300, 300) as found:
            worker = rig.up()
            worker.end(signal.SIGKILL)
        crash(rig, "step3.merge", 1)
        rig.start()
        settled(rig, outcome, {f"main/user_id:{user}": many for user, many in found.orders.items()}, 20)
