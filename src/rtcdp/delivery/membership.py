"""Which partitions this process delivers for: membership of a consumer group, from a thread of its own.

The group is joined for the partitions of `triggers` alone; a partition's owner has it in every input, since they are cut
alike. Nothing is fetched here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rtcdp.errors import Stalled
from rtcdp.transport.failures import cause

POLL_S = 0.1

Change = Callable[[set[int]], None]


class Membership:
    """Member of the group `group` for one topic.

    changed: called from the thread with all partitions that are ours now. When some were taken away, it must return
             only once nothing more is done for them.
    fatal:   called from the thread when membership cannot go on.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        group: str,
        instance: str,
        changed: Change,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._changed = changed
        self._fatal = fatal
        self._owned: set[int] = set()
        self._stopping = threading.Event()
        options = {
            **kafka,
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",  # what stays is not interrupted
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 3_000,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "queued.max.messages.kbytes": 1_024,
        }
        if instance:
            options["group.instance.id"] = instance
        self._consumer = Consumer(options)
        self._topic = topic
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    def start(self) -> None:
        """Join."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Leave (a static member keeps its place for a session), at most `timeout` seconds."""
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
            while not self._stopping.is_set():
                self._consumer.poll(POLL_S)
            self._consumer.close()
        except KafkaException as error:
            self._fatal(Stalled(f"membership of the group cannot go on: {cause(error).str()}"))
        except Exception as error:  # noqa: BLE001 - without this thread the process is a zombie
            self._fatal(error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._owned |= {partition.partition for partition in partitions}
        self._changed(set(self._owned))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._stopping.is_set():
            return
        self._owned -= {partition.partition for partition in partitions}
        self._changed(set(self._owned))
