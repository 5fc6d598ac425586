"""Write keys: who may send, and as which source. Their file holds hashes, never a key.

A write key is a public identifier in a web page and a secret on a server; either way it only lets somebody send. It names a
source (`web`, `ios`, `crm`), and by the source's topic the tenant that its events belong to. A source has at most two active
keys, so that one can be replaced while senders still use the other.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rtcdp.errors import SettingError
from rtcdp.serving.secret_file import SecretFile, hash_of

logger = logging.getLogger(__name__)

ACTIVE_PER_SOURCE = 2
SHORTEST = 16
"""Characters of the shortest key that may be taken over from elsewhere: a hash of less could be guessed."""
LONGEST = 256
SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class WriteKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a write key.

    id:      names it in lists and metrics: the first digits of its hash.
    source:  who sends with it.
    topic:   where its events go, one of the setting `sources`.
    hash:    SHA-256 of the key, hex. A key is long and random (`SHORTEST`), so nothing slower is needed.
    created, revoked: RFC 3339; revoked is empty while it is active.
    server:  the sender is a server: the connection's address and user agent are not a user's, and are not taken.
    rate:    events per second, instead of the setting `collector_rate`; 0: any number.
    """

    id: str
    source: str
    topic: str
    hash: str
    created: str
    revoked: str = ""
    server: bool = False
    rate: int | None = None


class KeyFile:
    """The file of write keys. Every change is one atomic replacement, and changes wait for each other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SecretFile(path, "collector_keys", WriteKey)

    def read(self) -> list[WriteKey]:
        """All keys, revoked ones too, in the order they were added; none where there is no file yet.

        Raises SettingError where it cannot be read.
        """
        return self._file.read()

    def state(self) -> object:
        """Something that differs once the file has changed."""
        return self._file.state()

    def add(
        self, source: str, topic: str, *, server: bool = False, rate: int | None = None, known: str = ""
    ) -> tuple[WriteKey, str]:
        """A new active key of a source, and its text: it is shown once and kept nowhere.

        known: take this text over (from another system, whose senders cannot all be changed) instead of a new one.

        Raises SettingError where the source has two active keys, or a name or `known` cannot be used.
        """
        if not SOURCE.fullmatch(source):
            raise SettingError(f"source: {source!r} is no name (letters, digits, `.`, `_`, `-`; at most 64)")
        if known and not (SHORTEST <= len(known) <= LONGEST and known.isascii() and known.isprintable() and ":" not in known):
            raise SettingError(f"key: must be {SHORTEST} to {LONGEST} printable ASCII characters without `:`")
        text = known or secrets.token_urlsafe(24)
        with self._file.locked():
            keys = self.read()
            digest = hash_of(text.encode())
            active = [key for key in keys if key.source == source and not key.revoked]
            if any(key.hash == digest for key in keys):
                raise SettingError("key: this key is known already; a revoked one cannot come back")
            if len(active) >= ACTIVE_PER_SOURCE:
                raise SettingError(f"source: {source} has two active keys; revoke one first: {active[0].id}, {active[1].id}")
            made = WriteKey(id=digest[:12], source=source, topic=topic, hash=digest, created=_now(), server=server, rate=rate)
            self._file.write([*keys, made])
        return made, text

    def revoke(self, key_id: str) -> WriteKey:
        """End a key: a running collector refuses it within two seconds.

        Raises SettingError where no active key has this id.
        """
        with self._file.locked():
            keys = self.read()
            found = [key for key in keys if key.id == key_id and not key.revoked]
            if not found:
                raise SettingError(f"id: there is no active key {key_id!r} in {self.path}")
            revoked = msgspec.structs.replace(found[0], revoked=_now())
            self._file.write([revoked if key is found[0] else key for key in keys])
        return revoked


class KeyRing:
    """The active keys, as a running collector asks for them.

    topics: those that keys may name.

    Raises SettingError where the file cannot be read or a key names another topic.
    """

    def __init__(self, path: Path, topics: Sequence[str]) -> None:
        self._file = KeyFile(path)
        self._topics = frozenset(topics)
        self._seen: object = None
        self._active: dict[str, WriteKey] = {}
        self.reload()

    def __len__(self) -> int:
        return len(self._active)

    def find(self, key: bytes) -> WriteKey | None:
        """The active key with this text. Looked up by its hash, so that the time it takes tells nothing about others."""
        return self._active.get(hash_of(key))

    def reload(self) -> bool:
        """Read the file where it has changed; returns whether it had. Keeps what it knows where that raises SettingError."""
        seen = self._file.state()
        if seen == self._seen:
            return False
        active = {key.hash: key for key in self._file.read() if not key.revoked}
        for key in active.values():
            if key.topic not in self._topics:
                raise SettingError(
                    f"collector_keys: key {key.id} of {key.source} names the topic {key.topic}, which is no source"
                )
        self._active, self._seen = active, seen
        return True


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
