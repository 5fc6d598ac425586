"""What a producer sends into a deployment, and what it should not."""

from __future__ import annotations

import json
import random
import time
from base64 import b64encode
from typing import Any

from confluent_kafka import Producer

from rtcdp.settings.config import Settings


class Sender:
    """Sends raw events to a source, and damage to the log.

    source: the topic. users: those who will be asked for their state at the end.
    """

    def __init__(self, bootstrap: str, source: str, settings: Settings, seed: int) -> None:
        self._bootstrap, self._source, self._settings = bootstrap, source, settings
        self._random = random.Random(seed)
        self.users: set[str] = set()
        self.producer = self._producer()

    def _producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 300_000,
                "message.max.bytes": 10_000_000,
                "partitioner": "murmur2_random",
                "linger.ms": 2,
                "log_level": 0,
            }
        )

    def event(self, user: str, identity: str, event: str, properties: dict[str, Any]) -> bytes:
        """A raw event; the user becomes one of those asked for their state at the end."""
        self.users.add(user)
        body = {"type": "track", "event": event, "userId": user, "messageId": f"{identity}-{user}", "properties": properties}
        return json.dumps(body).encode()

    def send(self, value: bytes | None, key: str, delivered: Any = None, headers: Any = None) -> None:
        """A record for the source."""
        while True:
            try:
                self.producer.produce(self._source, value, key, on_delivery=delivered, headers=headers or [])
            except BufferError:
                self.producer.poll(0.1)
            else:
                return

    def damage(self, records: int = 1) -> None:
        """Records in the log itself that nothing can be made of, half a second apart where they are several."""
        topic = self._settings.profile_events
        for number in range(records):
            partition = self._random.randrange(self._settings.partitions)
            value = self._random.choice((b"{not json", b"", b'{"kind": "nonsense"}', b"\xff"))
            self.producer.produce(topic, value, b"main/user_id:nobody", partition, headers=[("dead", b"1")])
            time.sleep(0.5 if number < records - 1 else 0.0)

    def giant(self, number: int) -> None:
        """A record beyond what a raw event may be, or what Kafka takes by default."""
        size = self._random.choice((600_000, 1_500_000, 5_000_000))
        body = {"type": "track", "event": "Product Viewed", "userId": "giant", "messageId": f"giant{number}"}
        self.send(json.dumps(body | {"properties": {"item": "x" * size}}).encode(), "giant", headers=[("dead", b"1")])

    def growing(self, number: int) -> None:
        """An event that makes its profile nearly half a megabyte larger."""
        self.users.add("growing")
        noise = [b64encode(self._random.randbytes(3_000)).decode() for _ in range(120)]  # nothing that can be compressed
        traits = {f"t{number}-{place}": noise[place * 15 : place * 15 + 15] for place in range(8)}
        body = {"type": "identify", "userId": "growing", "messageId": f"grow{number}", "traits": traits}
        self.send(json.dumps(body).encode(), "growing", headers=[("either", b"1")])
