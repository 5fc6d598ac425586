"""The Faust table `profiles`: profile key to the profile's bytes, one dict per partition so that a partition drops at once.

Faust sees an ordinary table with a changelog; its entries are written inside the partition's transactions and restored by
the takeover, not by Faust. Values are as in the changelog: they are decoded on first touch, by the runner.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import faust
from faust.stores.memory import Store
from faust.types import StoreT

NAME = "profiles"


class Partitions(MutableMapping[bytes, bytes]):
    """The partitions' dicts seen as one mapping: for looking at, not for the fold, which knows its partition."""

    def __init__(self) -> None:
        self.parts: dict[int, MutableMapping[bytes, bytes]] = {}

    def __getitem__(self, key: bytes) -> bytes:
        for part in self.parts.values():
            if key in part:
                return part[key]
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        raise TypeError("profiles change only by the fold of their partition")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("profiles change only by the fold of their partition")

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts.values():
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))


class ProfileStore(Store[bytes, bytes]):
    """A memory store over `Partitions`."""

    def __post_init__(self) -> None:
        """Faust's hook in place of `__init__`."""
        super().__post_init__()
        self.data: Partitions = Partitions()


class ProfileTable(faust.Table[bytes, bytes]):
    """A table whose store keeps the partitions apart."""

    @property
    def partitions_held(self) -> dict[int, MutableMapping[bytes, bytes]]:
        """The state of each partition that is held here."""
        store: Any = self.data
        parts: dict[int, MutableMapping[bytes, bytes]] = store.data.parts
        return parts

    def _new_store(self) -> StoreT[bytes, bytes]:
        return ProfileStore("memory://", self.app, self, key_type=bytes, value_type=bytes, loop=self.loop)
