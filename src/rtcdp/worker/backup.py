"""`rtcdp backup` and `rtcdp restore`: a stopped deployment as one file, and that file as a deployment elsewhere.

Offsets and topic ids are other ones there. So the file holds what they stand for: the profiles, what of the log was not yet
folded, what of the sources had not yet made its record, and of each position everything but its offset. The log's rest is
written to the beginning of the new log, and the position says that nothing of it is folded.

The file: gzipped msgpack, one array per entry, its kind first; the last one counts them, so that half a file is refused.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.control.versions import CURRENT
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.erasing import MARK, Marking, mark_key, mark_of, marking
from rtcdp.ingestion.letters import RECEIVED_HEADER
from rtcdp.position import POSITION_KEY, Position
from rtcdp.sealing.sealer import opened_state, sealed
from rtcdp.servers.cluster import source_name
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.restore import restore as read_changelog
from rtcdp.transport.settings import gapless_conf
from rtcdp.transport.transactions import TransactionalProducer
from rtcdp.worker.changelog import Changelog, check_profiles
from rtcdp.worker.layout import Layout, check_keys, layout_of, record_layout
from rtcdp.worker.offline import CHUNK, CURRENT_KEYS, Offline
from rtcdp.worker.progress import ProgressTable

FORMAT = 1
SEND_S = 60.0
Say = Callable[[str], None]


class Header(msgspec.Struct, array_like=True, tag="backup"):
    """The first entry. partitions: of `profile-events`, since a key's partition follows from their number.

    keys: id of the key store that profiles and the log's rest are sealed with here too; empty: they are not.
    secret: of the deployment's marks of erasures (`Layout`).
    """

    format: int
    app: str
    partitions: int
    keys: str = ""
    secret: str = ""


class Definition(msgspec.Struct, array_like=True, tag="definition"):
    """An entry of the topic `definitions`."""

    key: str
    value: bytes


class Stored(msgspec.Struct, array_like=True, tag="profile"):
    """An entry of the changelog."""

    partition: int
    key: bytes
    value: bytes


class Placed(msgspec.Struct, array_like=True, tag="position"):
    """A partition's position."""

    partition: int
    value: bytes


class Unfolded(msgspec.Struct, array_like=True, tag="log"):
    """A record of `profile-events` behind the position, in order."""

    partition: int
    key: bytes | None
    value: bytes | None


