"""One partition of the log: load -> engine -> store -> timers -> outputs. Worker, replay, back-test and tests run this.

`fold` works on an overlay: nothing of it counts before `adopt`, and `discard` forgets it. So a batch can be folded,
written in a transaction, and taken over only once that has been committed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Protocol

import msgspec

from rtcdp import profile as profiles
from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError
from rtcdp.folding.batch import Batch
from rtcdp.folding.engine import Engine
from rtcdp.folding.erasing import MARK, Marking, marking
from rtcdp.folding.fold import Fold, LogRecord
from rtcdp.folding.timers import Timers
from rtcdp.outputs import Origin
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.records import SWITCH_KEY, Switch, Tick, decode, encode
from rtcdp.rules.compiled import Compiled

TICK_WAKES = 1000
CACHE = 100_000
RESERVED = b"~"
"""How the keys of what is no profile begin: marks of erasures."""


class DeadLetters(Protocol):
    """Makes a dead letter of a log record that cannot be folded: (key, value) for the dead-letter topic."""

    def __call__(self, reason: str, detail: str, origin: Origin, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes]:
        """Build it."""


class PartitionRunner:
    """The state of one partition of `profile-events`, and the fold over it.

    partition: its number.
    state:     profile key -> bytes of the profile; what has been committed.
    position:  how far that is. A position without a switch begins under the version the first record meets.
    registry:  version -> compiled definitions: every version that the position or the log names.
    topic:     name of the log's topic, for dead letters.
    letter:    makes dead letters.
    name:      the keyed hash of a profile key, for the marks of erasures.
    """

    def __init__(
        self,
        partition: int,
        state: MutableMapping[bytes, bytes],
        position: Position,
        registry: Mapping[str, Compiled],
        *,
        topic: str = "profile-events",
        letter: DeadLetters | None = None,
        name: Marking | None = None,
    ) -> None:
        self.partition = partition
        self.state = state
        self.position = position
        self._registry = registry
        self.topic = topic
        self.letter = letter or _plain_letter
        self.name = name or marking(b"rtcdp")
        self.marked = False
        self._engines: dict[str, Engine] = {}
        self.cache: dict[bytes, Profile] = {}
        self.timers = Timers(self.stored_wake)
        self._tick_asked = False
        self._behind: tuple[int, list[bytes]] | None = None

    # ---- state -------------------------------------------------------------------------------------------------

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill the state from changelog entries; profiles stay bytes until they are touched."""
        wake_at, state = profiles.wake_at, self.state
        due: list[tuple[int, bytes]] = []
        for key, value in entries:
            state[key] = value
            self.marked = self.marked or key.startswith(MARK)
            wake = wake_at(value)
            if wake < NEVER:
                due.append((wake, key))
        self.timers.fill(due)

    def rebuild_timers(self) -> None:
        """Index the wake times of the state as it stands, and see whether there are marks of erasures."""

        def entries() -> Iterator[tuple[int, bytes]]:
            for key, value in self.state.items():
                if key[:1] == RESERVED:
                    self.marked = True
                else:
                    yield profiles.wake_at(value), key

        self.timers.fill(entries())

    def behind(self, number: int, after: bytes) -> Iterator[bytes]:
        """Keys above `after`, in order, of the profiles that had not passed the switch `number` when it was first asked for."""
        keys = self._list_behind(number)
        return islice(keys, bisect_right(keys, after), None)

    def ahead(self, records: Sequence[LogRecord]) -> Callable[[], object] | None:
        """What takes long and is to be done before these are folded, in a thread: None, or listing who has to pass a switch.

        The state must not be changed meanwhile. Where it has not been done, `fold` does it.
        """
        numbers = [self._number_of(value) for _, key, value in records if key == SWITCH_KEY and value is not None]
        if self.position.cursor is not None and self.position.switches:
            numbers.append(self.current.number)
        number = max(numbers, default=0)
        if not number or (self._behind is not None and self._behind[0] == number):
            return None
        return partial(self._list_behind, number)

    @staticmethod
    def _number_of(switch: bytes) -> int:
        with suppress(msgspec.MsgspecError):
            record = decode(switch)
            return record.number if isinstance(record, Switch) else 0
        return 0  # no record of ours: the fold refuses it

    def _list_behind(self, number: int) -> list[bytes]:
        if self._behind is None or self._behind[0] != number:
            keys = sorted(key for key, value in self.state.items() if profiles.switch(value) != number and key[:1] != RESERVED)
            self._behind = (number, keys)
        return self._behind[1]

    def forget_behind(self) -> None:
        """Every profile has passed the switch."""
        self._behind = None

    def stored_wake(self, key: bytes) -> int:
        """When a profile of the state wakes (ms), or NEVER."""
        value = self.state.get(key)
        return NEVER if value is None else profiles.wake_at(value)

    def engine(self, version: str) -> Engine:
        """The engine of a version; RtcdpError where the version is not in the registry."""
        engine = self._engines.get(version)
        if engine is None:
            compiled = self._registry.get(version)
            if compiled is None:
                message = f"the definitions {version} are named by the log but are not known"
                raise RtcdpError(message)
            engine = self._engines[version] = Engine(compiled)
        return engine

    @property
    def current(self) -> SwitchPoint:
        """The switch in force."""
        if not self.position.switches:
            message = f"partition {self.partition} has no definitions yet"
            raise RtcdpError(message)
        return self.position.switches[-1]

    # ---- folding -----------------------------------------------------------------------------------------------

    def fold(self, records: Sequence[LogRecord]) -> Fold:
        """Fold a batch: (offset, key, value) in the log's order. Nothing counts before `adopt`.

        A record whose fold raises becomes a dead letter and leaves its profile as it was. Raises RtcdpError where the
        state itself cannot be read: that must stop the worker, not lose a profile.
        """
        try:
            return Batch(self, careful=False).run(records)
        except RtcdpError:
            self.cache.clear()  # it holds profiles that the batch has changed
            raise
        except Exception:  # noqa: BLE001  whatever a record made the engine raise: done again, a snapshot before each
            self.cache.clear()
            return Batch(self, careful=True).run(records)

    def adopt(self, fold: Fold) -> None:
        """Take over what has been committed."""
        state, timers, wake_at = self.state, self.timers, profiles.wake_at
        for key, value in fold.state.items():
            if value is None:
                state.pop(key, None)
                self.cache.pop(key, None)
                continue
            before = state.get(key)
            state[key] = value
            if before is None or before[9:17] != value[9:17]:
                timers.add(wake_at(value), key)
        self.marked = self.marked or fold.counts["marks"] > 0
        self.position = fold.next_position
        if self.position.cursor is None:
            self._behind = None
        if fold.counts["ticks"]:
            self._tick_asked = False
        cache = self.cache
        if len(cache) > CACHE:
            for key in list(cache)[: len(cache) - CACHE // 2]:
                del cache[key]

    def discard(self, fold: Fold) -> None:
        """Forget a batch that was not committed, and a tick that was to go with it."""
        self._tick_asked = False
        for key in fold.state:
            self.cache.pop(key, None)

    # ---- time --------------------------------------------------------------------------------------------------

    def next_tick(self, watermark: int) -> bytes | None:
        """Make the tick to append to this partition, or None.

        watermark: low watermark (ms). A tick is asked for where something is due at or before it, or where an earlier
        tick, or a switch, has still profiles to visit; one is outstanding at a time.
        """
        position = self.position
        if self._tick_asked:
            return None
        due = self.timers.next()
        simulated = position.simulated and due <= position.tick
        if not simulated and due > max(watermark, position.tick) and position.cursor is None:
            return None
        self._tick_asked = True
        time = position.tick if simulated else max(watermark, position.tick)
        return encode(Tick(time=time, wake=TICK_WAKES, simulated=simulated))


def _plain_letter(reason: str, detail: str, origin: Origin, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes]:
    """Make a dead letter where nothing better was given (replay, tests)."""
    name = f"{origin.topic}/{origin.partition}/{origin.offset}"
    body = {"reason": reason, "detail": detail, "origin": origin, "key": key, "original": value}
    return name.encode(), msgspec.json.encode(body)
