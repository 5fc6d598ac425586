"""`rtcdp backup`: a stopped deployment as one file.

Offsets and topic ids are other ones elsewhere. So the file holds what they stand for: the profiles, what of the log was not
yet folded, what of the sources had not yet made its record, and of each position everything but its offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Message

from rtcdp import position as positions
from rtcdp.control.versions import CURRENT
from rtcdp.position import POSITION_KEY
from rtcdp.sealing.sealer import opened_state
from rtcdp.servers.cluster import source_name
from rtcdp.settings.config import Settings
from rtcdp.transport.restore import restore as read_changelog
from rtcdp.worker.ingest.progress import ProgressTable
from rtcdp.worker.layout import layout_of
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
    write_file,
)
from rtcdp.worker.offline.deployment import CURRENT_KEYS, Offline
from rtcdp.worker.profiles.changelog import Changelog, check_profiles


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
