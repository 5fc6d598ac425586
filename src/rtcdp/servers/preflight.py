"""Whether the cluster is as this process needs it: checked once, before anything starts, and created where that is allowed.

`preflight(settings)` is a worker's, `examine` any other process's. Both return facts (`Cluster`) or raise ClusterError with
one sentence that says what to do. The embedded mock broker can answer few of the questions; what it could not be asked is
in `Cluster.unchecked`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from rtcdp.errors import ClusterError
from rtcdp.servers.cluster import REQUEST_S, Cluster, cause, ends, is_embedded, topic_id
from rtcdp.settings.config import Settings

T = TypeVar("T")

CONNECT_S = 6.0
SLOW_S = 20.0
"""How long is waited for the first answer of a cluster, where nobody listens and where it is only slow."""

# A batch of the producers may reach librdkafka's `batch.size` (1,000,000 bytes), and one that the broker finds too
# large is fatal to them: so no topic that they write to may allow less than Kafka's own default.
LEAST_MESSAGE_BYTES = 1_048_588

LOG_APPEND = {"message.timestamp.type": "LogAppendTime"}
COMPACT = {"cleanup.policy": "compact"}
DELETE = {"cleanup.policy": "delete"}
DAY = 86_400_000
HOUR = 3_600_000
SHORTEST_SEGMENT = 600_000

logger = logging.getLogger(__name__)
_SILENT = logging.getLogger("rtcdp.servers.preflight.client")
_SILENT.disabled = True


@dataclass(frozen=True)
class Wanted:
    """What a topic has to be like.

    role:       its name in messages.
    partitions: that it must have; None: any number, `settings.partitions` on creation.
    required:   options that must have these values.
    created:    options beside those that it gets on creation.
    operations: what this process does with it.
    """

    role: str
    partitions: int | None
    required: Mapping[str, str]
    created: Mapping[str, str]
    operations: tuple[str, ...]


def wanted_topics(settings: Settings) -> dict[str, Wanted]:
    """Every topic this deployment needs, by name."""
    read, write = ("READ",), ("WRITE",)
    both = read + write
    found = {
        source.topic: Wanted(
            "source", None, LOG_APPEND if source.time == "arrival" else {}, {**DELETE, **kept_for(3 * 24)}, read
        )
        for source in settings.sources
    }
    week = kept_for(7 * 24)
    large = {"max.message.bytes": "8388608"}  # a profile or a merge record is larger than an event
    # Written several times a second and read whole at every start: compacted often, which needs closed segments.
    small_segments = {"segment.ms": "600000", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1"}
    found |= {
        settings.commands: Wanted("commands", None, {**DELETE, **LOG_APPEND}, week, read),
        settings.events_dlq: Wanted("events-dlq", None, DELETE, {**kept_for(14 * 24), "max.message.bytes": "4194304"}, write),
        # The log that everything can be rebuilt from: kept for ever unless the operator says otherwise.
        settings.profile_events: Wanted("profile-events", None, DELETE, {"retention.ms": "-1", **large}, both),
        settings.profile_changes: Wanted("profile-changes", None, DELETE, week, write),
        settings.triggers: Wanted("triggers", None, DELETE, week, write),
        settings.ingest_progress: Wanted("ingest-progress", None, {**COMPACT, **LOG_APPEND}, small_segments, both),
        settings.definitions_topic: Wanted("definitions", 1, COMPACT, large, both),
        settings.changelog: Wanted("changelog", None, COMPACT, large, both),
        settings.audit: Wanted("audit", 1, {**DELETE, **LOG_APPEND}, {"retention.ms": f"{settings.audit_days * DAY}"}, write),
    }
    return found


def retention(settings: Settings) -> dict[str, dict[str, str]]:
    """Options of the topics whose retention the settings tell, by name.

    Only closed segments are removed: a record stays for its retention and one segment more, so segments are a quarter of it.
    """
    hours = {
        **{source.topic: settings.keep_events_hours for source in settings.sources},
        settings.commands: settings.keep_commands_hours,
        settings.events_dlq: settings.keep_letters_hours,
        settings.profile_changes: settings.keep_outputs_hours,
        settings.triggers: settings.keep_outputs_hours,
        settings.profile_events: settings.keep_log_days * 24,
    }
    return {name: kept_for(kept) for name, kept in hours.items() if kept}


def kept_for(hours: int) -> dict[str, str]:
    """Options of a topic that keeps its records so long."""
    return {"retention.ms": f"{hours * HOUR}", "segment.ms": f"{min(DAY, max(SHORTEST_SEGMENT, hours * HOUR // 4))}"}


def preflight(settings: Settings) -> Cluster:
    """Check everything that a worker needs of the cluster; create what is missing and may be created, and check again.

    Blocks, for seconds at most. Raises ClusterError, one sentence, where the cluster cannot be used as it is, and
    SettingError where it cannot even be addressed.
    """
    return examine(settings, wanted_topics(settings), worker=True, keep=retention(settings))


def examine(
    settings: Settings,
    wanted: Mapping[str, Wanted],
    *,
    worker: bool = False,
    keep: Mapping[str, Mapping[str, str]] | None = None,
) -> Cluster:
    """The same for a process that only needs some topics.

    wanted: of `wanted_topics`, those that it needs, with the operations that it needs.
    worker: whether it also needs a group, transactions, and a changelog beside its log.
    keep:   by topic the options that tell how long records are kept: set where the topic has others.
    """
    errors: list[KafkaError] = []
    quiet = {"log_level": 0, "error_cb": errors.append, "socket.connection.setup.timeout.ms": 5_000}
    admin = AdminClient({**settings.kafka(), **quiet})
    metadata = _connect(admin, settings, errors)
    embedded = is_embedded(metadata)
    missing = [name for name in wanted if name not in metadata.topics]
    if missing:
        if embedded:
            for name in missing:
                admin.list_topics(name, timeout=REQUEST_S)  # naming a topic creates it there
        else:
            _create(admin, settings, {name: wanted[name] for name in missing}, len(metadata.brokers))
    metadata = _await_topics(admin, list(wanted))
    partitions = {name: len(metadata.topics[name].partitions) for name in wanted}
    if worker:
        _check_partitions(settings, {} if embedded else wanted, partitions)
        _check_transactions(settings)
    if embedded:
        return _embedded(wanted, partitions)
    topic_ids = _check_access(admin, wanted)
    if worker:
        _check_group(admin, settings)
    _keep(admin, keep or {})
    largest = _check_options(admin, settings, wanted, metadata)
    return Cluster(topic_ids, partitions, largest, len(metadata.brokers))


def _connect(admin: AdminClient, settings: Settings, errors: list[KafkaError]) -> Any:
    """What the cluster is made of. Each attempt waits longer than the one before: a slow answer is one too."""
    began, wait, patience = time.monotonic(), 1.0, CONNECT_S
    failure = "no broker known"
    while (left := began + patience - time.monotonic()) > 0:
        try:
            metadata = admin.list_topics(timeout=min(wait, left))
        except KafkaException as error:
            failure = cause(error).str()
            patience = SLOW_S if cause(error).code() == KafkaError._TIMED_OUT else CONNECT_S
            wait *= 2
        else:
            if metadata.brokers:
                return metadata
        admin.poll(0)  # serves error_cb, which knows more than the failed request
        if any(one.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED) for one in errors):
            raise ClusterError(
                f"Kafka at {settings.bootstrap} does not accept the credentials of {settings.sasl_username!r} "
                f"({settings.security_protocol}, {settings.sasl_mechanism})"
            )
    telling = [one.str() for one in errors if one.code() != KafkaError._ALL_BROKERS_DOWN] or [failure]
    raise ClusterError(f"no Kafka answers at {settings.bootstrap} (bootstrap): {telling[-1]}")


def _create(admin: AdminClient, settings: Settings, missing: Mapping[str, Wanted], brokers: int) -> None:
    """Create topics; one that somebody else creates meanwhile is fine, it is checked like any other."""
    names = ", ".join(missing)
    if not settings.create_topics:
        raise ClusterError(f"topics are missing and create_topics is off: {names}")
    replication = settings.replication or min(3, brokers)
    topics = [
        NewTopic(name, one.partitions or settings.partitions, replication, config={**one.created, **one.required})
        for name, one in missing.items()
    ]
    for name, future in admin.create_topics(topics, request_timeout=REQUEST_S).items():
        error = _failure(future)
        if error is None or error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            continue
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            raise ClusterError(
                f"topic {name} is missing and may not be created: grant the ACL Create on Topic {name} "
                f"(or on Cluster), or create it yourself"
            )
        if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
            raise ClusterError(f"topic {name} cannot have {replication} replicas on {brokers} brokers (replication)")
        raise ClusterError(f"topic {name} is missing and could not be created: {error.str()}")


def _await_topics(admin: AdminClient, names: Iterable[str]) -> Any:
    """Metadata in which each topic has leaders that answer.

    A broker may answer for a topic before it knows of it, and name a leader that does not know yet that it is one.
    """
    deadline = time.monotonic() + REQUEST_S
    while True:
        metadata = admin.list_topics(timeout=REQUEST_S)
        waiting = [name for name in names if name not in metadata.topics or not metadata.topics[name].partitions]
        if not waiting:
            partitions = [(name, number) for name in names for number in metadata.topics[name].partitions]
            answered = ends(admin, partitions)
            waiting = [name for name, number in partitions if (name, number) not in answered]
        if not waiting:
            return metadata
        if time.monotonic() > deadline:
            raise ClusterError(f"topic {waiting[0]} has a partition without a leader that answers")
        time.sleep(0.05)


def _check_partitions(settings: Settings, wanted: Mapping[str, Wanted], partitions: Mapping[str, int]) -> None:
    for name, one in wanted.items():
        if one.partitions is not None and partitions[name] != one.partitions:
            raise ClusterError(f"topic {name} ({one.role}) must have {one.partitions} partition, it has {partitions[name]}")
    events, changelog = partitions[settings.profile_events], partitions[settings.changelog]
    if events != changelog:
        raise ClusterError(
            f"{settings.profile_events} has {events} partitions and {settings.changelog} has {changelog}: "
            f"they must be equal, since a partition's state lies in the changelog's partition of the same number"
        )


def _check_transactions(settings: Settings) -> None:
    """One real transactional producer is opened, under an id that no partition uses."""
    silent = {"log_level": 0, "error_cb": _ignore, "logger": _SILENT}  # the call's own error says all that counts
    producer = Producer({**settings.kafka(), "transactional.id": f"{settings.app}-preflight", **silent})
    try:
        producer.init_transactions(REQUEST_S)
    except KafkaException as failure:
        error = cause(failure)
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            raise ClusterError(
                "transactions are not permitted: grant the ACLs Write and Describe on "
                f"TransactionalId {settings.app}-* (prefixed)"
            ) from None
        raise ClusterError(
            f"the cluster gives no transactions ({error.str()}): look at transaction.state.log.replication.factor "
            f"and transaction.state.log.min.isr, which must suit its number of brokers"
        ) from None


def _check_access(admin: AdminClient, wanted: Mapping[str, Wanted]) -> dict[str, str]:
    """The topics' ids; on the way, whether this process may do with each what it has to."""
    ids = {}
    futures = admin.describe_topics(
        TopicCollection(list(wanted)), include_authorized_operations=True, request_timeout=REQUEST_S
    )
    for name, future in futures.items():
        description = _ask(future, "Describe", name)
        ids[name] = topic_id(name, description.topic_id)
        allowed: Any = description.authorized_operations
        if not allowed:
            continue  # a broker that does not tell
        for operation in wanted[name].operations:
            if getattr(AclOperation, operation) not in allowed:
                raise ClusterError(
                    f"no permission for topic {name} ({wanted[name].role}): "
                    f"grant the ACL {operation.capitalize()} on Topic {name}"
                )
    return ids


