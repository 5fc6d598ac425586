"""Every pinned setting of Faust and librdkafka, each with its reason beside it, in one place.

The dicts are options by their own names; `kafka` in the arguments are librdkafka's options for reaching the cluster
(`bootstrap.servers`, security), which come first so that nothing given there can undo a pinned one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRANSACTION_TIMEOUT_MS = 10_000
"""How long a dead worker's open transaction can hold up readers: no longer than a takeover takes."""

MAX_RECORD_BYTES = 100_000_000
"""librdkafka's own limit on a record: above any topic's, so that the topic's `max.message.bytes` is the one that counts."""

LONG_POLL_MS = 500
"""How long a broker may hold an empty fetch. A real one answers as soon as there is a byte, so this only paces idle polls."""

Options = dict[str, Any]

BACK_SOON: Mapping[str, Any] = {
    "reconnect.backoff.max.ms": 1_000,  # default 10 s: a broker that is back would be asked only then
    "socket.connection.setup.timeout.ms": 10_000,  # default 30 s: three sessions
}


def faust_settings(*, instance: str = "", replication: int = 1) -> Options:
    """Keyword arguments for `faust.App`.

    instance:    static group membership under this name; empty: dynamic membership.
    replication: replicas of topics; only recorded, since Faust creates none.
    """
    return {
        "processing_guarantee": "at_least_once",  # its exactly_once leaves outputs outside the transaction; ours does not
        "broker_session_timeout": 10.0,  # a survivor takes over a dead worker's partitions after 10 s, not 60
        "broker_heartbeat_interval": 3.0,  # three chances within a session
        "broker_rebalance_timeout": 30.0,  # how long a rebalance waits for a member that is still committing
        "broker_request_timeout": 30.0,  # must not be below the session timeout
        "broker_max_poll_interval": 300.0,  # kept fresh by the transport, which fetches past aiokafka
        "broker_commit_interval": 1.0,  # the group's offset is for monitoring and as a witness; once a second is enough
        "broker_max_poll_records": 2000,  # of no effect on what librdkafka fetches; bounds aiokafka where it still could
        "broker_commit_livelock_soft_timeout": 300.0,  # the detector reads aiokafka's state, which stands still on purpose
        "consumer_group_instance_id": instance or None,  # a restart within the session moves no partition
        "consumer_auto_offset_reset": "earliest",  # aiokafka only; where fetching starts is decided by the transport
        "stream_buffer_maxsize": 64,  # messages are whole fetches; the transport bounds their flight
        "stream_wait_empty": False,  # waits without limit at a revoke; the owner's hooks await what is in flight
        "stream_publish_on_commit": False,
        "stream_recovery_delay": 0.0,  # nothing to wait for before a restore
        "producer_acks": -1,  # Faust's own producer carries no data; were it used, it must not lose any
        "topic_replication_factor": max(1, replication),
        "topic_allow_declare": False,  # preflight creates topics, with the right configuration, or refuses the start
        "topic_disable_leader": True,  # no leader topic: one topic and one assignment less
        "web_enabled": False,  # it listens on 0.0.0.0 without authentication and serves table values
        "table_standby_replicas": 0,  # a restore is faster than keeping standbys would be worth
        "store": "memory://",
        "worker_redirect_stdouts": False,
    }


def fetch_conf(kafka: Mapping[str, Any], group: str, wait_ms: int = LONG_POLL_MS) -> Options:
    """The consumer that fetches the assigned partitions with `assign()`; it never joins the group.

    wait_ms: how long the broker may hold an empty fetch.
    """
    return {
        **BACK_SOON,
        **kafka,
        "group.id": group,  # required by the client; used for nothing
        "enable.auto.commit": False,  # the transport commits, behind what is done
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # starting offsets are checked numbers; a hole must never be skipped silently
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": wait_ms,
        "fetch.min.bytes": 1,
        "fetch.queue.backoff.ms": 20,  # default 1 s: a full queue would stop a partition for that long
        "queued.max.messages.kbytes": 16_384,  # bounds memory per process
        "queued.min.messages": 20_000,
        "check.crcs": False,  # TCP and the broker check; 3 % of the CPU
        "socket.nagle.disable": True,  # latency
        "topic.metadata.refresh.interval.ms": 60_000,
    }


def restore_conf(kafka: Mapping[str, Any], group: str) -> Options:
    """The consumer that reads one changelog partition to its end."""
    return {
        **BACK_SOON,
        **kafka,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",  # what an aborted transaction wrote must not come back
        "enable.partition.eof": True,  # transaction markers take offsets: "last offset = end - 1" is wrong
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": 2_097_152,  # fewer, larger fetches than the default's 1 MiB
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 8_192,  # partitions are restored beside each other; 64 MiB each were no faster
        "queued.min.messages": 1_000_000,
        "check.crcs": True,  # brokers do not check what they read from disk; a flipped byte must not become state
    }


def idempotent_conf(kafka: Mapping[str, Any]) -> Options:
    """What every producer has in common: acknowledged by all replicas, in order, without repeats by retries."""
    return {
        **BACK_SOON,
        **kafka,
        "acks": "all",
        "enable.idempotence": True,  # without it a retry may reorder and double
        "partitioner": "murmur2_random",  # Java's; librdkafka's default (CRC32) disagrees on 87 % of keys
        "compression.type": "lz4",
        "message.max.bytes": MAX_RECORD_BYTES,
        "queue.buffering.max.kbytes": 1_048_576,
        "socket.nagle.disable": True,
    }


def transactional_conf(kafka: Mapping[str, Any], transactional_id: str) -> Options:
    """The producer of one partition's transactions."""
    return {
        **idempotent_conf(kafka),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "linger.ms": 50,  # a commit flushes at once: until then records gather into full batches
        "queue.buffering.max.messages": 1_000_000,
        "delivery.report.only.error": True,  # a failed delivery fails the commit; successes need no callback
    }


def gapless_conf(kafka: Mapping[str, Any]) -> Options:
    """The producer that loses nothing and leaves no hole: it retries for ever or ends fatally."""
    return {
        **idempotent_conf(kafka),
        "message.timeout.ms": 0,  # never given up: giving one record up would leave a hole in the order
        "enable.gapless.guarantee": True,  # a record that fails for good is fatal instead of skipped
        "log_level": 3,  # errors: with every start librdkafka warns that the guarantee is experimental
        "linger.ms": 1,
        "queue.buffering.max.messages": 500_000,
    }
