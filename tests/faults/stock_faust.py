"""Row 1 with Faust as it ships: a table of counts and an output per event, killed once by kill -9 and started again.

`python -m faults.stock_faust BOOTSTRAP APP`: the worker. Only its session is shorter than by default, so that the next one
need not wait for a minute.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from faults.processes import wait_for
from faults.stage import Result, Stage

EVENTS = 20_000
KILL_AT = 6_000
PARTITIONS = 4
QUIET_S = 6.0


def main(bootstrap: str, name: str, folder: str) -> None:
    """Be the worker."""
    import faust

    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        datadir=folder,
        web_enabled=False,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
    )
    events = app.topic(f"{name}-in", key_type=str, value_type=str)
    outputs = app.topic(f"{name}-out", key_type=str, value_type=str)
    counts = app.Table("counts", default=int, partitions=PARTITIONS)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for user, _ in stream.items():  # noqa: PERF102 # a stream is no dict
            counts[user] += 1
            await outputs.send(key=user, value=str(counts[user]))

    faust.Worker(app, loglevel="INFO", logfile=None, redirect_stdouts=False).execute_from_commandline()


class Stock:
    """Topics of one run, and its worker."""

    def __init__(self, stage: Stage) -> None:
        self.name = f"stock-{uuid.uuid4().hex[:8]}"
        self._bootstrap, self._folder = stage.bootstrap, stage.folder / self.name
        self._folder.mkdir()
        self._admin = AdminClient({"bootstrap.servers": stage.bootstrap, "log_level": 0})
        for future in self._admin.create_topics(
            [NewTopic(f"{self.name}-{role}", PARTITIONS, 1) for role in ("in", "out")]
        ).values():
            future.result(30)
        producer = Producer({"bootstrap.servers": stage.bootstrap, "enable.idempotence": True})
        for number in range(EVENTS):
            producer.produce(f"{self.name}-in", b'"x"', f'"u{number % 500}"'.encode())
            producer.poll(0)
        producer.flush(60)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = Consumer({"bootstrap.servers": stage.bootstrap, "group.id": self.name, "enable.auto.commit": False})
        self._reader.assign([TopicPartition(f"{self.name}-out", number, 0) for number in range(PARTITIONS)])
        self.outputs = 0
        self.highest: dict[bytes, int] = {}

    def start(self) -> None:
        """Start the worker."""
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "faults.stock_faust", self._bootstrap, self.name, str(self._folder)]
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)

    def kill(self) -> None:
        """End it by kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    def read(self) -> int:
        """Take what has come; how many outputs there are."""
        for message in self._reader.consume(10_000, 0.2):
            if message.error() is None:
                self.outputs += 1
                key, count = message.key() or b"", int(json.loads(message.value() or b"0"))
                self.highest[key] = max(count, self.highest.get(key, 0))
        return self.outputs

    def rest(self) -> Callable[[], bool]:
        """Whether all was counted and nothing more has come for a while."""
        last = [0, time.monotonic()]

        def look() -> bool:
            if self.read() != last[0]:
                last[:] = [self.outputs, time.monotonic()]
            return self.outputs >= EVENTS and time.monotonic() - last[1] > QUIET_S

        return look

    def close(self) -> None:
        """End it all."""
        self.kill()
        self._reader.close()
        self._admin.delete_topics([name for name in self._admin.list_topics(timeout=10).topics if name.startswith(self.name)])


def stock_control(stage: Stage, outcome: Result) -> None:
    """20,000 events, one kill -9: counted is what was sent, or more."""
    stock = Stock(stage)
    try:
        stock.start()
        wait_for(lambda: stock.read() >= KILL_AT, 120, f"{KILL_AT} outputs of stock Faust")
        stock.kill()
        stock.start()
        wait_for(stock.rest(), 240, "the rest of the outputs of stock Faust")
    finally:
        stock.close()
    counted = sum(stock.highest.values())
    outcome.note = f"stock Faust: after one kill -9 {EVENTS:,} events had become {counted:,}, in {stock.outputs:,} outputs"
    if (counted, stock.outputs) != (EVENTS, EVENTS):
        outcome.fail(outcome.note)


if __name__ == "__main__":
    arguments, sys.argv = sys.argv[1:], [sys.argv[0], "worker"]
    main(*arguments)
