"""The ceilings, each a process: a plain librdkafka loop around the hand-written job.

    python -m benchmarks.ceiling state   outputs and the changelog by an idempotent producer; offsets committed every 2 s
    python -m benchmarks.ceiling txn     outputs, changelog and position in one transaction per fetch and partition

Both read BENCH_BOOTSTRAP, BENCH_IN, BENCH_OUT, BENCH_CHANGELOG, BENCH_RUN, BENCH_LINGER_MS from the environment.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import orjson
from confluent_kafka import Consumer, Message, Producer

from benchmarks import job

FETCH = 2_000
COMMIT_S = 2.0
POSITION_KEY = b"__applied"


class Ceiling:
    """What both have in common: the consumer, the states, and folding a fetch."""

    def __init__(self) -> None:
        environment = os.environ
        self.bootstrap = environment["BENCH_BOOTSTRAP"]
        self.out, self.changelog, self.run_name = (environment[f"BENCH_{name}"] for name in ("OUT", "CHANGELOG", "RUN"))
        self.linger = float(environment["BENCH_LINGER_MS"])
        self.states: dict[bytes, dict[str, Any]] = {}
        self.consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"g-{self.run_name}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
            }
        )
        self.consumer.subscribe([environment["BENCH_IN"]])

    def producer(self, **settings: Any) -> Producer:
        """A producer with the settings that every one of them has."""
        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": self.linger,
                "queue.buffering.max.messages": 500_000,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                **settings,
            }
        )

    def fetch(self) -> list[Message]:
        """What has arrived, without waiting for more."""
        first = self.consumer.poll(0.2)
        return [] if first is None else [first, *self.consumer.consume(FETCH, 0)]


def state() -> None:
    """No transactions: at least once."""
    ceiling = Ceiling()
    producer = ceiling.producer(**{"enable.idempotence": True})
    states, produce, process, loads, dumps = ceiling.states, producer.produce, job.process, orjson.loads, orjson.dumps
    committed = time.monotonic()
    while True:
        touched: dict[bytes, tuple[dict[str, Any], int]] = {}
        for message in ceiling.fetch():
            key = message.key()
            user = states.get(key)
            if user is None:
                user = states[key] = job.new()
            for change in process(user, loads(message.value())):
                produce(ceiling.out, key=key, value=dumps(change))
            touched[key] = (user, message.partition())
        for key, (user, partition) in touched.items():
            produce(ceiling.changelog, key=key, value=dumps(user), partition=partition)
        producer.poll(0)
        if states and time.monotonic() - committed > COMMIT_S:
            producer.flush()
            ceiling.consumer.commit(asynchronous=True)
            committed = time.monotonic()


def txn() -> None:
    """One transactional producer per partition, one transaction per fetch."""
    ceiling = Ceiling()
    producers: dict[int, Producer] = {}
    for partition in range(4):
        producers[partition] = ceiling.producer(**{"transactional.id": f"{ceiling.run_name}-{partition}"})
        producers[partition].init_transactions()
    states, process, loads, dumps = ceiling.states, job.process, orjson.loads, orjson.dumps
    while True:
        touched: dict[bytes, tuple[dict[str, Any], int]] = {}
        applied: dict[int, int] = {}
        for message in ceiling.fetch():
            key, partition = message.key(), message.partition()
            producer = producers[partition]
            if partition not in applied:
                producer.begin_transaction()
            applied[partition] = message.offset()
            user = states.get(key)
            if user is None:
                user = states[key] = job.new()
            for change in process(user, loads(message.value())):
                producer.produce(ceiling.out, key=key, value=dumps(change))
            touched[key] = (user, partition)
        for key, (user, partition) in touched.items():
            producers[partition].produce(ceiling.changelog, key=key, value=dumps(user), partition=partition)
        for partition, offset in applied.items():
            producers[partition].produce(ceiling.changelog, key=POSITION_KEY, value=b"%d" % offset, partition=partition)
            producers[partition].poll(0)
        for partition in applied:
            producers[partition].commit_transaction()


if __name__ == "__main__":
    {"state": state, "txn": txn}[sys.argv[1]]()
