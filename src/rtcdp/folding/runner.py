"""One partition of the log: load -> engine -> store -> timers -> outputs. Worker, replay, back-test and tests run this.

`fold` works on an overlay: nothing of it counts before `adopt`, and `discard` forgets it. So a batch can be folded,
written in a transaction, and taken over only once that has been committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Protocol

import msgspec

from rtcdp import profile as profiles
from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError
from rtcdp.folding.batch import Batch
from rtcdp.folding.engine import Engine
from rtcdp.folding.erasing import MARK, Marking, marking
from rtcdp.folding.fold import UNFIT, Fold, LogRecord
from rtcdp.folding.timers import Timers
from rtcdp.folding.visiting import Order
from rtcdp.outputs import Origin
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.records import SWITCH_KEY, Switch, Tick, decode, encode
from rtcdp.rules.compiling.compiled import Compiled

TICK_WAKES = 1000
CACHE = 100_000
DROPPED = 2_000
"""Profiles that leave the cache together: a few milliseconds."""
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
        self._order: Order | None = None

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
        """Index the wake times of the state as it stands, and see whether there are marks of erasures.

        Where a visit of all profiles is under way, its order is made too.
        """

        def entries() -> Iterator[tuple[int, bytes]]:
            for key, value in self.state.items():
                if key[:1] == RESERVED:
                    self.marked = True
                else:
                    yield profiles.wake_at(value), key

        self.timers.fill(entries())
        if self.position.cursor is not None:
            deque(self._ordered().steps(), 0)

    def order(self) -> Iterator[None]:
        """Make ready, step by step, what a switch needs: the order in which profiles are visited.

        Not where the keys are on disk: reading them is one long step, for a thread (`ahead`).
        """
        if isinstance(self.state, dict):
            yield from self._ordered().steps()

    def ahead(self, records: Sequence[LogRecord]) -> Callable[[], object] | None:
        """What takes long and is to be done before these are folded, in a thread: None, or the order of a visit.

        The state must not be changed meanwhile. Where it has not been done, `fold` does it.
        """
        begins = any(key == SWITCH_KEY and value is not None and self._is_new(value) for _, key, value in records)
        if not (begins or self.position.cursor is not None) or (self._order is not None and self._order.ready):
            return None
        return lambda: deque(self._ordered().steps(), 0)

    def _is_new(self, switch: bytes) -> bool:
        with suppress(msgspec.MsgspecError):
            record = decode(switch)
            passed = self.position.switches
            return isinstance(record, Switch) and record.number > (passed[-1].number if passed else 0)
        return False  # no record of ours: the fold refuses it

    def _ordered(self) -> Order:
        if self._order is None:
            self._order = Order(self.state, RESERVED)
        return self._order

    def in_order(self, after: bytes) -> Iterator[bytes]:
        """Keys above `after`, in order: of all profiles that may not have passed the last switch."""
        return self._ordered().after(after)

    def begin_visit(self) -> None:
        """A switch is folded, and everybody is to be visited."""
        self._ordered().begin_again()

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
            fold = Batch(self, careful=False).run(records)
        except RtcdpError:
            self.cache.clear()  # it holds profiles that the batch has changed
            raise
        except Exception:  # noqa: BLE001  whatever a record made the engine raise: done again, a snapshot before each
            self.cache.clear()
            fold = Batch(self, careful=True).run(records)
        for engine in self._engines.values():
            for name, count in engine.compiled.unfit.items():
                fold.counts[UNFIT + name] += count
            engine.compiled.unfit.clear()
        return fold

    def adopt(self, fold: Fold) -> None:
        """Take over what has been committed."""
        state, timers, wake_at = self.state, self.timers, profiles.wake_at
        order = self._order
        for key, value in fold.state.items():
            if value is None:
                state.pop(key, None)
                self.cache.pop(key, None)
                continue
            before = state.get(key)
            state[key] = value
            if before is None and order is not None and key[:1] != RESERVED:
                order.add(key)
            if before is None or value[9:17] < before[9:17]:  # one that wakes later is found at its time before
                timers.add(wake_at(value), key)
        self.marked = self.marked or fold.counts["marks"] > 0
        before_it, self.position = self.position, fold.next_position
        visiting = before_it.cursor is not None or before_it.switches[-1:] != self.position.switches[-1:]
        if visiting and self.position.cursor is None:
            self._order = None
        if fold.counts["ticks"]:
            self._tick_asked = fold.continued
        cache = self.cache
        if len(cache) > CACHE:
            for key in list(islice(cache, max(DROPPED, len(cache) - CACHE))):
                del cache[key]

    def discard(self, fold: Fold) -> None:
        """Forget a batch that was not committed, and a tick that was to go with it."""
        self._tick_asked = False
        if self._order is not None:
            self._order.begin_again()
        for key in fold.state:
            self.cache.pop(key, None)

    # ---- time --------------------------------------------------------------------------------------------------

    def next_tick(self, watermark: int, wakes: int = TICK_WAKES) -> bytes | None:
        """Make the tick to append to this partition, or None.

        watermark: low watermark (ms). A tick is asked for where something is due at or before it, or where an earlier
        tick, or a switch, has still profiles to visit; one is outstanding at a time.
        wakes: how many profiles it is to wake.
        """
        position = self.position
        if self._tick_asked:
            return None
        due = self.timers.next()
        simulated = position.simulated and due <= position.tick
        if not simulated and due > max(watermark, position.tick) and position.cursor is None:
            return None
        self._tick_asked = True
        return _tick(position, watermark, wakes, simulated=simulated)

    def tick_after(self, fold: Fold, watermark: int, wakes: int) -> bytes | None:
        """The tick that goes on where the one in this fold had to leave off, for the same transaction; or None.

        watermark, wakes: as for `next_tick`.
        """
        position = fold.next_position
        if not (fold.left or (fold.counts["ticks"] and position.cursor is not None)):
            return None
        fold.continued = True
        return _tick(position, watermark, wakes, simulated=position.simulated and fold.left)


def _tick(position: Position, watermark: int, wakes: int, *, simulated: bool) -> bytes:
    time = position.tick if simulated else max(watermark, position.tick)
    return encode(Tick(time=time, wake=wakes, simulated=simulated))


def _plain_letter(reason: str, detail: str, origin: Origin, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes]:
    """Make a dead letter where nothing better was given (replay, tests)."""
    name = f"{origin.topic}/{origin.partition}/{origin.offset}"
    body = {"reason": reason, "detail": detail, "origin": origin, "key": key, "original": value}
    return name.encode(), msgspec.json.encode(body)
