"""A version of the definitions that is evaluated beside the live one, to see what it would do before it does it.

Each profile carries a twin: the same profile under the shadow version, begun as a copy of the live one. It folds the same
events and wakes at its own instants; what it puts out goes nowhere but is compared with what the live one put out. When the
shadow version becomes current, its features go on from the twin's state, warm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import msgspec

from rtcdp import profile as profiles
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.outputs import Cancel, Change, Difference, TriggerEvent
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled

Item = Change | TriggerEvent | Cancel


class Shadow:
    """The shadow version. live: the version in force."""

    def __init__(self, engine: Engine, live: Compiled) -> None:
        self._engine = engine
        self._live = live

    @property
    def version(self) -> str:
        """Of the definitions."""
        return self._engine.compiled.version

    def begin(self, profile: Profile) -> list[Difference]:
        """Give a profile its twin; what differs at once."""
        box = Outbox(self.version)
        if profile.fresh:
            profile.shadow = Profile(profile.key, profile.switch)
            return []
        profile.shadow = None
        twin = profiles.decode(profile.key, profiles.encode(profile))
        self._engine.migrate(twin, self._live, box, revealed=twin.now)
        profile.shadow = twin
        return list(differences([], box.items))

    def fold(self, profile: Profile, value: bytes, done: Sequence[Item]) -> list[Difference]:
        """Fold an event into the twin. value: the event as the log holds it; done: what the live version put out for it."""
        twin = profile.shadow
        if twin is None:
            return self.begin(profile)
        box = Outbox(self.version)
        record = self._engine.compiled.decode(value)
        self._engine.applies[record.event](twin, record, box)
        return list(differences(done, box.items))

    def advance(self, profile: Profile, until: int, done: Sequence[Item], *, simulated: bool) -> list[Difference]:
        """Let the twin pass the instants up to `until` (ms), as the live one has; a profile that has ended has none."""
        twin = profile.shadow
        if twin is None:
            return []
        if profile.fresh:
            profile.shadow = None
            return []
        box = Outbox(self.version)
        self._engine.advance(twin, until, box, simulated=simulated)
        twin.now = max(twin.now, until)
        return list(differences(done, box.items))

    def adopt(self, profile: Profile) -> None:
        """The shadow version becomes current: what only it has kept goes on from the twin's state."""
        twin, profile.shadow = profile.shadow, None
        if twin is None:
            return
        for key in self._engine.compiled.leaves.keys() - self._live.leaves.keys():
            if key in twin.slots:
                profile.slots[key] = twin.slots[key]


def differences(live: Sequence[Item], shadow: Sequence[Item]) -> Iterator[Difference]:
    """What one did and the other did not, in any order within what was put out together."""
    mine, others = ({_key(item): item for item in items} for items in (live, shadow))
    counts = Counter(map(_key, live))
    counts.subtract(map(_key, shadow))
    for key, count in counts.items():
        by, item = ("live", mine[key]) if count > 0 else ("shadow", others.get(key))
        if item is None or not count:
            continue
        at, what, name, _ = key
        value = item.new if isinstance(item, Change) and item.kind in ("tag", "stage") else None
        for _ in range(abs(count)):
            yield Difference(by, at, what, name, value)


def _key(item: Item) -> tuple[str, str, str, Hashable]:
    """What an output says, whatever the version."""
    if isinstance(item, Change):
        detail = msgspec.json.encode([item.new if item.kind in ("tag", "stage") else None, item.reason])
        return item.at, item.kind, item.name, detail
    if isinstance(item, Cancel):
        return item.time, "cancel", item.data.trigger, f"{item.data.profile} {item.data.channel}"
    return item.data.decided, "sent", item.data.trigger, item.data.step
