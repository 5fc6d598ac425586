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
from typing import TypeVar

import msgspec
from aiokafka.partitioner import murmur2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rtcdp.errors import ClusterError, SettingError
from rtcdp.records import Erase, encode
from rtcdp.sealing.held import MOST, Held, Ring, Sealing
from rtcdp.sealing.master import KEY_BYTES, NONCE_BYTES, Master
from rtcdp.sealing.stores import ID_BYTES, Keyring, KeysAway, KeyStore

SEALED = b"\xe5\x01"
HALF = b"\xe5\x02"
"""No JSON begins with these bytes, and no profile: the formats of those count from 1."""
NAME_BYTES = 16
NOBODY = b""
"""A name that nobody has."""
ERASE = b'{"kind":"erase",'
"""How a record of an erasure begins."""
RESERVED = b"~"
"""Keys that begin so belong to a partition and are not sealed: ticks, switches, positions, marks of erasures."""
ERASED = b"~erased/"
"""Before the name of a person whose key is gone, in place of the profile key."""
POLL_S = 1.0
"""So often the store is asked for erasures, while there is work."""
KEPT_S = 5.0
"""Within that time every process that writes has learned of an erasure, or waits for the store."""
MANY = 20_000
"""So many records are opened at a time: those of a whole partition are of more people than are held at once."""
KEY_ENDS = 2 + ID_BYTES
HEAD = KEY_ENDS + NONCE_BYTES
OVERHEAD = HEAD + 2 + NAME_BYTES + 16
"""What a sealed record takes beside its key and value (bytes)."""


T = TypeVar("T")
Sealed = tuple[T, bytes | None, bytes | None]
"""A record as it lies in Kafka, with something that stays beside it: its offset, for example."""


class Name:
    """What follows from a profile key alone. name: the keyed hash, the Kafka key. inner: how what is sealed begins."""

    __slots__ = ("_partition", "_partitions", "inner", "name")

    def __init__(self, key: bytes, name: bytes, partitions: int) -> None:
        self.name = name
        self.inner = len(key).to_bytes(2, "big") + key
        self._partitions = partitions
        self._partition = -1

    @property
    def partition(self) -> int:
        """Where murmur2 of the true key puts it; computed when first needed: it takes longer than all the rest."""
        if self._partition < 0:
            self._partition = int(murmur2(self.inner[2:]) & 0x7FFFFFFF) % self._partitions
        return self._partition


