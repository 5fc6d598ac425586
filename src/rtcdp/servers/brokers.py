"""Where a Kafka comes from: a given address, Apache Kafka as a local process, a container, or the embedded mock.

Each is a context manager with a `bootstrap` string. `find()` chooses the first real one that this machine can run.
"""

from __future__ import annotations

from pathlib import Path

from rtcdp.errors import ClusterError
from rtcdp.servers.broker import Broker, GivenKafka
from rtcdp.servers.docker_kafka import DockerKafka, docker_answers
from rtcdp.servers.kafka_jars import find_java, kafka_libs
from rtcdp.servers.local_kafka import LocalKafka


def find(bootstrap: str = "", data_dir: Path | None = None) -> Broker:
    """A real Kafka, not yet started: the given one, else local, else in Docker.

    data_dir: where a local one keeps its data; None: a temporary directory, removed at the end.

    Raises ClusterError with one sentence that says what is missing, where this machine can run none.
    """
    if bootstrap:
        return GivenKafka(bootstrap)
    try:
        find_java()
        kafka_libs()
    except ClusterError as missing:
        if docker_answers():
            return DockerKafka()
        raise ClusterError(f"No Kafka can be started here: {missing} Docker does not answer either.") from None
    return LocalKafka(data_dir)
