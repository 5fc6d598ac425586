"""A Kafka to talk to, and waiting until it answers."""

from __future__ import annotations

import time
from types import TracebackType
from typing import ClassVar, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import LocalProcess


class Broker:
    """A Kafka to talk to. Entering starts it, leaving stops it.

    bootstrap: `host:port` list once started.
    kind:      `given`, `local`, `docker` or `embedded`.
    real:      whether what it shows about durability, fencing and speed is evidence.
    """

    kind: ClassVar[str] = "given"
    real: ClassVar[bool] = True

    def __init__(self, bootstrap: str = "") -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        """Make it ready to serve; returns when it answers. Raises ClusterError."""

    def stop(self) -> None:
        """Stop what `start` began; may be called twice."""

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


class GivenKafka(Broker):
    """A cluster that somebody else runs."""

    def start(self) -> None:
        """Check that it answers. Raises ClusterError."""
        await_broker(self.bootstrap, seconds=10.0)


def await_broker(bootstrap: str, seconds: float, process: LocalProcess | None = None) -> None:
    """Return once the cluster answers a metadata request.

    bootstrap: its address; seconds: patience; process: of a broker being started, to tell why it ended.
    Raises ClusterError.
    """
    quick = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **quick})
    deadline = time.monotonic() + seconds
    while True:
        try:
            if admin.list_topics(timeout=0.5).brokers:
                return
        except KafkaException:
            pass  # not up yet
        if process is not None and process.code is not None:
            raise ClusterError(f"Kafka ended with code {process.code} while starting: {process.last_words()}")
        if time.monotonic() > deadline:
            raise ClusterError(f"No Kafka answers at {bootstrap} within {seconds:.0f} s.")
