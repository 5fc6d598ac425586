"""Where a replay's events come from: JSON lines, CSV with a column mapping, or a recorded `profile-events` log.

Files ending in `.gz` are decompressed on the way; the path `-` is standard input.
"""

from __future__ import annotations

import binascii
import csv
import gzip
import io
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import orjson

from rtcdp.errors import SettingError
from rtcdp.sealing.sealer import Sealer, opened

ROW_DIGITS = 9  # wide enough that row numbers sort as text in the order of the rows
ROW = "@row"
_REST = "*"
MANY = 10_000
Opened = tuple[int, int, bytes | None, bytes | None]
_ALIASES = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "message_id": "messageId",
    "received_at": "receivedAt",
    "sent_at": "sentAt",
}
_ROOTS = (
    "timestamp",
    "receivedAt",
    "sentAt",
    "userId",
    "anonymousId",
    "messageId",
    "type",
    "event",
    "channel",
    "properties",
    "traits",
    "context",
)


class LogRecord(msgspec.Struct, frozen=True):
    """A record of a recorded `profile-events` log; one JSON object per line.

    key, value: as text, None for a null. base64: they are base64, since they are sealed and no text.
    """

    partition: int
    offset: int
    key: str | None
    value: str | None
    base64: bool = False

    @classmethod
    def of(cls, partition: int, offset: int, key: bytes | None, value: bytes | None) -> LogRecord:
        """A record as it lies in Kafka."""
        try:
            return cls(partition, offset, None if key is None else key.decode(), None if value is None else value.decode())
        except UnicodeDecodeError:
            return cls(partition, offset, _in_base64(key), _in_base64(value), base64=True)

    @property
    def pair(self) -> tuple[bytes | None, bytes | None]:
        """Key and value as they lie in Kafka. Raises SettingError where they are no base64."""
        read = _of_base64 if self.base64 else str.encode
        return None if self.key is None else read(self.key), None if self.value is None else read(self.value)


def json_lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file of events, as they are; empty lines are skipped."""
    for line in stream:
        value = line.rstrip(b"\r\n")
        if value:
            yield value


def open_bytes(path: str) -> IO[bytes]:
    """A file or `-` for reading bytes, decompressed where the name ends in `.gz`. Raises SettingError."""
    if path == "-":
        return sys.stdin.buffer
    try:
        if path.endswith(".gz"):
            return cast("IO[bytes]", gzip.open(path, "rb"))
        return Path(path).open("rb")
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror})") from None


def is_csv(path: str) -> bool:
    """Whether the name says CSV (`.csv`, `.csv.gz`)."""
    return path.removesuffix(".gz").endswith(".csv")


# CSV


class Mapping(NamedTuple):
    """Where one field of an event comes from. path: `("properties", "price")`; take: its value in a row, None for none."""

    path: tuple[str, ...]
    take: Callable[[dict[str, str]], Any]


def parse_mapping(text: str, columns: Iterable[str]) -> list[Mapping]:
    """A column mapping: `FIELD=SOURCE,FIELD=SOURCE,...`.

    FIELD:  a place in a Segment event (`userId` or `user_id`, `event`, `timestamp`, `properties.price`, ...), with
            `:number` or `:boolean` behind it where the text is to become one.
    SOURCE: a column, `@row` (the zero-padded row number, from 1), or a constant in single quotes. `properties=*`
            takes every column that nothing else names.
    columns: the header of the file.

    Raises SettingError for an unknown field or column.
    """
    known = list(columns)
    pairs = [_pair(part) for part in text.split(",") if part.strip()]
    named = {source for _, source in pairs}
    mappings: list[Mapping] = []
    for field, source in pairs:
        if source == _REST:
            rest = [column for column in known if column not in named]
            mappings += [Mapping((*_path(field)[0], column), _column(column, "")) for column in rest]
            continue
        path, kind = _path(field)
        mappings.append(Mapping(path, _source(source, kind, known)))
    if not any(mapping.path == ("type",) for mapping in mappings):
        mappings.insert(0, Mapping(("type",), _constant("track")))
    return mappings


def csv_events(stream: IO[bytes], mapping: str) -> Iterator[bytes]:
    """The rows of a CSV file as events (Segment JSON), by a mapping as `parse_mapping` reads it.

    An empty cell leaves its field out. A time without a zone is UTC, as everywhere.
    """
    reader = csv.DictReader(io.TextIOWrapper(stream, "utf-8", newline=""))
    mappings = parse_mapping(mapping, reader.fieldnames or ())
    for number, row in enumerate(reader, 1):
        row[ROW] = f"{number:0{ROW_DIGITS}d}"
        event: dict[str, Any] = {}
        for path, take in mappings:
            value = take(row)
            if value is None:
                continue
            place = event
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
        yield orjson.dumps(event)


def _pair(part: str) -> tuple[str, str]:
    field, sign, source = part.strip().partition("=")
    if not sign or not field or not source:
        raise SettingError(f"--map: {part!r} is not FIELD=SOURCE")
    return field, source


def _path(field: str) -> tuple[tuple[str, ...], str]:
    name, _, kind = field.partition(":")
    if kind not in ("", "number", "boolean"):
        raise SettingError(f"--map: {kind!r} in {field!r} is neither number nor boolean")
    first, *others = name.split(".")
    first = _ALIASES.get(first, first)
    if first not in _ROOTS:
        raise SettingError(f"--map: an event has no field {first!r}; it has {', '.join(_ROOTS)}")
    return (first, *others), kind


def _source(source: str, kind: str, columns: list[str]) -> Callable[[dict[str, str]], Any]:
    if len(source) >= 2 and source[0] == source[-1] == "'":
        return _constant(source[1:-1])
    if source != ROW and source not in columns:
        raise SettingError(f"--map: the file has no column {source!r}; it has {', '.join(columns)}")
    return _column(source, kind)


def _constant(value: str) -> Callable[[dict[str, str]], Any]:
    def take(_row: dict[str, str]) -> Any:
        return value

    return take


def _column(column: str, kind: str) -> Callable[[dict[str, str]], Any]:
    def take(row: dict[str, str]) -> Any:
        cell = row.get(column)
        return _converted(cell, kind) if cell else None

    return take


def _converted(cell: str, kind: str) -> Any:
    if kind == "number":
        try:
            return int(cell) if cell.lstrip("-").isdigit() else float(cell)
        except ValueError:
            return cell  # not a number: the cleaner and the tracking plan have their say
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(cell.lower(), cell)
    return cell


# A recorded log


def _in_base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _of_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise SettingError(f"{text[:40]!r} is no base64") from None


_read_record = msgspec.json.Decoder(LogRecord).decode
write_record = msgspec.json.Encoder().encode


def opened_log(log: Iterable[LogRecord], sealer: Sealer | None, left_out: Counter[str]) -> Iterator[Opened]:
    """Partition, offset, key and value of each record, opened where it is sealed.

    left_out: counts, as `erased`, what no key opens any more.

    Raises ClusterError where something is sealed and `sealer` is None.
    """
    rest = iter(log)
    while some := list(islice(rest, MANY)):
        pairs = [record.pair for record in some]
        for record, pair, one in zip(some, pairs, opened(pairs, sealer), strict=True):
            if one is None and None not in pair:
                left_out["erased"] += 1
            else:
                yield (record.partition, record.offset, *(one or pair))


def log_records(stream: Iterable[bytes]) -> Iterator[LogRecord]:
    """The records of a recorded `profile-events` log, in the order of the file. Raises SettingError."""
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield _read_record(line)
            except msgspec.DecodeError as error:
                raise SettingError(f"line {number} is no recorded log record: {error}") from None
