"""The file of a backup: gzipped msgpack, one array per entry, its kind first; the last counts them, so that half is refused."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from rtcdp.errors import SettingError

FORMAT = 1


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