_NONE: frozenset[bytes] = frozenset()


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
    """Seals and opens. Keys are asked for once a batch, and held until an erasure; erasures are asked for every `POLL_S`.

    Thread-safe. partitions: of `profile-events` and the changelog.
    """

    def __init__(self, store: KeyStore, root: Root, partitions: int) -> None:
        self.store = store
        self.id = root.id
        self._wrapping = root.wrapping
        self._naming = root.naming
        self._partitions = partitions
        self._names: dict[bytes, Name] = {}
        self._held = Held(SEALED)
        self._polled = 0.0
        self._seen = -1

    # ---- names ----

    def name(self, key: bytes) -> Name:
        """The name of a profile key, and its partition."""
        found = self._names.get(key)
        if found is None:
            if len(self._names) >= MOST:
                self._names.clear()
            name = blake2b(key, key=self._naming, digest_size=NAME_BYTES).digest()
            found = self._names[key] = Name(key, name, self._partitions)
        return found

    # ---- sealing ----

    def prepare(self, keys: Iterable[bytes]) -> None:
        """Have a data key for each of these profile keys, made where there is none. Raises KeysAway."""
        if wanted := self.wanted(keys):
            self.fetch(wanted)

    def wanted(self, keys: Iterable[bytes]) -> list[bytes]:
        """The names that `fetch` has to be called for before these profile keys can be sealed for."""
        rings = self._held.rings
        found = []
        for key in set(keys).difference(self._held.sealing):
            name = self.name(key).name
            ring = rings.get(name)
            if (ring is None or ring.current is None) and not key.startswith(RESERVED):
                found.append(name)
        return found or self.poll()

    def fetch(self, names: Sequence[bytes], *, make: bool = True) -> None:
        """Ask the store for people's keys; make them where there are none. Raises KeysAway."""
        self._learn()
        names = [name for name in names if name != NOBODY]
        while names and not self._fetched(names, make=make):
            pass  # somebody was erased meanwhile: what was found may be of before

    def _fetched(self, names: Sequence[bytes], *, make: bool) -> bool:
        changes = self._held.changes
        found = self.store.find(names)
        new = [name for name, ring in zip(names, found, strict=True) if ring.current is None] if make else []
        if new:
            self.store.add({name: self._new_key(name) for name in new})
            made = dict(zip(new, self.store.find(new), strict=True))
            found = [made.get(name, ring) for name, ring in zip(names, found, strict=True)]
        return self._held.put({name: self._opened(name, ring) for name, ring in zip(names, found, strict=True)}, changes)

    def seal(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """The outer key and the sealed value. `prepare` must have been called for this key, shortly before."""
        return self.seal_all(((key, value),))[0]

    def seal_all(self, entries: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """As `seal`, of many."""
        held = self._held.sealing.get
        nonces, at = os.urandom(NONCE_BYTES * len(entries)), 0
        found = []
        for key, value in entries:
            head, encrypt, name, inner = held(key) or self._sealing(key)
            nonce = nonces[at : at + NONCE_BYTES]
            at += NONCE_BYTES
            found.append((name, head + nonce + encrypt(nonce, inner + value, name)))
        return found

    def seal_record(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """As `seal`, for a record of the log: of an erasure stays readable when it was, and what was asked for."""
        if value.startswith(ERASE):
            found = msgspec.json.decode(value, type=Erase)
            kept = {name: getattr(found, name) for name in ("id", "at", "received", "source", "offset", "simulated")}
            return self.seal_half(key, value, encode(Erase(**kept)))
        return self.seal(key, value)

    def seal_half(self, key: bytes, value: bytes, clear: bytes) -> tuple[bytes, bytes]:
        """As `seal`, with a value that stays readable when the data key is gone."""
        head, encrypt, name, inner = self._sealing(key)
        nonce = os.urandom(NONCE_BYTES)
        sealed = encrypt(nonce, inner + value, name + clear)
        return name, b"".join((HALF, head[len(SEALED) :], nonce, len(sealed).to_bytes(4, "big"), sealed, clear))

    def _sealing(self, key: bytes) -> Sealing:
        """What to seal with. `prepare` has seen to it, unless an erasure has come in between."""
        who = self.name(key)
        while True:
            ring = self._held.rings.get(who.name)
            if ring is not None and ring.current is not None:
                return self._held.seals(who.name, key, who.inner, ring.current)
            self.prepare((key,))

    # ---- opening ----

    def open_all(self, records: Sequence[tuple[bytes | None, bytes | None]]) -> list[tuple[bytes, bytes] | None]:
        """True keys and values of records as they lie in Kafka: (key, value) each. What is not sealed stays as it is.

        None where the data key was destroyed: that person was erased. Of a half-sealed record then its clear value, under
        `ERASED` and the name. A tombstone is of a name that nobody can tell: None as well.

        Raises KeysAway, and ClusterError where a record is damaged or the store has lost its key.
        """
        found: list[tuple[bytes, bytes] | None] = []
        for at in range(0, len(records), MANY):
            some = [(None, key, value) for key, value in records[at : at + MANY]]
            opened, missing = self.open_held(some)
            if names := self.unknown(some, missing):
                self.fetch(names, make=False)
            self.open_rest(some, opened, missing)
            found += [None if one is None or one[1] is None or one[2] is None else (one[1], one[2]) for one in opened]
        return found

    def open_held(self, records: Sequence[Sealed[T]]) -> tuple[list[Sealed[T] | None], list[int]]:
        """As `open_all`, with the keys that are held, of (anything, key, value), where tombstones stay what they are.

        And the places of those that `open_rest` has to open, after `fetch`.
        """
        held = self._held.opening.get
        found: list[Sealed[T] | None] = []
        missing: list[int] = []
        add = found.append
        try:
            for record in records:
                about, name, value = record
                if value is None or name is None:
                    add(record)
                elif how := held(value[:KEY_ENDS]):
                    decrypt, key, start = how
                    add((about, key, decrypt(value[KEY_ENDS:HEAD], value[HEAD:], name)[start:]))
                elif value[:2] == SEALED or value[:2] == HALF:  # twice as fast as a set, once per record
                    missing.append(len(found))
                    add(None)
                else:
                    add(record)
        except InvalidTag:
            raise _damaged(records[len(found)][1] or b"") from None
        return found, missing

    def unknown(self, records: Sequence[Sealed[T]], places: Iterable[int]) -> list[bytes]:
        """The names that `fetch` (`make=False`) has to be called for before the records at these places can be opened."""
        rings = self._held.rings
        found: dict[bytes, None] = {}
        for place in places:
            _, name, value = records[place]
            if name is None or value is None:
                continue
            ring, key_id = rings.get(name), value[2:KEY_ENDS]
            if ring is None or not (key_id in ring.keys or key_id in ring.gone):
                found[name] = None
        return list(found) or self.poll()

    def open_rest(self, records: Sequence[Sealed[T]], found: list[Sealed[T] | None], places: Iterable[int]) -> None:
        """Put what is at these places into `found`. Raises as `open_all`."""
        for place in places:
            about, name, value = records[place]
            if name is not None and value is not None and (opened := self._open(name, value)) is not None:
                found[place] = (about, *opened)

    def _open(self, name: bytes, value: bytes) -> tuple[bytes, bytes] | None:
        """One that is half sealed, or whose key is not there."""
        key_id, nonce, body, clear = value[2:KEY_ENDS], value[KEY_ENDS:HEAD], value[HEAD:], b""
        if half := value[:2] == HALF:
            length = int.from_bytes(body[:4], "big")
            body, clear = body[4 : 4 + length], body[4 + length :]
        while (ring := self._held.rings.get(name)) is None:
            self.fetch((name,), make=False)
        cipher = ring.keys.get(key_id)
        if cipher is None:
            if key_id in ring.gone:
                return (ERASED + name.hex().encode(), clear) if half else None
            raise ClusterError(
                f"the key store has no key {key_id.hex()} for {name.hex()}, and none was destroyed: "
                "it has lost keys, or is another deployment's; put the right one back"
            )
        try:
            inner = cipher.decrypt(nonce, body, name + clear)
        except InvalidTag:
            raise _damaged(name) from None
        end = 2 + int.from_bytes(inner[:2], "big")
        key = inner[2:end]
        self._held.opens(name, key_id, key, cipher)
        return key, inner[end:]

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
        self._held.forget(names)

    # ---- keys ----

    def _new_key(self, name: bytes) -> tuple[bytes, bytes]:
        nonce = os.urandom(NONCE_BYTES)
        return os.urandom(ID_BYTES), nonce + self._wrapping.encrypt(nonce, os.urandom(KEY_BYTES), name)

    def poll(self) -> list[bytes]:
        """What `fetch` is called with where it is time to ask for erasures, and for nothing else."""
        return [NOBODY] if time.monotonic() > self._polled + POLL_S else []

    def _learn(self) -> None:
        """Ask for erasures, and hold nothing of these people."""
        now = time.monotonic()
        if now <= self._polled + POLL_S:
            return
        seen, names = self.store.changes(self._seen)
        self.forget(names)
        self._seen, self._polled = seen, now

    def _opened(self, name: bytes, ring: Keyring) -> Ring:
        keys = {key_id: self._unwrapped(name, key) for key_id, key in ring.retired.items()} if ring.retired else {}
        current = None
        if ring.current is not None:
            key_id, wrapped = ring.current
            current = key_id, self._unwrapped(name, wrapped)
            keys[key_id] = current[1]
        return Ring(current, keys, frozenset(ring.gone) if ring.gone else _NONE)

    def _unwrapped(self, name: bytes, wrapped: bytes) -> AESGCM:
        try:
            return AESGCM(self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name))
        except (InvalidTag, ValueError):
            raise ClusterError(f"the data key of {name.hex()} in the key store is damaged") from None


def _damaged(name: bytes) -> ClusterError:
    return ClusterError(f"a sealed record of {name.hex()} is damaged, or not sealed with the key that it names")


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
