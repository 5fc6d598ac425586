"""Where the profiles of a partition are kept: in memory, or in RocksDB for more of them than memory holds.

A store is a mapping of profile keys to bytes that the fold reads, and changes only in step 4, when a batch is committed.
`adopted` ends that step. What a RocksDB holds is therefore only ever behind its changelog, and says up to where it has come:
an offset of the changelog that is certainly in it. Reading on from there gives the same as reading everything.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from rtcdp.errors import SettingError

if TYPE_CHECKING:
    from rocksdict import Rdict

KEPT_S = 20 * 3_600.0
"""A store older than this is filled anew: compaction may have taken the tombstones (kept 24 h) that it has not seen."""
META = b"\x00meta"
"""No profile key begins with a zero byte."""
WRITE_BYTES = 4 << 20
"""While restoring, so much is gathered before it is written."""


class Store(Protocol):
    """The state of one partition.

    behind: offset of the changelog from which on it has to be read; None: from its beginning.
    """

    behind: int | None

    @property
    def entries(self) -> MutableMapping[bytes, bytes]:
        """Profile key to bytes."""

    def restored(self, offset: int) -> None:
        """The changelog has been read up to before `offset`."""

    def adopted(self, offset: int | None = None) -> None:
        """A batch was taken over. offset: of the changelog, where all before it has been, and the batch lies behind it."""

    def close(self) -> None:
        """Let it go."""


class MemoryStore:
    """In memory: fast, and filled anew at every takeover.

    entries: what is there already, as far as `behind`.
    """

    def __init__(self, entries: dict[bytes, bytes] | None = None, behind: int | None = None) -> None:
        self.entries: dict[bytes, bytes] = {} if entries is None else entries
        self.behind = behind

    def restored(self, offset: int) -> None:
        """As `Store`."""
        self.behind = offset

    def adopted(self, offset: int | None = None) -> None:
        """As `Store`."""

    def close(self) -> None:
        """As `Store`."""


class Meta(msgspec.Struct):
    """What a RocksDB says of itself. changelog: topic id and partition; offset: up to before which it has everything."""

    changelog: str
    offset: int
    at: float


class RocksStore(MutableMapping[bytes, bytes]):
    """In a RocksDB under a folder, one batch one write.

    folder:    of this partition and this process; made where it is missing.
    changelog: `<topic id>/<partition>`: what lies there for another one is thrown away.

    Raises SettingError where the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, changelog: str) -> None:
        self._changelog = changelog
        self._folder = folder
        self._dirty: dict[bytes, bytes | None] = {}
        self._dirty_bytes = 0
        self._db = self._open()
        meta = self._meta()
        if meta is None or meta.changelog != changelog or not 0 <= time() - meta.at < KEPT_S:
            self._db.close()
            shutil.rmtree(folder, ignore_errors=True)
            self._db, meta = self._open(), None
        self.behind: int | None = None if meta is None else meta.offset
        self._count = sum(1 for key in self._db.keys() if key != META)  # noqa: SIM118 # no mapping

    @property
    def entries(self) -> MutableMapping[bytes, bytes]:
        """As `Store`."""
        return self

    def restored(self, offset: int) -> None:
        """As `Store`: written. `behind` stays: at the next start the position must be read again, which is no part of this."""
        self._write()

    def adopted(self, offset: int | None = None) -> None:
        """As `Store`: one write, which is there whole or not at all."""
        if offset is not None:
            self.behind = offset
        self._write()

    def close(self) -> None:
        """As `Store`."""
        self._db.close()

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: bytes, default: Any = None) -> Any:  # one look-up instead of two
        """The value of a key."""
        value = self._dirty[key] if key in self._dirty else self._db.get(key)
        return default if value is None else value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._count += self.get(key) is None
        self._put(key, value)

    def __delitem__(self, key: bytes) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._count -= 1
        self._put(key, None)

    def __iter__(self) -> Iterator[bytes]:
        for key, _ in self._pairs():
            yield key

    def items(self) -> Any:
        """Keys and values, in one pass."""
        return self._pairs()

    def __len__(self) -> int:
        return self._count

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        dirty = dict(self._dirty)
        stored: Any = self._db.items()
        for key, value in stored:
            if key != META and key not in dirty:
                yield key, value
        for key, changed in dirty.items():
            if changed is not None:
                yield key, changed

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._dirty[key] = value
        self._dirty_bytes += len(key) + len(value or b"")
        if self._dirty_bytes > WRITE_BYTES:
            self._write()

    def _open(self) -> Rdict:
        try:
            from rocksdict import Options, Rdict  # noqa: PLC0415 # an extra that few installations have
        except ImportError:
            raise SettingError("store: rocksdb needs the package rocksdict (pip install 'rtcdp[rocksdb]')") from None
        options = Options(raw_mode=True)
        options.create_if_missing(True)  # noqa: FBT003 # as the library has it
        options.set_max_background_jobs(2)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(self._folder), options)
        except Exception as error:  # rocksdict has no class of its own for it
            raise SettingError(f"state_dir: the store in {self._folder} cannot be opened: {error}") from error

    def _meta(self) -> Meta | None:
        found = self._db.get(META)
        try:
            return None if found is None else msgspec.msgpack.decode(found, type=Meta)
        except (msgspec.MsgspecError, ValueError):
            return None

    def _write(self) -> None:
        from rocksdict import WriteBatch  # noqa: PLC0415 # as above

        batch = WriteBatch(raw_mode=True)
        for key, value in self._dirty.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if self.behind is not None:
            batch.put(META, msgspec.msgpack.encode(Meta(self._changelog, self.behind, time())))
        try:
            self._db.write(batch)
        except Exception as error:  # rocksdict has no class of its own for it
            raise SettingError(f"state_dir: the store in {self._folder} cannot be written: {error}") from error
        self._dirty.clear()
        self._dirty_bytes = 0
