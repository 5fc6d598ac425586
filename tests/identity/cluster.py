"""A log of several partitions without Kafka: what one profile writes for another is appended, and read when its turn comes."""

from __future__ import annotations

import random
from typing import Any
from zlib import crc32

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding.contributions import Logged
from rtcdp.folding.runner import PartitionRunner
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled

PARTITIONS = 3


def user(name: str) -> str:
    return f"main/user_id:{name}"


def anonymous(name: str) -> str:
    return f"main/anonymous_id:{name}"


def device(name: str) -> str:
    return f"main/device:{name}"


def email(name: str) -> str:
    return f"main/email:{name}%40x.com"


class Cluster:
    """Partitions in memory. `waiting` are the records of each log that have not been folded."""

    def __init__(self, compiled: Compiled, *, cold: bool = False) -> None:
        """Cold: every profile is read from its bytes again, as after a restart."""
        self._cold = cold
        registry = {compiled.version: compiled}
        self.runners = [
            PartitionRunner(number, {}, Position(switches=[SwitchPoint(1, compiled.version, 0)]), registry)
            for number in range(PARTITIONS)
        ]
        self.waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in self.runners]
        self.changes: list[bytes] = []
        self.triggers: list[bytes] = []
        self.letters: list[bytes] = []
        self.log: list[Logged] = []
        self._offsets = [0] * PARTITIONS
        self._sent = 0

    def send(self, keys: list[str], event: str, at: int, **fields: Any) -> None:
        """An event that carries these identifiers, strongest first; a call with several of them says that they are one's."""
        offset, self._sent = self._sent, self._sent + 1
        where = {"source": "events/0", "offset": offset, "id": f"m{offset}", "received": at, "occurred": at}
        found = records.Event(**{**where, **fields}, event=event, also=keys[1:], simulated=True)
        self.append(keys[0], records.encode(found))

    def append(self, key: str, record: bytes) -> None:
        self.waiting[crc32(key.encode()) % PARTITIONS].append((key.encode(), record))

    def step(self, number: int, most: int = 1) -> None:
        """One batch of one partition, and what it writes."""
        taken, self.waiting[number] = self.waiting[number][:most], self.waiting[number][most:]
        start, self._offsets[number] = self._offsets[number], self._offsets[number] + len(taken)
        self.log += [Logged(number, start + place, key.decode(), value) for place, (key, value) in enumerate(taken)]
        runner = self.runners[number]
        if self._cold:
            runner.cache.clear()
        fold = runner.fold([(start + place, key, value) for place, (key, value) in enumerate(taken)])
        runner.adopt(fold)
        self.changes += [value for _, value in fold.changes]
        self.triggers += [value for _, value in fold.triggers]
        self.letters += [value for _, value in fold.letters]
        for _, key, record in fold.appends:
            self.append(key.decode(), record)

    def settle(self, dice: random.Random | None = None) -> None:
        """Fold until nothing waits: in turn, or in any order that partitions may take."""
        while found := [number for number, waiting in enumerate(self.waiting) if waiting]:
            self.step(dice.choice(found) if dice else found[0], dice.randrange(1, 4) if dice else 1)

    def profile(self, key: str) -> Profile | None:
        data = self.runners[crc32(key.encode()) % PARTITIONS].state.get(key.encode())
        return None if data is None else profiles.decode(key, data)

    def person(self, key: str) -> str:
        """Whose this identifier is, along its aliases; its own where it was never seen."""
        profile = self.profile(key)
        while profile is not None and profile.alias:
            key = profile.alias
            profile = self.profile(key)
        return key
