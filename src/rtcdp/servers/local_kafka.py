"""Apache Kafka as a child process."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rtcdp.errors import ClusterError
from rtcdp.servers.broker import Broker, await_broker
from rtcdp.servers.kafka_jars import find_java, kafka_libs
from rtcdp.servers.local_process import LocalProcess, free_port, telling_line

START_SECONDS = 60.0
SINGLE_NODE = {
    "auto.create.topics.enable": "false",  # a topic with a wrong partition count would be worse than none
    # The internal topics cannot have their usual three replicas, and a few partitions start faster than fifty.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""Settings of a Kafka of one node."""
_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # options of a Java that is not worth optimising for


class LocalKafka(Broker):
    """Apache Kafka (KRaft, one node) as a child process on free ports of 127.0.0.1.

    data_dir: where its data lies; kept by `stop`. None: a temporary directory, removed at the end.
    port:     of the broker; 0 chooses one.
    heap_mb:  the JVM's heap.
    settings: added to, or replacing, the broker's server.properties.
    brief:    it will not run for long: Java compiles less, which starts in half the time and serves more slowly.

    It never outlives this process. `stop(kill=True)` and `start()` again are for fault tests: data, port and address stay.
    After a kill the controller lets the broker in again only once `broker.session.timeout.ms` (9 s) has passed.
    """

    kind = "local"

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int = 0,
        *,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        brief: bool = False,
    ) -> None:
        super().__init__()
        self._own = data_dir is None
        self._dir = data_dir
        self._ports = (port, 0)
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._java_options = _BRIEF if brief else ("-XX:+UseG1GC",)
        self._process: LocalProcess | None = None

    @property
    def pid(self) -> int:
        """Process id of the running broker; 0 when it does not run."""
        return self._process.pid if self._process else 0

    @property
    def directory(self) -> Path:
        """Where its configuration, log (`server.log`) and data lie."""
        if self._dir is None:
            raise ClusterError("The local Kafka has not been started.")
        return self._dir

    def start(self) -> None:
        """Start it (about 5 s; the first time on a machine Maven fetches the jars). Raises ClusterError."""
        if self._process:
            return
        java, libs = find_java(), kafka_libs()
        try:
            if self._dir is None:
                self._dir = Path(tempfile.mkdtemp(prefix="rtcdp-kafka-"))
            self._dir.mkdir(parents=True, exist_ok=True)
            self._ports = (self._ports[0] or free_port(), self._ports[1] or free_port())
            self.bootstrap = f"127.0.0.1:{self._ports[0]}"
            properties = self._configure()
        except OSError as error:
            raise ClusterError(
                f"The local Kafka cannot write to {self._dir or tempfile.gettempdir()}: {error.strerror}."
            ) from None
        memory = (f"-Xmx{self._heap_mb}m", f"-Xms{min(256, self._heap_mb)}m")
        common = (f"-Dlog4j2.configurationFile={self._dir / 'log4j2.properties'}", "-cp", str(libs / "*"))
        if not (self._dir / "data").exists():
            self._format([java, *_BRIEF, *common, "kafka.tools.StorageTool"], properties)
        command = [java, *memory, *self._java_options, *common, "kafka.Kafka", str(properties)]
        self._process = LocalProcess(command, self._dir / "server.log", self._dir if self._own else None)
        try:
            await_broker(self.bootstrap, START_SECONDS, self._process)
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Stop the broker process; with `kill` by SIGKILL, keeping everything for a `start` to come."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(kill=kill)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it and remove a temporary directory."""
        self.stop(kill=self._own)  # nothing of a temporary broker is worth an orderly end
        if self._own and self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def _configure(self) -> Path:
        port, controller = self._ports
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"localhost:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.directory / "data"),
            **SINGLE_NODE,
            **self._settings,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.directory / "log4j2.properties").write_text(
            "status=warn\nrootLogger.level=warn\nrootLogger.appenderRef.c.ref=C\nappender.c.type=Console\n"
            "appender.c.name=C\nappender.c.layout.type=PatternLayout\nappender.c.layout.pattern=%d %p %m (%c)%n\n"
        )
        return path

    @staticmethod
    def _format(tool: list[str], properties: Path) -> None:
        cluster = cluster_id(uuid.uuid4().bytes)
        done = subprocess.run(
            [*tool, "format", "-t", cluster, "-c", str(properties), "--standalone"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"Kafka's storage could not be formatted: {telling_line(done.stdout + done.stderr)}")


def cluster_id(chance: bytes) -> str:
    """A cluster id as Kafka writes one: 16 bytes in URL-safe base64. One that begins with `-` would be read as an option."""
    text = urlsafe_b64encode(chance).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text
