"""What is sent while things break: events, repeats of them, and poison."""

from __future__ import annotations

import json
import random
import threading
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

if TYPE_CHECKING:
    from faults.rig import Rig


AT_ONE_INSTANT = 128
"""Views of one user that may wait for the broker, which gives all of them its time of that moment: a window keeps the newest
256 entries exactly, and the rest in buckets, which an oracle with plain loops does not round to."""
VIEWS = 0.6


class Load:
    """Sends events until told to stop: `hot` of them for one user, `poison` of them useless, 3 % sent twice.

    While the broker is away, it goes on until so many wait as a window can hold exactly.
    """

    def __init__(self, rig: Rig, rate: float, users: int, hot: float = 0.0, poison: float = 0.0, first: int = 0) -> None:
        self._rig = rig
        self._rate, self._users, self._hot, self._poison = rate, users, hot, poison
        self._waiting = AT_ONE_INSTANT / VIEWS / max(hot, 1 / users)
        self._random = random.Random(rig.seed)
        self._stop = threading.Event()
        self.sent = first
        self.acknowledged = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; returns when all of it is acknowledged."""
        self._stop.set()
        self._thread.join(120)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for _ in range(self._chance(self._rate * 0.02)):
                if len(self._rig.sender.producer) < self._waiting:
                    self._event()
            self._rig.sender.producer.poll(0)

    def _chance(self, expected: float) -> int:
        whole = int(expected)
        return whole + (self._random.random() < expected - whole)

    def _event(self) -> None:
        chance = self._random
        self.sent += 1
        if chance.random() < self._poison:
            self._rig.sender.send(poison(chance, self.sent), f"p{self.sent}", headers=[("dead", b"1")])
            return
        user = "hot" if chance.random() < self._hot else f"u{chance.randrange(self._users)}"
        event = chance.choices(("Product Viewed", "Product Added", "Order Completed"), (6, 2, 2))[0]
        properties: dict[str, Any] = {"item": f"i{chance.randrange(20)}"}
        if event == "Order Completed":
            properties = {"amount": chance.randrange(100, 10_000) / 100}
        body = self._rig.sender.event(user, f"{self.sent}", event, properties)
        for _ in range(2 if chance.random() < 0.03 else 1):
            self._rig.sender.send(body, user, self._acknowledged)

    def _acknowledged(self, error: Any, _: Message) -> None:
        self.acknowledged += error is None


def poison(chance: random.Random, number: int) -> bytes | None:
    """A record that nothing can be made of, of one of the kinds."""
    kinds: list[bytes | None] = [
        b"{not json",
        b"",
        None,
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe\x00rubbish",
        json.dumps({"type": "track", "event": "Product Viewed", "messageId": f"p{number}"}).encode(),
        json.dumps({"type": "track", "userId": f"p{number}", "messageId": f"p{number}"}).encode(),
        json.dumps({"type": "nonsense", "event": "x", "userId": f"p{number}", "messageId": f"p{number}"}).encode(),
        json.dumps({"type": "track", "event": {"a": 1}, "userId": f"p{number}", "messageId": f"p{number}"}).encode(),
        b"[" * 100_000,
        json.dumps({"type": "track", "event": "x", "userId": f"p{number}", "properties": {"a": "x" * 600_000}}).encode(),
    ]
    return kinds[number % len(kinds)] if chance.random() < 0.9 else chance.randbytes(200)