class Raw(msgspec.Struct, array_like=True, tag="raw"):
    """A record of a source that has not yet made its record. appended: its append time (ms)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    appended: int


class End(msgspec.Struct, array_like=True, tag="end"):
    """The last entry: how many there were before it."""

    entries: int


Entry = Header | Definition | Stored | Placed | Unfolded | Raw | End
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


@dataclass
class Summary:
    """How much of what was written or read."""

    profiles: int = 0
    unfolded: int = 0
    raw: int = 0

    def count(self, entry: Entry) -> None:
        """Count an entry."""
        self.profiles += isinstance(entry, Stored)
        self.unfolded += isinstance(entry, Unfolded)
        self.raw += isinstance(entry, Raw)

    def __str__(self) -> str:
        return f"{self.profiles} profiles, {self.unfolded} records of the log not folded, {self.raw} events not yet taken in"


# ---- the file --------------------------------------------------------------------------------------------------------


def write_file(path: Path, entries: Iterator[Entry]) -> Summary:
    """Write a backup; the file is there only once it is whole. Raises SettingError where it cannot be written."""
    summary, written = Summary(), 0
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as file:
                for entry in entries:
                    _put(cast("BinaryIO", file), entry)
                    summary.count(entry)
                    written += 1
                _put(cast("BinaryIO", file), End(written))
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SettingError(f"{path} cannot be written ({error.strerror or error})") from None
    return summary


def read_file(path: Path) -> Iterator[Entry]:
    """The entries of a backup, the header first, without the last. Raises SettingError where it is none, or not whole."""
    number = 0
    try:
        with gzip.open(path) as file:
            while True:
                entry = _get(cast("BinaryIO", file))
                if isinstance(entry, End):
                    if entry.entries != number:
                        raise SettingError(f"{path} is damaged: it should have {entry.entries} entries and has {number}")
                    return
                if number == 0 and not isinstance(entry, Header):
                    raise SettingError(f"{path} is no backup")
                number += 1
                yield entry
    except (OSError, EOFError, msgspec.MsgspecError, ValueError) as error:
        raise SettingError(f"{path} is no backup, or is damaged: {error}") from None


def _put(file: BinaryIO, entry: Entry) -> None:
    data = _encode(entry)
    file.write(len(data).to_bytes(4, "big") + data)


def _get(file: BinaryIO) -> Entry:
    length = int.from_bytes(file.read(4), "big")
    data = file.read(length)
    if not length or len(data) < length:
        raise EOFError("it ends in the middle")
    return _decoder.decode(data)


# ---- taking one ------------------------------------------------------------------------------------------------------


def backup(settings: Settings, path: Path) -> Summary:
    """Write everything that a stopped deployment knows into a file. Blocks.

    Raises ClusterError where workers run or the changelog is damaged, SettingError where the file cannot be written.
    """
    return write_file(path, _entries(Offline(settings)))


def _entries(offline: Offline) -> Iterator[Entry]:
    settings = offline.settings
    layout = layout_of(offline.topic, settings.app)
    secret = "" if layout is None else layout.secret or layout.topic_id.encode().hex()
    yield Header(FORMAT, settings.app, offline.partitions, "" if offline.sealer is None else offline.sealer.id, secret)
    for key, value in offline.topic.entries.items():
        if not key.startswith(CURRENT_KEYS) or key == CURRENT:
            yield Definition(key, value)
    witnesses = offline.committed(settings.profile_events)
    for number in range(offline.partitions):
        state: dict[bytes, bytes] = {}
        read_changelog(offline.kafka, settings.changelog, number, state, group=settings.app)
        changelog = Changelog(settings.changelog, settings.profile_events, number, offline.log_id)
        position = changelog.position(state.pop(POSITION_KEY, None), witnesses.get(number))
        check_profiles(settings.changelog, number, opened_state(state, offline.sealer))
        for name, value in state.items():
            yield Stored(number, name, value)
        if position is not None:
            yield Placed(number, positions.encode(position))
        for chunk in offline.read(settings.profile_events, number, 0 if position is None else position.offset + 1):
            for message in chunk:
                yield Unfolded(number, message.key(), message.value())
    yield from _not_taken(offline)


def _not_taken(offline: Offline) -> Iterator[Raw]:
    """Records of the sources that have made neither a record of the log nor a dead letter."""
    settings, cluster = offline.settings, offline.cluster
    table = ProgressTable(offline.kafka, settings.ingest_progress, cluster.partitions[settings.ingest_progress], settings.app)
    progress = table.read()
    starts: dict[str, int] = {}
    rest: dict[str, list[tuple[str, Message]]] = {}
    for source in settings.sources:
        committed = offline.committed(source.topic)
        for number in range(cluster.partitions[source.topic]):
            name = source_name(cluster.topic_ids[source.topic], number)
            known = progress.get(name)
            starts[name] = max(committed.get(number, 0), 0 if known is None else known.done)
            chunks = offline.read(source.topic, number, starts[name])
            rest[name] = [(source.topic, message) for chunk in chunks for message in chunk]
    made = _made(offline, starts) if any(rest.values()) else set()
    for name, messages in rest.items():
        for topic, message in messages:
            if (name, message.offset()) not in made:
                headers = [(key, _bytes(value)) for key, value in message.headers() or ()]
                yield Raw(topic, message.key(), message.value(), headers, message.timestamp()[1])


class _Origin(msgspec.Struct):
    source: str = ""
    offset: int = -1


def _made(offline: Offline, starts: Mapping[str, int]) -> set[tuple[str, int]]:
    """Origins, from these offsets on, that are in the log or among the dead letters: a worker was killed behind them."""
    settings, made = offline.settings, set()
    decode = msgspec.json.Decoder(_Origin).decode
    for number in range(offline.partitions):
        for chunk in offline.read(settings.profile_events, number):
            for record in offline.opened(chunk):
                try:
                    origin = decode(b"" if record is None else record[1])
                except (msgspec.MsgspecError, ValueError):
                    continue  # a record that the fold has refused
                if origin.offset >= starts.get(origin.source, 1 << 62):
                    made.add((origin.source, origin.offset))
    for number in range(offline.cluster.partitions[settings.events_dlq]):
        for chunk in offline.read(settings.events_dlq, number):
            for message in chunk:
                source, _, offset = (message.key() or b"").decode("utf-8", "replace").rpartition("/")
                if source in starts and offset.isdigit():
                    made.add((source, int(offset)))
    return made


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


# ---- putting one back ------------------------------------------------------------------------------------------------


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
