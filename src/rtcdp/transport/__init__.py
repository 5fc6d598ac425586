"""Kafka for Faust, in batches: Faust keeps the group, librdkafka carries the data, a message is a whole fetch.

Registered under `faust.transports` as `rtcdp`. Knows Kafka and Faust, nothing of what the records mean.

`app`          a Faust app over this transport: `App.own(topic, owner)` says who takes a topic's partitions over.
`owner`        `Batch`, the value of a message: a turn of one partition; `Owner`, the hooks of a takeover.
Beside them: `transactions`, `gapless` (producers), `restore` (a compacted partition in bulk), `settings`, `exits`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`Transport`, which Faust asks for: imported then, so that processes without Faust start without it."""
    if name != "Transport":
        raise AttributeError(name)
    from rtcdp.transport.driver import Transport  # noqa: PLC0415 - it brings Faust

    return Transport