def _check_group(admin: AdminClient, settings: Settings) -> None:
    """Whether this process may join its consumer group, as far as the broker tells."""
    describe: Any = admin.describe_consumer_groups  # the type stubs are older than its options
    future = describe([settings.app], include_authorized_operations=True, request_timeout=REQUEST_S)[settings.app]
    missing = f"no permission for the consumer group: grant the ACL Read on Group {settings.app}"
    try:
        allowed = future.result(REQUEST_S + 5).authorized_operations
    except KafkaException as failure:
        if cause(failure).code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise ClusterError(missing) from None
        return  # before the first start there is no such group
    if allowed and AclOperation.READ not in allowed:
        raise ClusterError(missing)


def _check_options(admin: AdminClient, settings: Settings, wanted: Mapping[str, Wanted], metadata: Any) -> dict[str, int]:
    """The largest batch that each topic takes; on the way, every option that has to have a certain value."""
    largest = {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in wanted]
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_S).items():
        name = resource.name
        entries = _ask(future, "DescribeConfigs", name)
        options = {key: entry.value for key, entry in entries.items()}
        _check_values(settings, name, wanted[name], options)
        largest[name] = int(options["max.message.bytes"])
        _check_replicas(settings, name, int(options["min.insync.replicas"]), metadata)
    return largest


