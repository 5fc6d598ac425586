"""`rtcdp rebuild`: a changelog that was damaged or lost is made anew from the log.

The whole log is folded again, as a worker would, and nothing is written meanwhile. The group's offset says what certainly was
done; the outputs of the records after it may have been published or not, since the group is told only once a second. They are
looked for in the topics, and those that are not there are written in one transaction with the position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, sleep

import orjson
from confluent_kafka import KafkaException, Message

from rtcdp import position as positions
from rtcdp.errors import ClusterError
from rtcdp.monitoring.metrics import Metrics
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.records import SWITCH_KEY, TICK_KEY
from rtcdp.sealing.sealer import sealed
from rtcdp.servers.cluster import REQUEST_S, cause
from rtcdp.servers.preflight import preflight
from rtcdp.settings.config import Settings
from rtcdp.transport.transactions import HeadersOf, Record, TransactionalProducer
from rtcdp.worker.layout import layout_of
from rtcdp.worker.offline.deployment import CHUNK, Offline
from rtcdp.worker.profiles.partition import NOTHING, ProfilePartition
from rtcdp.worker.profiles.runners import new_runner
from rtcdp.worker.profiles.work import Topics, Work

logger = logging.getLogger(__name__)

GAP = 100_000
"""So many records may have been done that the group was not yet told of: more than a worker folds in a second."""
GONE_S = 30.0


@dataclass(frozen=True)
class Written:
    """A record that a fold would have written."""

    topic: str
    partition: int | None
    key: bytes
    value: bytes | None


@dataclass
class Recorder:
    """Takes the place of the transactional producer: nothing is written. What is produced while `keeping` is kept."""

    changelog: str
    keeping: bool = False
    kept: list[Written] = field(default_factory=list)

    def begin(self) -> None:
        """Nothing to begin."""

    def produce(
        self, topic: str, records: Iterable[Record], partition: int | None = None, *, headers: HeadersOf | None = None
    ) -> None:
        """Keep what is no state and no tick: ticks and switches are in the log already."""
        if self.keeping and topic != self.changelog:
            self.kept += [Written(topic, partition, key, value) for key, value in records if key not in (TICK_KEY, SWITCH_KEY)]

    def commit(self) -> None:
        """Nothing to commit."""

    def abort(self) -> None:
        """Nothing to abort."""

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Rebuilt:
    """A partition folded again: its state and position, and what may have to be written."""

    number: int
    state: dict[bytes, bytes]
    position: Position
    kept: list[Written]


@dataclass(frozen=True)
class Summary:
    """What a rebuild did."""

    profiles: int
    records: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.profiles} profiles from {self.records} records; {self.outputs} outputs had not been published"


def rebuild(settings: Settings, say: Callable[[str], None] = logger.info) -> Summary:
    """Make the changelog anew from the log. Blocks; begins anew after an interruption.

    say: told what is going on, a line at a time.

    Raises ClusterError where workers run, where the log does not begin at its beginning, or where it has lost records.
    """
    offline = Offline(settings)
    layout = layout_of(offline.topic, settings.app)
    if layout is not None and layout.restored:
        raise ClusterError(
            "this deployment goes on from a backup, its log alone does not make its state: restore the backup again"
        )
    witnesses = offline.committed(settings.profile_events)
    producers = [TransactionalProducer(offline.kafka, f"{settings.app}-{number}") for number in range(offline.partitions)]
    try:
        for producer in producers:
            producer.open()
        rebuilt = [_fold(offline, number, witnesses.get(number), say) for number in range(offline.partitions)]
        missing = _missing(offline, rebuilt)
        say(f"making {settings.changelog} anew")
        _recreate(offline)
        for part, producer in zip(rebuilt, producers, strict=True):
            _write(offline, part, [one for one in part.kept if identity(settings, one) in missing], producer)
    finally:
        for producer in producers:
            producer.close()
    return Summary(
        profiles=sum(len(part.state) for part in rebuilt),
        records=sum(part.position.offset + 1 for part in rebuilt),
        outputs=len(missing),
    )


def _fold(offline: Offline, number: int, witness: int | None, say: Callable[[str], None]) -> Rebuilt:
    """Fold a partition from its beginning to its end, or to `GAP` records behind what certainly was done."""
    settings, cluster = offline.settings, offline.cluster
    log, done = settings.profile_events, witness or 0
    low, high = offline.bounds(log, number)
    if low > 0:
        raise ClusterError(f"{log}/{number} begins at {low}: what its retention has taken cannot be rebuilt from")
    if done > high:
        raise ClusterError(f"{log}/{number} ends at {high} and {done} records of it are recorded as done: it has lost records")
    state: dict[bytes, bytes] = {}
    position = Position(topic_id=offline.log_id, switches=[SwitchPoint(0, offline.first_version(), 0)])
    recorder = Recorder(settings.changelog)
    topics = Topics(log, settings.profile_changes, settings.triggers, settings.events_dlq, settings.changelog)
    with ThreadPoolExecutor(1) as executor:
        work = Work(
            topics=topics,
            executor=executor,
            metrics=Metrics(),
            done=lambda *_: None,
            watermark=lambda: None,
            version=lambda: None,
            limits=cluster.max_message_bytes,
        )
        runner = new_runner(settings, cluster, offline.versions(), number, state, position, offline.name())
        partition = ProfilePartition(number, runner, recorder, work, -1, 0)
        asyncio.run(_run(offline, partition, recorder, done))
    say(f"partition {number}: {len(state)} profiles at offset {runner.position.offset}, {done} records known as done")
    return Rebuilt(number, state, runner.position, recorder.kept)


async def _run(offline: Offline, partition: ProfilePartition, recorder: Recorder, done: int) -> None:
    for chunk in offline.read(offline.settings.profile_events, partition.number):
        nothing = (SWITCH_KEY, NOTHING)
        records = [
            (message.offset() or 0, *(one or (nothing if message.value() is not None else (message.key(), None))))
            for message, one in zip(chunk, offline.opened(chunk), strict=True)
        ]
        sure = [one for one in records if one[0] < done]
        unsure = [one for one in records if done <= one[0] < done + GAP]
        for keeping, part in ((False, sure), (True, unsure)):
            recorder.keeping = keeping
            for start in range(0, len(part), 2_000):
                await partition.exactly_once(part[start : start + 2_000], [], None)


def identity(settings: Settings, written: Written) -> tuple[str, bytes, bytes]:
    """By what a record is found again: outputs by their id, dead letters by their origin, records of the log as a whole."""
    if written.topic in (settings.profile_changes, settings.triggers):
        return written.topic, b"", orjson.loads(written.value or b"{}")["id"].encode()
    return written.topic, written.key, b"" if written.topic == settings.events_dlq else written.value or b""


def _missing(offline: Offline, rebuilt: Iterable[Rebuilt]) -> set[tuple[str, bytes, bytes]]:
    """What should have been written and lies in no topic."""
    settings = offline.settings
    wanted = {identity(settings, one) for part in rebuilt for one in part.kept}
    for topic in {name for name, _, _ in wanted}:
        for number in range(offline.cluster.partitions[topic]):
            for chunk in offline.read(topic, number):
                found = zip(chunk, offline.opened(chunk) if topic == settings.profile_events else chunk, strict=True)
                wanted -= {identity(settings, _found(topic, message, one)) for message, one in found if one is not None}
    return wanted


def _found(topic: str, message: Message, opened: Message | tuple[bytes, bytes]) -> Written:
    key, value = opened if isinstance(opened, tuple) else (message.key() or b"", message.value())
    return Written(topic, None, key, value)


def _recreate(offline: Offline) -> None:
    """An empty changelog: a damaged record would stay in the old one."""
    name = offline.settings.changelog
    try:
        offline.admin.delete_topics([name], request_timeout=REQUEST_S)[name].result(REQUEST_S + 5)
    except KafkaException as failure:
        raise ClusterError(f"{name} cannot be deleted: {cause(failure).str()}") from None
    deadline = monotonic() + GONE_S
    while name in offline.admin.list_topics(timeout=REQUEST_S).topics:
        if monotonic() > deadline:
            raise ClusterError(f"{name} was deleted and is still there after {GONE_S:.0f} s")
        sleep(0.1)
    settings = offline.settings.model_copy(update={"partitions": offline.partitions, "create_topics": True})
    preflight(settings)


def _write(offline: Offline, part: Rebuilt, missing: Iterable[Written], producer: TransactionalProducer) -> None:
    """The state in transactions of some thousand profiles; in the last one the position and the missing outputs.

    Until that one is committed the start is refused, as before, and the rebuild can be done again.
    """
    changelog, log, sealer = offline.settings.changelog, offline.settings.profile_events, offline.sealer
    entries = iter(part.state.items())
    while chunk := list(islice(entries, CHUNK)):
        producer.begin()
        producer.produce(changelog, sealed(chunk, sealer), part.number)
        producer.commit(60.0)
    producer.begin()
    for one in missing:
        if one.topic == log and sealer is not None:
            producer.produce(log, sealed([(one.key, one.value)], sealer), sealer.name(one.key).partition)
        else:
            producer.produce(one.topic, ((one.key, one.value),), one.partition)
    producer.produce(changelog, ((POSITION_KEY, positions.encode(part.position)),), part.number)
    producer.commit(60.0)
