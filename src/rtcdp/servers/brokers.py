"""Where a Kafka comes from: a given address, Apache Kafka as a local process, a container, or the embedded mock.

Each is a context manager with a `bootstrap` string. `find()` chooses the first real one that this machine can run.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import LocalProcess, free_port, telling_line

JAVA_NEEDED = 17
START_SECONDS = 60.0

EMBEDDED_LIMITS = (
    "Embedded broker (librdkafka's mock cluster): in memory only, about 5 MiB or 100,000 batches per partition, no compaction, "
    "no auth, readers see aborted records and nobody is fenced. For demos and quick tests; its figures are no evidence."
)


_SINGLE_NODE = {
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

_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # options of a Java that is not worth optimising for


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
            **_SINGLE_NODE,
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
        settings = _SINGLE_NODE | {
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


class EmbeddedKafka(Broker):
    """librdkafka's mock cluster, in this process: the real protocol over TCP, with the limits of EMBEDDED_LIMITS.

    brokers: how many brokers it pretends to have.
    quiet:   do not print the limits.
    """

    kind = "embedded"
    real = False
    _PRODUCER = 0

    def __init__(self, brokers: int = 1, *, quiet: bool = False) -> None:
        super().__init__()
        self._brokers = brokers
        self._quiet = quiet
        self._client: int | None = None
        self._cluster: int | None = None

    def start(self) -> None:
        """Start it; prints its limits to stderr."""
        if self._client is not None:
            return
        library = librdkafka()
        reason = ctypes.create_string_buffer(512)
        conf = library.rd_kafka_conf_new()
        for name, value in (("test.mock.num.brokers", str(self._brokers)), ("log_level", "0")):
            library.rd_kafka_conf_set(conf, name.encode(), value.encode(), reason, len(reason))
        self._client = library.rd_kafka_new(self._PRODUCER, conf, reason, len(reason))
        if not self._client:
            raise ClusterError(f"The embedded broker did not start: {reason.value.decode()}")
        self._cluster = library.rd_kafka_handle_mock_cluster(self._client)
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        if not self._quiet:
            print(EMBEDDED_LIMITS, file=sys.stderr)

    def stop(self) -> None:
        """Stop it; all records are gone."""
        client, self._client = self._client, None
        if client is not None:
            librdkafka().rd_kafka_destroy(client)
            self._cluster = None

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic with exactly that many partitions. Raises ClusterError."""
        self._call("rd_kafka_mock_topic_create", name.encode(), partitions, min(self._brokers, 1))

    def broker_down(self, broker: int = 1) -> None:
        """Take a broker (counted from 1) off the network."""
        self._call("rd_kafka_mock_broker_set_down", broker)

    def broker_up(self, broker: int = 1) -> None:
        """Bring a broker back."""
        self._call("rd_kafka_mock_broker_set_up", broker)

    def _call(self, function: str, *args: object) -> None:
        if self._cluster is None:
            raise ClusterError("The embedded broker has not been started.")
        code = getattr(librdkafka(), function)(self._cluster, *args)
        if code:
            raise ClusterError(f"The embedded broker refused {function.removeprefix('rd_kafka_mock_')}: error {code}.")


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


def find_java() -> str:
    """Path of a Java that can run Kafka: JAVA_HOME's, else the one on the path. Raises ClusterError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise ClusterError(f"Java is missing: Apache Kafka needs Java {JAVA_NEEDED} or later on the path.")
    version = java_version(java)
    if version < JAVA_NEEDED:
        raise ClusterError(f"Java {version} is too old: Apache Kafka needs Java {JAVA_NEEDED} or later.")
    return java


@cache
def java_version(java: str) -> int:
    """Major version of that Java; 0 where it does not say."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found.group(1)) if found else 0


def cluster_id(chance: bytes) -> str:
    """A cluster id as Kafka writes one: 16 bytes in URL-safe base64. One that begins with `-` would be read as an option."""
    text = urlsafe_b64encode(chance).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text


def kafka_libs() -> Path:
    """Directory of Kafka's jars, fetched by Maven into the user's cache the first time. Raises ClusterError."""
    pom = kafka_pom()
    digest = hashlib.sha256(pom.encode()).hexdigest()[:8]
    libs = cache_directory() / f"kafka-{kafka_version()}-{digest}"
    if libs.is_dir():
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        raise ClusterError("Maven is missing: `mvn` on the path fetches the jars of Apache Kafka, once.")
    try:
        _fetch_libs(maven, pom, libs)
    except OSError as error:
        raise ClusterError(f"The jars of Apache Kafka cannot be kept in {libs.parent}: {error.strerror}.") from None
    return libs


def _fetch_libs(maven: str, pom: str, libs: Path) -> None:
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libs.parent) as made:
        (Path(made) / "pom.xml").write_text(pom)
        command = [maven, "-q", "-B", "-f", f"{made}/pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={made}/libs"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"Maven could not fetch Apache Kafka: {telling_line(done.stdout + done.stderr)}")
        try:
            (Path(made) / "libs").rename(libs)
        except OSError:
            if not libs.is_dir():  # else another process was faster, with the same jars
                raise


def kafka_pom() -> str:
    """The pinned pom.xml: of the installed package, else of the checkout."""
    packaged = resources.files("rtcdp").joinpath("kafka-pom.xml")
    if packaged.is_file():
        return packaged.read_text()
    return (Path(__file__).parents[3] / "deploy/kafka/pom.xml").read_text()


def kafka_version() -> str:
    """The version of Kafka that the pom.xml pins."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", kafka_pom())
    if found is None:
        raise ClusterError("The pom.xml of the local Kafka names no kafka.version.")
    return found.group(1)


def cache_directory() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/rtcdp`, else `~/.cache/rtcdp`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtcdp"


def docker_answers() -> bool:
    """Whether a Docker daemon answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, check=False, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@cache
def librdkafka() -> ctypes.CDLL:
    """The librdkafka inside the confluent-kafka wheel, with the types of the mock functions used. Raises ClusterError."""
    import confluent_kafka

    package = Path(confluent_kafka.__file__).parent
    shipped = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    path = str(shipped[0]) if shipped else ctypes.util.find_library("rdkafka")
    if path is None:
        raise ClusterError("The embedded broker needs the librdkafka of the confluent-kafka wheel, which is not there.")
    library = ctypes.CDLL(path)
    handle, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, returns, takes in (
        ("rd_kafka_conf_new", handle, ()),
        ("rd_kafka_new", handle, (integer, handle, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (handle,)),
        ("rd_kafka_conf_set", integer, (handle, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_handle_mock_cluster", handle, (handle,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (handle,)),
        ("rd_kafka_mock_topic_create", integer, (handle, text, integer, integer)),
        ("rd_kafka_mock_broker_set_down", integer, (handle, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_up", integer, (handle, ctypes.c_int32)),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, (handle, ctypes.c_int32)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library