def _keep(admin: AdminClient, told: Mapping[str, Mapping[str, str]]) -> None:
    """Set what tells how long records are kept, where topics have it otherwise."""
    if not told:
        return
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in told]
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_S).items():
        name = resource.name
        entries = _ask(future, "DescribeConfigs", name)
        other = {option: value for option, value in told[name].items() if entries[option].value != value}
        if not other:
            continue
        changes = [ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET) for option, value in other.items()]
        changed = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=changes)
        altered: Any = admin.incremental_alter_configs([changed], request_timeout=REQUEST_S)
        error = _failure(next(iter(altered.values())))
        if error is not None:
            wanted = ", ".join(f"{option}={value}" for option, value in other.items())
            raise ClusterError(
                f"topic {name} keeps its records otherwise than the settings say, and that could not be changed "
                f"({error.str()}): set {wanted}, or grant the ACL AlterConfigs on it"
            )
        logger.info("%s: %s", name, other)


def _check_values(settings: Settings, name: str, one: Wanted, options: Mapping[str, str]) -> None:
    for option, value in one.required.items():
        if options[option] == value:
            continue
        because = ""
        if option == "message.timestamp.type":
            because = ": a record's append time is when it counts as received"
            if one.role == "source":
                because += f" (or set the source to {name}:event, if its events carry their own times)"
        elif value == "compact":
            because = ": retention by age would lose what is not written again"
        elif name == settings.profile_events:
            because = ": it is the log that state is rebuilt from, compaction would remove events"
        raise ClusterError(f"topic {name} ({one.role}) must have {option}={value}, it has {options[option]}{because}")
    if "WRITE" in one.operations and int(options["max.message.bytes"]) < LEAST_MESSAGE_BYTES:
        raise ClusterError(
            f"topic {name} ({one.role}) must have max.message.bytes of at least {LEAST_MESSAGE_BYTES}, "
            f"it has {options['max.message.bytes']}"
        )


