"""`rtcdp restore`: the file of a backup as a deployment elsewhere.

The log's rest is written to the beginning of the new log, and the position says that nothing of it is folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.control.versions import CURRENT
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.erasing import MARK, Marking, mark_key, mark_of, marking
from rtcdp.ingestion.letters import RECEIVED_HEADER
from rtcdp.position import POSITION_KEY, Position
from rtcdp.sealing.sealer import sealed
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.settings import gapless_conf
from rtcdp.transport.transactions import TransactionalProducer
from rtcdp.worker.layout import Layout, check_keys, record_layout
from rtcdp.worker.offline.backup_file import (
    FORMAT,
    Definition,
    Entry,
    Header,
    Placed,
    Raw,
    Stored,
    Summary,
    Unfolded,
    read_file,
)
from rtcdp.worker.offline.deployment import CHUNK, Offline

SEND_S = 60.0


@dataclass
class _Part:
    """One partition being written."""

    producer: TransactionalProducer
    position: Position = field(default_factory=Position)


class _Erasures:
    """Who was erased since a backup was taken, and must not come back with it.

    header: of the backup. receipts: files of `rtcdp privacy receipt --json`; of a sealed backup the key store knows.

    Raises SettingError where a receipt cannot be read.
    """

    def __init__(self, offline: Offline, header: Header, receipts: Iterable[Path]) -> None:
        self._before = marking(bytes.fromhex(header.secret)[:64])
        sealer = offline.sealer
        self._after: Marking = self._before if sealer is None else lambda key: sealer.name(key).name
        self._sealed = bool(header.keys)
        self._erased: dict[bytes, int] = {}
        if offline.sealer is not None and self._sealed:
            self._erased.update(offline.sealer.store.erased())
        for path in receipts:
            self._erased.update(_marks_of(path))
        self._marks = {} if offline.sealer is not None and not self._sealed else dict(self._erased)
        self._known: set[bytes] = set()

    def holds(self, entry: Stored) -> bool:
        """Whether this profile is of somebody who was erased after that."""
        if entry.key.startswith(MARK):
            self._known.add(entry.key)
            return False
        if self._sealed or not self._erased:
            return False  # no key opens it
        erased = self._erased.get(self._before(entry.key), 0)
        if profiles.time_of(entry.value) > erased:
            return False
        self._marks[self._after(entry.key)] = erased
        return True

    def marks(self) -> list[tuple[bytes, bytes]]:
        """The marks that the backup lacks. A name does not tell its partition: they go to all."""
        found = {mark_key(name): profiles.encode(mark_of(time)) for name, time in self._marks.items()}
        return [(key, value) for key, value in found.items() if key not in self._known]


def _marks_of(path: Path) -> dict[bytes, int]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Receipt)
        return {bytes.fromhex(mark.name): timestamps.parse(mark.erased) or 0 for mark in found.marks}
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise SettingError(f"{path} is no receipt (`rtcdp privacy receipt ID --json`): {error}") from None


class _ReceiptMark(msgspec.Struct):
    name: str
    erased: str


class _Receipt(msgspec.Struct):
    marks: list[_ReceiptMark]


def restore(settings: Settings, path: Path, receipts: Iterable[Path] = ()) -> Summary:
    """Make a deployment of a backup: on an empty cluster, or under another app and other topics. Blocks.

    receipts: of erasures since the backup was taken; a sealed one needs none.

    Raises SettingError for a file that is no whole backup, ClusterError where there is a deployment already.
    """
    header, *_ = (
        entry for entry in read_file(path) if isinstance(entry, Header)
    )  # all of it is read before anything is written
    if header.format > FORMAT:
        raise SettingError(
            f"{path} has format {header.format}, this release reads up to {FORMAT}: a newer release has written it"
        )
    offline = Offline(settings.model_copy(update={"partitions": header.partitions}), check=False)
    keys = "" if offline.sealer is None else offline.sealer.id
    if header.keys:  # what is sealed stays so: whoever was erased since is not brought back
        check_keys(Layout(offline.log_id, offline.partitions, keys=header.keys), header.app, keys)
    _check_empty(offline, header)
    erasures = _Erasures(offline, header, receipts)
    producers = [TransactionalProducer(offline.kafka, f"{settings.app}-{number}") for number in range(offline.partitions)]
    parts = [_Part(producer) for producer in producers]
    with closing(_Sources(offline)) as sources:
        try:
            for part in parts:
                part.producer.open()
            summary = _put_back(offline, read_file(path), parts, sources, sealed_already=bool(header.keys), erasures=erasures)
        finally:
            for part in parts:
                part.producer.close()
    return summary


def _check_empty(offline: Offline, header: Header) -> None:
    settings = offline.settings
    if offline.partitions != header.partitions:
        raise ClusterError(
            f"{settings.profile_events} has {offline.partitions} partitions, the backup is of {header.partitions}: "
            "keys would lie in other partitions than their profiles"
        )
    for topic in (settings.profile_events, settings.changelog):
        for number in range(offline.partitions):
            if offline.bounds(topic, number)[1]:
                raise ClusterError(f"{topic} is not empty: a backup is put back under a new app name, with topics of its own")
    known = {source.topic for source in settings.sources}
    if not known:
        raise ClusterError("there is no source to put the events into that had not yet been taken in")


def _put_back(
    offline: Offline,
    entries: Iterator[Entry],
    parts: list[_Part],
    sources: _Sources,
    *,
    sealed_already: bool,
    erasures: _Erasures,
) -> Summary:
    """Write all of it, sealed where it is not in the file and that is wanted."""
    sealer = None if sealed_already else offline.sealer
    settings, summary = offline.settings, Summary()
    keys, secret = "" if offline.sealer is None else offline.sealer.id, ""
    definitions: dict[str, bytes] = {}
    while chunk := list(islice(entries, CHUNK)):
        for entry in chunk:
            if isinstance(entry, Stored) and erasures.holds(entry):
                continue
            summary.count(entry)
            if isinstance(entry, Header):
                secret = entry.secret
            elif isinstance(entry, Definition):
                definitions[entry.key] = entry.value
            elif isinstance(entry, Stored):
                stored = sealed(((entry.key, entry.value),), sealer)
                parts[entry.partition].producer.produce(settings.changelog, stored, entry.partition)
            elif isinstance(entry, Placed):
                parts[entry.partition].position = positions.decode(entry.value)
            elif isinstance(entry, Unfolded):
                record = sealed(((entry.key or b"", entry.value),), sealer)
                parts[entry.partition].producer.produce(settings.profile_events, record, entry.partition)
            elif isinstance(entry, Raw):
                sources.put(entry)
        for part in parts:
            part.producer.commit(SEND_S)
    sources.flush()
    if CURRENT in definitions:  # last: from then on the versions are there
        definitions[CURRENT] = definitions.pop(CURRENT)
    offline.topic.write(definitions)
    record_layout(
        offline.topic, settings.app, Layout(offline.log_id, offline.partitions, restored=True, keys=keys, secret=secret)
    )
    for number, part in enumerate(parts):
        part.producer.produce(settings.changelog, erasures.marks(), number)
        if part.position.switches:
            part.position.topic_id, part.position.offset = offline.log_id, -1
            part.producer.produce(settings.changelog, ((POSITION_KEY, positions.encode(part.position)),), number)
            part.producer.commit(SEND_S)
    return summary


class _Sources:
    """Puts raw events back, in order, with the time at which they had been received."""

    def __init__(self, offline: Offline) -> None:
        self._failures: list[KafkaError] = []
        self._topics = {source.topic for source in offline.settings.sources}
        self._fallback = offline.settings.sources[0].topic
        self._producer = Producer(gapless_conf(offline.kafka))

    def put(self, entry: Raw) -> None:
        """Send one: to its own topic, or to the first source where there is none of that name."""
        headers: list[tuple[str, Any]] = [*entry.headers]
        if not any(name == RECEIVED_HEADER for name, _ in headers):
            headers.append((RECEIVED_HEADER, b"%d" % entry.appended))
        topic = entry.topic if entry.topic in self._topics else self._fallback
        self._producer.produce(topic, entry.value, entry.key, headers=headers, on_delivery=self._delivered)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all are acknowledged. Raises ClusterError."""
        if self._producer.flush(SEND_S) or self._failures:
            reason = self._failures[0].str() if self._failures else "no answer"
            raise ClusterError(f"events could not be written to {self._fallback}: {reason}")

    def close(self) -> None:
        """Let the client go."""
        self._producer.purge()

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)
