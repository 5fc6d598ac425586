"""The embedded Kafka: librdkafka's mock cluster."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from functools import cache
from pathlib import Path

from rtcdp.errors import ClusterError
from rtcdp.servers.broker import Broker

EMBEDDED_LIMITS = (
    "Embedded broker (librdkafka's mock cluster): in memory only, about 5 MiB or 100,000 batches per partition, no compaction, "
    "no auth, readers see aborted records and nobody is fenced. For demos and quick tests; its figures are no evidence."
)


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
