"""Data keys in use: what an event costs is one look-up and one call of the cipher, however many people there are.

`rings` has what the store said of a person. `opening` and `sealing` are made from it on first use, and go with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MOST = 200_000
"""Most people whose keys are held at once."""

Cipher = Callable[[bytes, bytes, bytes], bytes]
"""Encrypts or decrypts: nonce, data, what it is bound to."""
Opening = tuple[Cipher, bytes, int]
"""How a person's records are opened: the cipher, the profile key, where the value begins in what was sealed."""
Sealing = tuple[bytes, Cipher, bytes, bytes]
"""How they are sealed: what the record begins with, the cipher, the name, what is sealed before the value."""


class Ring:
    """Keys of a person. keys: id -> cipher. current: id and cipher to seal with, or None. gone: ids of destroyed ones.

    key: the profile key, once something was sealed for it.
    """

    __slots__ = ("current", "gone", "key", "keys")

    def __init__(self, current: tuple[bytes, AESGCM] | None, keys: dict[bytes, AESGCM], gone: frozenset[bytes]) -> None:
        self.current = current
        self.keys = keys
        self.gone = gone
        self.key: bytes | None = None


class Held:
    """Keys of many people, by name. What changes it is thread-safe, and `opening` and `sealing` may be read meanwhile.

    mark: how what is sealed begins, before the id of its key.
    opening: by how a sealed record begins: mark and id. sealing: by profile key.
    changes: how many erasures were learned of.
    """

    def __init__(self, mark: bytes) -> None:
        self.rings: dict[bytes, Ring] = {}
        self.opening: dict[bytes, Opening] = {}
        self.sealing: dict[bytes, Sealing] = {}
        self.changes = 0
        self._mark = mark
        self._lock = Lock()

    def put(self, rings: Mapping[bytes, Ring], changes: int) -> bool:
        """Hold what the store said. False, and nothing done, where somebody was erased since `changes`."""
        with self._lock:
            if changes != self.changes:
                return False
            if len(self.rings) + len(rings) > MOST:  # the older half goes
                self.rings = dict(list(self.rings.items())[len(rings) + MOST // 2 :])
                self.opening.clear()
                self.sealing.clear()
            for name in rings:
                self._drop(name)
            self.rings.update(rings)
        return True

    def forget(self, names: Iterable[bytes]) -> None:
        """Hold nothing of these people."""
        with self._lock:
            for name in names:
                self.changes += 1
                self._drop(name)

    def opens(self, name: bytes, key_id: bytes, key: bytes, cipher: AESGCM) -> None:
        """Records of this data key are opened so; nothing where it is no longer held."""
        with self._lock:
            ring = self.rings.get(name)
            if ring is not None and ring.keys.get(key_id) is cipher:
                self.opening[self._mark + key_id] = cipher.decrypt, key, 2 + len(key)

    def seals(self, name: bytes, key: bytes, inner: bytes, current: tuple[bytes, AESGCM]) -> Sealing:
        """How records of this profile key are sealed; kept where the data key is still the current one."""
        key_id, cipher = current
        made = self._mark + key_id, cipher.encrypt, name, inner
        with self._lock:
            ring = self.rings.get(name)
            if ring is not None and ring.current is current:
                ring.key = key
                self.sealing[key] = made
        return made

    def _drop(self, name: bytes) -> None:
        ring = self.rings.pop(name, None)
        if ring is None:
            return
        for key_id in ring.keys:
            self.opening.pop(self._mark + key_id, None)
        if ring.key is not None:
            self.sealing.pop(ring.key, None)
