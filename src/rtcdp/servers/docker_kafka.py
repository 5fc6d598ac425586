"""Apache Kafka in a container."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from rtcdp.errors import ClusterError
from rtcdp.servers.broker import Broker, await_broker
from rtcdp.servers.kafka_jars import kafka_version
from rtcdp.servers.local_kafka import SINGLE_NODE, START_SECONDS
from rtcdp.servers.local_process import free_port


class DockerKafka(Broker):
    """The same Kafka from its official image, through testcontainers (a development dependency)."""

    kind = "docker"

    def __init__(self) -> None:
        super().__init__()
        self._container: Any = None

    def start(self) -> None:
        """Start the container. Raises ClusterError where testcontainers or Docker is missing."""
        try:
            from testcontainers.core.container import DockerContainer
        except ImportError as error:
            raise ClusterError("Kafka in Docker needs the package testcontainers.") from error
        port = free_port()
        settings = SINGLE_NODE | {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
        }
        try:
            container = DockerContainer(f"apache/kafka:{kafka_version()}").with_bind_ports(9092, port)
            for name, value in settings.items():
                container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
            container.start()
        except Exception as error:  # docker-py, requests and testcontainers share no base class
            raise ClusterError(f"Docker did not start a Kafka: {error}") from error
        self._container = container
        self.bootstrap = f"127.0.0.1:{port}"
        await_broker(self.bootstrap, START_SECONDS)

    def stop(self) -> None:
        """Remove the container."""
        container, self._container = self._container, None
        if container is not None:
            container.stop()


def docker_answers() -> bool:
    """Whether a Docker daemon answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, check=False, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False
