"""Profiles on disk as they lie in the changelog: under keyed hashes, each sealed with its person's data key.

What is kept is sealed, what the fold sees is not. So an erasure reaches the disk too, and whatever copies were made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import islice
from typing import Any

from rtcdp.sealing.sealer import RESERVED, Sealer
from rtcdp.worker.profiles.stores import Store

MANY = 10_000
"""So many profiles are opened at a time where all of them are looked at."""


class SealedEntries(MutableMapping[bytes, bytes]):
    """True keys and profiles over a mapping of names and what is sealed. Every method may raise KeysAway.

    Whose data key is gone is not there, and neither is who has ended. Length: of what is kept, with these.
    """

    def __init__(self, kept: MutableMapping[bytes, bytes], sealer: Sealer) -> None:
        self._kept = kept
        self._sealer = sealer

    def get(self, key: bytes, default: Any = None) -> Any:  # one look-up instead of two
        """The profile of a key."""
        if key[:1] == RESERVED:
            return self._kept.get(key, default)
        name = self._sealer.name(key).name
        sealed = self._kept.get(name)
        if sealed is None:
            return default
        (found,) = self._sealer.open_all([(name, sealed)])
        return default if found is None or not found[1] else found[1]

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if key[:1] == RESERVED:
            self._kept[key] = value
            return
        self._sealer.prepare((key,))
        name, sealed = self._sealer.seal(key, value)
        self._kept[name] = sealed

    def __delitem__(self, key: bytes) -> None:
        del self._kept[key if key[:1] == RESERVED else self._sealer.name(key).name]

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self._pairs())

    def __len__(self) -> int:
        return len(self._kept)

    def items(self) -> Any:
        """Keys and profiles, in one pass."""
        return self._pairs()

    def whose(self, names: Iterable[bytes]) -> list[bytes]:
        """The true keys of those of these names that are there."""
        found = [(name, value) for name in names if (value := self._kept.get(name)) is not None]
        return [one[0] for one in self._sealer.open_all(found) if one is not None]

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        rest = iter(self._kept.items())
        while some := list(islice(rest, MANY)):
            yield from (one for one in self._sealer.open_all(some) if one is not None and one[1])


class SealedStore:
    """A `Store` whose entries are sealed. kept: the store that has them; sealer: seals and opens."""

    def __init__(self, kept: Store, sealer: Sealer) -> None:
        self._kept = kept
        self.entries = SealedEntries(kept.entries, sealer)

    @property
    def behind(self) -> int | None:
        """As `Store`."""
        return self._kept.behind

    @behind.setter
    def behind(self, offset: int | None) -> None:
        self._kept.behind = offset

    def restored(self, offset: int) -> None:
        """As `Store`."""
        self._kept.restored(offset)

    def adopted(self, offset: int | None = None) -> None:
        """As `Store`."""
        self._kept.adopted(offset)

    def close(self) -> None:
        """As `Store`."""
        self._kept.close()
