"""Kafka for Faust, in batches: Faust keeps the group, librdkafka carries the data, a message is a whole fetch.

Registered under `faust.transports` as `rtcdp`. Knows Kafka and Faust, nothing of what the records mean.

`App`        a Faust app over this transport: `App.own(topic, owner)` says who takes a topic's partitions over.
`Batch`      the value of a message: a turn of one partition.
`Owner`      the hooks of a takeover.
Beside it: `transactions`, `gapless` (producers), `restore` (a compacted partition in bulk), `settings`, `exits`.
"""

from __future__ import annotations

from typing import ClassVar

from faust.transport.drivers import aiokafka as driver

from rtcdp.transport.app import App
from rtcdp.transport.consumer import Consumer
from rtcdp.transport.owner import Batch, Owner

__all__ = ["App", "Batch", "Consumer", "Owner", "Transport"]


class Transport(driver.Transport):
    """Faust's aiokafka transport with `Consumer` in place of its own."""

    Consumer: ClassVar[type[driver.Consumer]] = Consumer
