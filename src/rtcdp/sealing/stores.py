"""Where data keys are kept, outside the log: a SQLite file for one machine, or a Redis of its own for several.

A person's entry, under the keyed hash of the profile key: the current data key, those retired by an erasure and not yet
destroyed, and what was destroyed. Keys are wrapped: the store alone opens nothing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from rtcdp.errors import RtcdpError, SettingError

ID_BYTES = 8
ROOT = b"root"
MANY = 500
SQLITE_WAIT_S = 5.0


class KeysAway(RtcdpError):
    """The key store does not answer: wait and ask again, nothing is lost meanwhile."""


class Keyring(msgspec.Struct):
    """What the store has of one person.

    current: id and wrapped data key for what is written from now on; None: there is none.
    retired: id -> wrapped key, of what was written before an erasure.
    gone:    id -> when that key was destroyed (ms).
    """

    current: tuple[bytes, bytes] | None = None
    retired: dict[bytes, bytes] = {}
    gone: dict[bytes, int] = {}


class KeyStore(Protocol):
    """Keeps wrapped keys. Every method blocks, may be called from any thread, and raises KeysAway."""

    def root(self, proposed: bytes | None) -> bytes | None:
        """What is kept under `ROOT`; where there is nothing, `proposed` is from now on."""

    def replace_root(self, root: bytes) -> None:
        """Keep another one."""

    def find(self, names: Sequence[bytes]) -> list[Keyring]:
        """The keyrings of people, in order; an empty one where nothing is known."""

    def add(self, proposed: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """Make these the current keys (id, wrapped) of people who have none; durable when it returns."""

    def retire(self, names: Iterable[bytes]) -> None:
        """The current keys of these are for reading only from now on."""

    def changes(self, since: int) -> tuple[int, list[bytes]]:
        """Whose keys were retired or destroyed after a count of changes, and that count now. since: -1: only the count."""

    def destroy(self, keys: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """Destroy retired keys, (name, id) each, for good; those that are gone already stay gone. now: ms."""

    def erased(self) -> Iterator[tuple[bytes, int]]:
        """Everybody whose data key was destroyed: name, and when last (ms)."""

    def close(self) -> None:
        """Let it go."""


class SqliteKeys:
    """In a file, for the processes of one machine. What is deleted is overwritten (`secure_delete`).

    Raises SettingError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, timeout=SQLITE_WAIT_S, check_same_thread=False, isolation_level=None)
            for pragma in ("secure_delete=ON", "journal_mode=WAL", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {pragma}")
            for table in (
                "changes (number INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL)",
                "root (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL)",
                "current (name BLOB PRIMARY KEY, id BLOB NOT NULL, key BLOB NOT NULL) WITHOUT ROWID",
                "retired (name BLOB, id BLOB, key BLOB NOT NULL, PRIMARY KEY (name, id)) WITHOUT ROWID",
                "gone (name BLOB, id BLOB, at INTEGER NOT NULL, PRIMARY KEY (name, id)) WITHOUT ROWID",
            ):
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        except (OSError, sqlite3.Error) as error:
            raise SettingError(f"keys_file: {path} cannot be used ({error})") from None

    def root(self, proposed: bytes | None) -> bytes | None:
        """As `KeyStore`."""
        with self._writing() as db:
            if proposed is not None:
                db.execute("INSERT OR IGNORE INTO root VALUES (1, ?)", (proposed,))
            found = db.execute("SELECT value FROM root").fetchone()
        return None if found is None else found[0]

    def replace_root(self, root: bytes) -> None:
        """As `KeyStore`."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO root VALUES (1, ?)", (root,))
        self._forget_pages()

    def find(self, names: Sequence[bytes]) -> list[Keyring]:
        """As `KeyStore`."""
        rings = {name: Keyring(None, {}, {}) for name in names}
        with self._asking() as db:
            erased = db.execute("SELECT EXISTS (SELECT 1 FROM changes)").fetchone()[0]
            rest = iter(rings)
            while some := tuple(islice(rest, MANY)):
                marks = ",".join("?" * len(some))
                for name, key_id, key in db.execute(f"SELECT name, id, key FROM current WHERE name IN ({marks})", some):  # noqa: S608 # marks only
                    rings[name].current = key_id, key
                if not erased:
                    continue
                for name, key_id, key in db.execute(f"SELECT name, id, key FROM retired WHERE name IN ({marks})", some):  # noqa: S608 # marks only
                    rings[name].retired[key_id] = key
                for name, key_id, at in db.execute(f"SELECT name, id, at FROM gone WHERE name IN ({marks})", some):  # noqa: S608 # marks only
                    rings[name].gone[key_id] = at
        return [rings[name] for name in names]

    def add(self, proposed: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """As `KeyStore`."""
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO current VALUES (?, ?, ?)", ((name, *key) for name, key in proposed.items()))

    def retire(self, names: Iterable[bytes]) -> None:
        """As `KeyStore`."""
        with self._writing() as db:
            for name in names:
                db.execute("INSERT OR IGNORE INTO retired SELECT name, id, key FROM current WHERE name = ?", (name,))
                db.execute("DELETE FROM current WHERE name = ?", (name,))
                db.execute("INSERT INTO changes (name) VALUES (?)", (name,))

    def changes(self, since: int) -> tuple[int, list[bytes]]:
        """As `KeyStore`."""
        with self._asking() as db:
            if since < 0:
                return db.execute("SELECT COALESCE(MAX(number), 0) FROM changes").fetchone()[0], []
            found = db.execute("SELECT number, name FROM changes WHERE number > ? ORDER BY number", (since,)).fetchall()
        return (found[-1][0] if found else since), [name for _, name in found]

    def destroy(self, keys: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """As `KeyStore`."""
        keys = list(keys)
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO gone VALUES (?, ?, ?)", ((*key, now) for key in keys))
            db.executemany("INSERT INTO changes (name) VALUES (?)", ((name,) for name, _ in keys))
            for table in ("current", "retired"):
                db.executemany(f"DELETE FROM {table} WHERE name = ? AND id = ?", keys)  # noqa: S608 # one of two names
        self._forget_pages()

    def erased(self) -> Iterator[tuple[bytes, int]]:
        """As `KeyStore`."""
        with self._asking() as db:
            found = db.execute("SELECT name, MAX(at) FROM gone GROUP BY name").fetchall()
        yield from found

    def close(self) -> None:
        """As `KeyStore`."""
        with self._lock:
            self._db.close()

    def _forget_pages(self) -> None:
        """Bring the write-ahead log home and empty it: it has pages as they were before."""
        with self._asking() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise KeysAway(f"the key store {self._path} does not answer: {error}") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._asking() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
