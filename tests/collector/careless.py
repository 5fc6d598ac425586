"""`rtcdp`, with a collector that answers without waiting for Kafka: the control of `test_kill`."""

from __future__ import annotations

from collections.abc import Sequence

from rtcdp.cli import main
from rtcdp.serving.collector import sender
from rtcdp.serving.collector.sender import Headers, Record, Sender


async def send_and_hope(self: Sender, records: Sequence[Record], headers: Headers) -> None:
    """Hands the records to librdkafka and returns."""
    for record in records:
        self._producer.produce(record.topic, record.value, record.key)


Sender.send = send_and_hope
sender.LINGER_MS = 2_000  # what gathers in the process is lost with it

if __name__ == "__main__":
    main()
