"""Sealing and opening records: true profile key and value inside, a keyed hash of the key outside.

Wire form of a sealed value: `SEALED`, 8 bytes id of the data key, 12 bytes nonce, AES-256-GCM of (2 bytes length of the key,
key, value), bound to the outer key. A half-sealed one begins with `HALF` and has, after the nonce, 4 bytes length of the
sealed part, that part, and a value in the clear that is what is left when the key is gone: an erasure, for example.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from threading import Lock

import msgspec
from aiokafka.partitioner import murmur2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rtcdp.errors import ClusterError, SettingError
from rtcdp.records import Erase, encode
from rtcdp.sealing.master import KEY_BYTES, NONCE_BYTES, Master
from rtcdp.sealing.stores import ID_BYTES, Keyring, KeysAway, KeyStore

SEALED = b"\xe5\x01"
HALF = b"\xe5\x02"
"""No JSON begins with these bytes, and no profile: the formats of those count from 1."""
NAME_BYTES = 16
ERASE = b'{"kind":"erase",'
"""How a record of an erasure begins."""
RESERVED = b"~"
"""Keys that begin so belong to a partition and are not sealed: ticks, switches, positions, marks of erasures."""
ERASED = b"~erased/"
"""Before the name of a person whose key is gone, in place of the profile key."""
KEPT_S = 15.0
"""How long a data key is used without asking the store again: within that time every process learns of an erasure."""
MOST = 200_000
"""Most people whose keys are held at once."""
HEAD = 2 + ID_BYTES + NONCE_BYTES
OVERHEAD = HEAD + 2 + NAME_BYTES + 16
"""What a sealed record takes beside its key and value (bytes)."""


class Name:
    """What follows from a profile key alone. name: the keyed hash, the Kafka key; partition: murmur2 of the true key."""

    __slots__ = ("name", "partition")

    def __init__(self, name: bytes, partition: int) -> None:
        self.name = name
        self.partition = partition


class _Ring:
    """Opened keys of a person. keys: id -> cipher. current: id and cipher to seal with, or None. until: asked again then."""

    __slots__ = ("current", "gone", "keys", "until")

    def __init__(
        self, current: tuple[bytes, AESGCM] | None, keys: dict[bytes, AESGCM], gone: frozenset[bytes], until: float
    ) -> None:
        self.current = current
        self.keys = keys
        self.gone = gone
        self.until = until


class Root:
    """What a key store rests on. wrapping: wraps data keys; naming: keys the hash of profile keys; id: of the store."""

    BYTES = 2 * KEY_BYTES + NAME_BYTES

    def __init__(self, secret: bytes) -> None:
        if len(secret) != self.BYTES:
            raise SettingError("the key store holds something else than it should")
        self.wrapping = AESGCM(secret[:KEY_BYTES])
        self.naming = secret[KEY_BYTES : 2 * KEY_BYTES]
        self.id = secret[2 * KEY_BYTES :].hex()


def open_root(store: KeyStore, master: Master, *, create: bool) -> Root:
    """The root of a key store, made where there is none and `create` says so.

    Raises SettingError where the master key is another one or the store is empty, KeysAway.
    """
    wrapped = store.root(None)
    if wrapped is None and create:
        wrapped = store.root(master.wrap(os.urandom(Root.BYTES)))
    if wrapped is None:
        raise SettingError("the key store is empty: has a worker with encryption run here?")
    return Root(master.unwrap(wrapped))


def rotate(store: KeyStore, old: Master, new: Master) -> None:
    """Let another master key open the store. Raises SettingError where the old one does not, KeysAway."""
    wrapped = store.root(None)
    if wrapped is None:
        raise SettingError("the key store is empty")
    store.replace_root(new.wrap(old.unwrap(wrapped)))


class Sealer:
    """Seals and opens. `prepare` and `open_all` ask the store, once a call; what they fetched is held for `KEPT_S`.

    Thread-safe. partitions: of `profile-events` and the changelog.
    """

    def __init__(self, store: KeyStore, root: Root, partitions: int) -> None:
        self.store = store
        self.id = root.id
        self._wrapping = root.wrapping
        self._naming = root.naming
        self._partitions = partitions
        self._names: dict[bytes, Name] = {}
        self._rings: dict[bytes, _Ring] = {}
        self._lock = Lock()
        self._swept = time.monotonic()

    # ---- names ----

    def name(self, key: bytes) -> Name:
        """The name of a profile key, and its partition."""
        found = self._names.get(key)
        if found is None:
            if len(self._names) >= MOST:
                self._names.clear()
            name = blake2b(key, key=self._naming, digest_size=NAME_BYTES).digest()
            found = self._names[key] = Name(name, int(murmur2(key) & 0x7FFFFFFF) % self._partitions)
        return found

    # ---- sealing ----

    def prepare(self, keys: Iterable[bytes]) -> None:
        """Have a data key for each of these profile keys, made where there is none. Raises KeysAway."""
        if wanted := self.wanted(keys):
            self.fetch(wanted)

    def wanted(self, keys: Iterable[bytes]) -> list[bytes]:
        """The names that `fetch` has to be called for before these profile keys can be sealed for."""
        now, rings, names = time.monotonic(), self._rings, self._names
        found = []
        for key in set(keys):
            if not key.startswith(RESERVED):
                name = (names.get(key) or self.name(key)).name
                ring = rings.get(name)
                if ring is None or ring.until < now or ring.current is None:
                    found.append(name)
        return found

    def fetch(self, names: Sequence[bytes], *, make: bool = True) -> None:
        """Ask the store for people's keys; make them where there are none. Raises KeysAway."""
        found = self.store.find(names)
        new = [name for name, ring in zip(names, found, strict=True) if ring.current is None] if make else []
        if new:
            self.store.add({name: self._new_key(name) for name in new})
            made = dict(zip(new, self.store.find(new), strict=True))
            found = [made.get(name, ring) for name, ring in zip(names, found, strict=True)]
        self._hold(names, found)

    def seal(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """The outer key and the sealed value. `prepare` must have been called for this key, shortly before."""
        name = (self._names.get(key) or self.name(key)).name
        key_id, cipher = self._current(name, key)
        nonce = os.urandom(NONCE_BYTES)
        inner = len(key).to_bytes(2, "big") + key + value
        return name, b"".join((SEALED, key_id, nonce, cipher.encrypt(nonce, inner, name)))

    def seal_record(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """As `seal`, for a record of the log: of an erasure stays readable when it was, and what was asked for."""
        if value.startswith(ERASE):
            found = msgspec.json.decode(value, type=Erase)
            kept = {name: getattr(found, name) for name in ("id", "at", "received", "source", "offset", "simulated")}
            return self.seal_half(key, value, encode(Erase(**kept)))
        return self.seal(key, value)

    def seal_half(self, key: bytes, value: bytes, clear: bytes) -> tuple[bytes, bytes]:
        """As `seal`, with a value that stays readable when the data key is gone."""
        name = self.name(key).name
        key_id, cipher = self._current(name, key)
        nonce = os.urandom(NONCE_BYTES)
        inner = len(key).to_bytes(2, "big") + key + value
        sealed = cipher.encrypt(nonce, inner, name + clear)
        return name, b"".join((HALF, key_id, nonce, len(sealed).to_bytes(4, "big"), sealed, clear))

    def _current(self, name: bytes, key: bytes) -> tuple[bytes, AESGCM]:
        """What to seal with. `prepare` has seen to it, unless an erasure has come in between."""
        ring = self._rings.get(name)
        while ring is None or ring.current is None:
            self.prepare((key,))
            ring = self._rings.get(name)
        return ring.current

    # ---- opening ----

    def open_all(self, records: Sequence[tuple[bytes | None, bytes | None]]) -> list[tuple[bytes, bytes] | None]:
        """True keys and values of records as they lie in Kafka: (key, value) each. What is not sealed stays as it is.

        None where the data key was destroyed: that person was erased. Of a half-sealed record then its clear value, under
        `ERASED` and the name. A tombstone is of a name that nobody can tell: None as well.

        Raises KeysAway, and ClusterError where a record is damaged or the store has lost its key.
        """
        if wanted := self.unknown(records):
            self.fetch(wanted, make=False)
        return [self._open(key, value) for key, value in records]

    def unknown(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> list[bytes]:
        """The names whose keys have to be asked for before these records can be opened."""
        sealed = (SEALED, HALF)
        now, rings = time.monotonic(), self._rings
        found: dict[bytes, None] = {}
        for key, value in records:
            if value is not None and key is not None and value.startswith(sealed):
                ring = rings.get(key)
                if ring is None or ring.until < now or value[2 : 2 + ID_BYTES] not in ring.keys:
                    found[key] = None
        return list(found)

    def _open(self, name: bytes | None, value: bytes | None) -> tuple[bytes, bytes] | None:
        if name is None or value is None:
            return None
        kind = value[:2]
        if kind != SEALED and kind != HALF:  # noqa: PLR1714 # twice as fast as a set, once per record
            return name, value
        ring = self._rings.get(name)
        if ring is None:
            self._hold((name,), self.store.find((name,)))
            return self._open(name, value)
        key_id, nonce = value[2 : 2 + ID_BYTES], value[2 + ID_BYTES : HEAD]
        cipher = ring.keys.get(key_id)
        clear, body = b"", value[HEAD:]
        if kind == HALF:
            length = int.from_bytes(body[:4], "big")
            body, clear = body[4 : 4 + length], body[4 + length :]
        if cipher is None:
            if key_id in ring.gone:
                return (ERASED + name.hex().encode(), clear) if kind == HALF else None
            raise ClusterError(
                f"the key store has no key {key_id.hex()} for {name.hex()}, and none was destroyed: "
                "it has lost keys, or is another deployment's; put the right one back"
            )
        try:
            inner = cipher.decrypt(nonce, body, name + clear if kind == HALF else name)
        except InvalidTag:
            raise ClusterError(
                f"a sealed record of {name.hex()} is damaged, or its key is not the one it was sealed with"
            ) from None
        end = 2 + int.from_bytes(inner[:2], "big")
        return inner[2:end], inner[end:]

    # ---- erasing ----

    def retire(self, names: Iterable[bytes]) -> None:
        """What is written of these people from now on gets another key, here at once, elsewhere within `KEPT_S`."""
        names = list(names)
        self.store.retire(names)
        self.forget(names)

    def destroy(self, keys: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """Destroy data keys, (name, id) each. now: ms."""
        keys = list(keys)
        self.store.destroy(keys, now)
        self.forget(name for name, _ in keys)

    def forget(self, names: Iterable[bytes]) -> None:
        """Hold nothing of these people."""
        with self._lock:
            for name in names:
                self._rings.pop(name, None)

    # ---- keys ----

    def _new_key(self, name: bytes) -> tuple[bytes, bytes]:
        nonce = os.urandom(NONCE_BYTES)
        return os.urandom(ID_BYTES), nonce + self._wrapping.encrypt(nonce, os.urandom(KEY_BYTES), name)

    def _hold(self, names: Sequence[bytes], found: Iterable[Keyring]) -> None:
        now = time.monotonic()
        until = now + KEPT_S
        opened = {name: self._opened(name, ring, until) for name, ring in zip(names, found, strict=True)}
        with self._lock:
            if now > self._swept + KEPT_S or len(self._rings) > MOST:
                self._swept = now
                kept = [(name, ring) for name, ring in self._rings.items() if ring.until > now]
                self._rings = dict(kept[-MOST // 2 :])
            self._rings.update(opened)

    def _opened(self, name: bytes, ring: Keyring, until: float) -> _Ring:
        keys = {key_id: self._unwrapped(name, key) for key_id, key in ring.retired.items()}
        current = None
        if ring.current is not None:
            cipher = self._unwrapped(name, ring.current[1])
            current = ring.current[0], cipher
            keys[ring.current[0]] = cipher
        return _Ring(current, keys, frozenset(ring.gone), until)

    def _unwrapped(self, name: bytes, wrapped: bytes) -> AESGCM:
        try:
            return AESGCM(self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name))
        except (InvalidTag, ValueError):
            raise ClusterError(f"the data key of {name.hex()} in the key store is damaged") from None


def opened(records: Sequence[tuple[bytes | None, bytes | None]], sealer: Sealer | None) -> list[tuple[bytes, bytes] | None]:
    """As `Sealer.open_all`; without a sealer whatever is there, as it is.

    Raises ClusterError where something is sealed and no key is at hand, or the key store does not answer.
    """
    if sealer is None:
        if any(value is not None and value.startswith((SEALED, HALF)) for _, value in records):
            raise ClusterError("this deployment's data is encrypted: give its settings (encryption, master_key_file, ...)")
        return [None if key is None or value is None else (key, value) for key, value in records]
    try:
        return sealer.open_all(records)
    except KeysAway as error:
        raise ClusterError(str(error)) from None


def opened_state(state: Mapping[bytes, bytes], sealer: Sealer | None) -> dict[bytes, bytes]:
    """A changelog partition as it was read, opened. Profiles of erased people are not there. Raises as `opened`."""
    return {one[0]: one[1] for one in opened(list(state.items()), sealer) if one is not None and one[1]}


def sealed(entries: Sequence[tuple[bytes, bytes | None]], sealer: Sealer | None) -> list[tuple[bytes, bytes | None]]:
    """Keys and values as they are to lie in Kafka. Raises ClusterError where the key store does not answer."""
    if sealer is None:
        return list(entries)
    try:
        sealer.prepare(key for key, _ in entries)
        return [(key, value) if key.startswith(RESERVED) else sealer.seal_record(key, value or b"") for key, value in entries]
    except KeysAway as error:
        raise ClusterError(str(error)) from None
