"""A small JSON file of things that secrets open, kept by hash: changes are atomic and wait for each other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rtcdp.errors import SettingError

T = TypeVar("T")


class SecretFile(Generic[T]):
    """Entries of one type in a file that its owner alone can read.

    path:    of the file. setting: that names it, for messages.
    entry:   their type.
    """

    def __init__(self, path: Path, setting: str, entry: type[T]) -> None:
        self.path = path
        self._setting = setting
        self._entries = list[entry]  # type: ignore[valid-type]  # a type made at run time, for the decoder

    def read(self) -> list[T]:
        """All entries, in the order they were added; none where there is no file yet. Raises SettingError."""
        try:
            found: list[T] = msgspec.json.decode(self.path.read_bytes(), type=self._entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingError(f"{self._setting}: {self.path} cannot be read ({error.strerror})") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingError(f"{self._setting}: {self.path} is not what it should be ({error})") from None
        return found

    def write(self, entries: Sequence[T]) -> None:
        """Replace the file by these entries, at once. Raises SettingError where it cannot be written."""
        text = msgspec.json.format(msgspec.json.encode(list(entries)), indent=2) + b"\n"
        number, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # readable by the owner alone
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(number)
            Path(name).replace(self.path)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise SettingError(f"{self._setting}: {self.path} cannot be written ({error.strerror})") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile. Raises SettingError where its folder cannot be written."""
        try:
            number = os.open(self.path.parent / f".{self.path.name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise SettingError(f"{self._setting}: {self.path} cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)

    def state(self) -> object:
        """Something that differs once the file has changed."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def hash_of(secret: bytes) -> str:
    """What is kept of a secret: SHA-256, hex. The secrets are long and random, so nothing slower is needed."""
    return hashlib.sha256(secret).hexdigest()
