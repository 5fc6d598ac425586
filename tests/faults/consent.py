"""Row 22: people say yes and no, by events and by hand, while workers die."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from faults.crashes import crash, kill
from faults.points import INGEST, OPEN
from faults.processes import Failed, wait_for
from faults.rig import HERE, Rig
from faults.stage import Result, Stage, finish, red
from rtcdp import profile as profiles
from rtcdp.control import commands
from rtcdp.position import POSITION_KEY
from rtcdp.records import Consent
from rtcdp.transport.restore import restore

DEFINITIONS = HERE / "definitions-consent"
POINTS = (*(point for point in OPEN if point != "step3.letters"), "step3.committed", "step4.adopted", "step2.folded")
ALWAYS = 2
"""Features that need no consent."""


class Asking:
    """Events of people who change their minds, each of them seldom enough that no two are of one instant."""

    def __init__(self, rig: Rig, people: int) -> None:
        self.sent = 0
        self._rig, self._people = rig, people
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; returns when all of it is acknowledged."""
        self._stop.set()
        self._thread.join(60)
        self._rig.sender.producer.flush(60)

    def _run(self) -> None:
        self._rig.sender.send(self._rig.sender.event("first", "first", "Product Viewed", {}), "first")
        self._rig.sender.producer.flush(
            60
        )  # whatever has to be found out first: what is sent while it lasts would be of one instant
        while not self._stop.wait(0.02):
            for _ in range(6):
                self._event()
            self._rig.sender.producer.poll(0)

    def _event(self) -> None:
        chance = self._rig.random
        user = f"u{self.sent % self._people}"
        self.sent += 1
        event = chance.choices(("Product Viewed", "Product Added", "Order Completed"), (3, 3, 4))[0]
        properties = {"amount": chance.randrange(100, 10_000) / 100} if event == "Order Completed" else {}
        body = json.loads(self._rig.sender.event(user, f"{self.sent:09}", event, properties))
        if chance.random() < 0.3:
            body["context"] = {"consent": {"marketing": chance.random() < 0.6}}
        for _ in range(2 if chance.random() < 0.03 else 1):
            self._rig.sender.send(json.dumps(body).encode(), user)


@contextmanager
def asking(rig: Rig, people: int = 60) -> Iterator[Asking]:
    """Events during the block; all of them are acknowledged when it ends."""
    made = Asking(rig, people)
    try:
        yield made
    finally:
        made.stop()


def _settled(rig: Rig) -> None:
    """Everything that was sent is in the log, and folded."""
    for user in sorted(rig.sender.users):
        rig.sender.send(rig.sender.event(user, "settled", "Probe", {}), user)
    rig.sender.producer.flush(60)
    wait_for(lambda: len(rig.topics.answers(len(rig.sender.users), 30)) == len(rig.sender.users), 90, "every answer")


def _answered_again(rig: Rig) -> None:
    """Everybody answers once more: what they answered before says nothing about what has come since."""
    starts = rig.topics.ends(rig.settings.triggers)
    for user in sorted(rig.sender.users):
        rig.sender.send(rig.sender.event(user, "settled again", "Probe", {}), user)
    rig.sender.producer.flush(60)
    count = len(rig.sender.users)
    if len(rig.topics.answers(count, 240, starts)) < count:
        raise Failed("not all have answered again")


def _revoke(rig: Rig, users: list[str]) -> None:
    for user in users:
        commands.send(rig.settings, f"main/user_id:{user}".encode(), Consent(id=f"no-{user}", answers={"marketing": False}))
        rig.note("revoked", user=user)


def _kept(rig: Rig, users: list[str]) -> dict[str, str]:
    """By user, what the changelog still keeps that needs a consent which is not there."""
    state: dict[bytes, bytes] = {}
    for number in range(rig.settings.partitions):
        restore(rig.settings.kafka(), rig.settings.changelog, number, state)
    state.pop(POSITION_KEY, None)
    found = {}
    for user in users:
        key = f"main/user_id:{user}"
        profile = profiles.decode(key, state[key.encode()])
        if len(profile.slots) > ALWAYS or profile.waiting or profile.segments:
            found[user] = f"{len(profile.slots)} slots, {len(profile.waiting)} waiting, segments {sorted(profile.segments)}"
    return found


def row22(stage: Stage) -> Result:
    """kill -9 while people say yes and no"""
    result = Result(22, "kill -9 while people take their consent back", stage.seed, control="transactions off")
    with stage.rig("consent", definitions=str(DEFINITIONS), partitions=4) as rig:
        rig.oracle = "consent_oracle"
        points = [*POINTS, *INGEST[:3]] * stage.count(4, 1)
        rig.random.shuffle(points)
        with asking(rig):
            rig.up().end(signal.SIGKILL)
            for point in points:
                crash(rig, point, rig.random.randint(1, 4))
            for _ in range(stage.count(15, 1)):
                kill(rig, 1.0, 3.0)
        rig.start()
        _settled(rig)
        rig.newest("one").end(signal.SIGKILL)
        revoked, others = sorted(rig.sender.users)[::2], sorted(rig.sender.users)[1::2]
        for number, point in enumerate(("ingest.acknowledged", "step3.state", "step3.changes", "step3.committed")):
            _revoke(rig, revoked[number::4])
            crash(rig, point, 1)
        rig.start()
        _answered_again(rig)
        finish(rig, result)
        kept = _kept(rig, revoked)
        if kept:
            result.fail(f"what needs a consent outlives it: {dict(list(kept.items())[:3])}")
        if not _kept(rig, others):
            result.fail("nobody had anything that needs a consent: nothing was shown")
    result.control_red = red(lambda outcome: consent_control(stage, outcome))
    return result


def consent_control(stage: Stage, outcome: Result) -> None:
    with stage.rig("consent-control", definitions=str(DEFINITIONS), off=("transaction",)) as rig:
        rig.oracle = "consent_oracle"
        with asking(rig):
            crash(rig, "step3.triggers", 2)
            rig.start()
            rig.moving()
        finish(rig, outcome, 20)