def _check_replicas(settings: Settings, name: str, least_in_sync: int, metadata: Any) -> None:
    replicas = min(len(part.replicas) for part in metadata.topics[name].partitions.values())
    if replicas < least_in_sync:
        raise ClusterError(
            f"topic {name} has {replicas} replicas and min.insync.replicas={least_in_sync}: nothing could be written to it"
        )
    if settings.replication and replicas < settings.replication:
        raise ClusterError(f"topic {name} has {replicas} replicas, fewer than the setting replication={settings.replication}")


def _embedded(wanted: Mapping[str, Wanted], partitions: Mapping[str, int]) -> Cluster:
    unchecked = (
        "topic ids: the embedded broker knows none, the name stands for the id",
        "cleanup.policy, message.timestamp.type, max.message.bytes, replication: the embedded broker has no options",
        "permissions: the embedded broker has none",
    )
    return Cluster(
        {name: name for name in wanted},
        partitions,
        dict.fromkeys(wanted, LEAST_MESSAGE_BYTES),
        embedded=True,
        unchecked=unchecked,
    )


def _failure(future: Future[Any]) -> KafkaError | None:
    try:
        future.result(REQUEST_S + 5)
    except KafkaException as failure:
        return cause(failure)
    return None


def _ask(future: Future[T], operation: str, name: str) -> T:
    """An admin request's answer about a topic. Raises ClusterError naming the permission that it needs."""
    try:
        return future.result(REQUEST_S + 5)
    except KafkaException as failure:
        error = cause(failure)
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            raise ClusterError(f"topic {name} cannot be checked: grant the ACL {operation} on Topic {name}") from None
        raise ClusterError(f"topic {name} cannot be checked: {error.str()}") from None


def _ignore(_: KafkaError) -> None:
    """The call itself reports what counts."""
