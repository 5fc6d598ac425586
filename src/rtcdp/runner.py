"""One partition of the log: load -> engine -> store -> timers -> outputs. Worker, replay, back-test and tests run this.

`fold` works on an overlay: nothing of it counts before `adopt`, and `discard` forgets it. So a batch can be folded,
written in a transaction, and taken over only once that has been committed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Protocol

import msgspec

from rtcdp import outputs, warming
from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.aggregates import NEVER
from rtcdp.engine import Engine
from rtcdp.errors import RtcdpError
from rtcdp.outbox import Outbox
from rtcdp.outputs import Change, Origin
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.records import Switch, Tick, encode
from rtcdp.rules.compiler import Compiled
from rtcdp.timers import Timers

TICK_WAKES = 1000
CACHE = 100_000
RETRY_WAKE_MS = 60_000
RETRY_WAKE_MOST_MS = 86_400_000
LogRecord = tuple[int, bytes | None, bytes | None]


class DeadLetters(Protocol):
    """Makes a dead letter of a log record that cannot be folded: (key, value) for the dead-letter topic."""

    def __call__(self, reason: str, detail: str, origin: Origin, key: bytes | None, value: bytes | None) -> tuple[bytes, bytes]:
        """Build it."""


@dataclass
class Fold:
    """What folding a batch gave: everything that one transaction writes, and nothing that counts before it.

    changes, triggers, letters: (key, value) for profile-changes, triggers, events-dlq.
    appends:  (partition or None for murmur2 of the key, key, value) for profile-events.
    state:    profile key -> its changelog entry; None is a tombstone.
    position: changelog entry of the position, under `POSITION_KEY`.
    counts:   how many of what happened, for metrics.
    appended: append times (ms) of the raw records folded.
    """

    changes: list[tuple[bytes, bytes]] = field(default_factory=list)
    triggers: list[tuple[bytes, bytes]] = field(default_factory=list)
    letters: list[tuple[bytes, bytes]] = field(default_factory=list)
    appends: list[tuple[int | None, bytes, bytes]] = field(default_factory=list)
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    position: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    appended: list[int] = field(default_factory=list)
    next_position: Position = field(default_factory=Position)


class PartitionRunner:
    """The state of one partition of `profile-events`, and the fold over it.

    partition: its number.
    state:     profile key -> bytes of the profile; what has been committed.
    position:  how far that is. A position without a switch begins under the version the first record meets.
    registry:  version -> compiled definitions: every version that the position or the log names.
    topic:     name of the log's topic, for dead letters.
    letter:    makes dead letters.
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
    ) -> None:
        self.partition = partition
        self.state = state
        self.position = position
        self._registry = registry
        self._topic = topic
        self._letter = letter or _plain_letter
        self._engines: dict[str, Engine] = {}
        self._cache: dict[bytes, Profile] = {}
        self.timers = Timers(self._stored_wake)
        self._tick_asked = False
        self._behind: tuple[int, list[bytes]] | None = None

    # ---- state -------------------------------------------------------------------------------------------------

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill the state from changelog entries; profiles stay bytes until they are touched."""
        wake_at, state = profiles.wake_at, self.state
        due: list[tuple[int, bytes]] = []
        for key, value in entries:
            state[key] = value
            wake = wake_at(value)
            if wake < NEVER:
                due.append((wake, key))
        self.timers.fill(due)

    def rebuild_timers(self) -> None:
        """Index the wake times of the state as it stands."""
        self.timers.fill((profiles.wake_at(value), key) for key, value in self.state.items())

    def behind(self, number: int, after: bytes) -> Iterator[bytes]:
        """Keys above `after`, in order, of the profiles that had not passed the switch `number` when it was first asked for."""
        if self._behind is None or self._behind[0] != number:
            keys = sorted(key for key, value in self.state.items() if profiles.switch(value) != number)
            self._behind = (number, keys)
        keys = self._behind[1]
        return islice(keys, bisect_right(keys, after), None)

    def _stored_wake(self, key: bytes) -> int:
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
            return _Batch(self, careful=False).run(records)
        except RtcdpError:
            self._cache.clear()  # it holds profiles that the batch has changed
            raise
        except Exception:  # noqa: BLE001  whatever a record made the engine raise: done again, a snapshot before each
            self._cache.clear()
            return _Batch(self, careful=True).run(records)

    def adopt(self, fold: Fold) -> None:
        """Take over what has been committed."""
        state, timers, wake_at = self.state, self.timers, profiles.wake_at
        for key, value in fold.state.items():
            if value is None:
                state.pop(key, None)
                self._cache.pop(key, None)
                continue
            before = state.get(key)
            state[key] = value
            if before is None or before[9:17] != value[9:17]:
                timers.add(wake_at(value), key)
        self.position = fold.next_position
        if fold.counts["ticks"]:
            self._tick_asked = False
        cache = self._cache
        if len(cache) > CACHE:
            for key in list(cache)[: len(cache) - CACHE // 2]:
                del cache[key]

    def discard(self, fold: Fold) -> None:
        """Forget a batch that was not committed, and a tick that was to go with it."""
        self._tick_asked = False
        for key in fold.state:
            self._cache.pop(key, None)

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


class _Batch:
    """One batch being folded. `careful` takes a snapshot of each profile before each record."""

    def __init__(self, runner: PartitionRunner, *, careful: bool) -> None:
        self._runner = runner
        self._careful = careful
        self._fold = Fold()
        self._cache = runner._cache
        self._touched: dict[bytes, Profile] = {}
        position = runner.position
        self._position = Position(
            format=position.format,
            topic_id=position.topic_id,
            offset=position.offset,
            origins=dict(position.origins),
            switches=list(position.switches),
            tick=position.tick,
            simulated=position.simulated,
            cursor=position.cursor,
            came=position.came,
        )
        self._begin()

    def _begin(self) -> None:
        """Take up the version in force."""
        switch = self._position.switches[-1] if self._position.switches else self._runner.current
        self._engine = self._runner.engine(switch.version)
        self._outbox = Outbox(switch.version)
        self._switch = switch.number

    def run(self, records: Sequence[LogRecord]) -> Fold:
        """Fold all of them."""
        fold, position, touched = self._fold, self._position, self._touched
        origins, appended = position.origins, fold.appended
        engine, outbox = self._engine, self._outbox
        event, decode, applies = engine.compiled.event, engine.compiled.decode, engine.applies
        repeats = 0
        for offset, key, value in records:
            try:
                record = decode(value)  # type: ignore[arg-type] # None is refused as every other undecodable value
            except (msgspec.MsgspecError, TypeError, ValueError) as error:
                self._refuse("undecodable_record", str(error), offset, key, value)
                continue
            if type(record) is not event or key is None:
                if self._is_repeat(record, origins):
                    repeats += 1
                elif type(record) is event:
                    self._refuse("missing_key", "an event of the log has no key", offset, key, value)
                elif type(record) is Tick:
                    self._tick(record)
                else:
                    self._change_version(record)
                    engine, outbox = self._engine, self._outbox
                    event, decode, applies = engine.compiled.event, engine.compiled.decode, engine.applies
                continue
            source = record.source
            if record.offset <= origins.get(source, -1):
                repeats += 1
                continue
            origins[source] = record.offset
            appended.append(record.appended or record.received)
            profile = touched.get(key) or self._load(key)
            if self._careful:
                self._fold_carefully(profile, record, offset, key, value)
            else:
                applies[record.event](profile, record, outbox)
        if records:
            position.offset = records[-1][0]
        fold.counts["records"] = len(records)
        fold.counts["repeats"] = repeats
        return self._close()

    def _is_repeat(self, record: Any, origins: dict[str, int]) -> bool:
        """Whether an explicit tick came before."""
        if type(record) is not Tick or not record.source:
            return False
        if record.offset <= origins.get(record.source, -1):
            return True
        origins[record.source] = record.offset
        return False

    def _load(self, key: bytes) -> Profile:
        """Take the profile of a key into the overlay, past every switch that it had still to pass."""
        profile = self._cache.get(key)
        if profile is None:
            stored = self._runner.state.get(key)
            name = key.decode("utf-8", "replace")
            profile = Profile(name, self._switch) if stored is None else profiles.decode(name, stored)
            self._cache[key] = profile
        self._touched[key] = profile
        if profile.fresh:
            profile.switch = profile.born = self._switch
        elif profile.switch != self._switch:
            profile = self._pass_safely(profile, key)
        return profile

    def _pass_safely(self, profile: Profile, key: bytes) -> Profile:
        """Pass the switches; what raises leaves the profile as it was, to be looked at again under the new version."""
        snapshot, kept = profiles.encode(profile), len(self._outbox.items)
        try:
            self._pass_switches(profile)
        except RtcdpError:
            raise
        except Exception:  # noqa: BLE001  one profile's fault does not stop the partition
            del self._outbox.items[kept:]
            profile = self._put_back(key, snapshot)
            profile.switch = self._switch
            self._put_off(profile, self._position.switches[-1].time)
        return profile

    def _pass_switches(self, profile: Profile) -> None:
        """Advance the profile to each switch under the version before it, and go on under the new one."""
        switches = self._position.switches
        for before, switch in pairwise(switches):
            if profile.switch >= switch.number:
                continue
            old, new = self._runner.engine(before.version), self._runner.engine(switch.version)
            old_box, new_box = Outbox(before.version), Outbox(switch.version)
            simulated = self._position.simulated
            old.advance(profile, switch.time, old_box, simulated=simulated)
            if not profile.fresh:  # it has not ended
                profile.now = max(profile.now, switch.time)
                new.migrate(profile, old.compiled, new_box, revealed=profile.now)
            profile.switch = switch.number
            self._outbox.items += old_box.items + new_box.items
        profile.switch = self._switch

    def _fold_carefully(self, profile: Profile, record: Any, offset: int, key: bytes, value: bytes | None) -> None:
        """Fold with a way back: what raises leaves the profile as it was."""
        if profile.wake_at <= record.received:
            self._wake(profile, key, Tick(time=record.received, wake=1, simulated=record.simulated))
            profile = self._touched[key]
        snapshot = None if profile.fresh else profiles.encode(profile)
        kept = len(self._outbox.items)
        try:
            self._engine.applies[record.event](profile, record, self._outbox)
            self._check(profile, kept)
        except Exception as error:  # noqa: BLE001  one record's fault, whatever it is, is one dead letter
            del self._outbox.items[kept:]
            self._put_back(key, snapshot)
            self._refuse("fold_failed", f"{type(error).__name__}: {error}", offset, key, value)

    def _check(self, profile: Profile, kept: int) -> None:
        """Raise now where the profile, or what it has put out since, cannot be written."""
        profiles.encode(profile)
        for item in self._outbox.items[kept:]:
            outputs.encode(item)

    def _put_back(self, key: bytes, snapshot: bytes | None) -> Profile:
        name = key.decode("utf-8", "replace")
        profile = Profile(name, self._switch) if snapshot is None else profiles.decode(name, snapshot)
        self._cache[key] = self._touched[key] = profile
        return profile

    def _refuse(self, reason: str, detail: str, offset: int, key: bytes | None, value: bytes | None) -> None:
        origin = Origin(
            topic=self._runner._topic,
            topic_id=self._position.topic_id,
            partition=self._runner.partition,
            offset=offset,
        )
        self._fold.letters.append(self._runner._letter(reason, detail, origin, key, value))
        self._fold.counts[f"dead:{reason}"] += 1

    # ---- time and versions -------------------------------------------------------------------------------------

    def _tick(self, tick: Tick) -> None:
        """Wake the profiles that are due, by (wake time, key); after a switch, visit the next ones in key order."""
        position = self._position
        position.tick = max(position.tick, tick.time)
        position.simulated = tick.simulated
        self._fold.counts["ticks"] += 1
        for key in self._due(tick):
            self._wake(self._touched.get(key) or self._load(key), key, tick)
        if position.cursor is not None:
            self._visit(tick)

    def _due(self, tick: Tick) -> list[bytes]:
        """Keys due at the tick: of the stored profiles, and of those touched in this batch."""
        touched = self._touched
        stored = self._runner.timers.due(tick.time, tick.wake + len(touched))
        wakes = {key: self._runner._stored_wake(key) for key in stored if key not in touched}
        wakes |= {key: profile.wake_at for key, profile in touched.items() if profile.wake_at <= tick.time}
        return sorted(wakes, key=lambda key: (wakes[key], key))[: tick.wake]

    def _wake(self, profile: Profile, key: bytes, tick: Tick) -> None:
        snapshot = profiles.encode(profile)
        kept = len(self._outbox.items)
        try:
            self._engine.advance(profile, tick.time, self._outbox, simulated=tick.simulated)
            if not profile.fresh:  # it has ended
                profile.now = max(profile.now, tick.time)
            if self._careful:
                self._check(profile, kept)
        except Exception:  # noqa: BLE001  a profile that cannot be woken is put off; the others go on
            del self._outbox.items[kept:]
            self._put_off(self._put_back(key, snapshot), tick.time)
        self._fold.counts["wakes"] += 1

    def _put_off(self, profile: Profile, now: int) -> None:
        """Wake a profile later: 1 min, doubling, up to a day."""
        profile.failures += 1
        profile.wake_at = now + min(RETRY_WAKE_MOST_MS, RETRY_WAKE_MS << min(profile.failures - 1, 20))
        self._fold.counts["wakes_failed"] += 1

    def _visit(self, tick: Tick) -> None:
        """Take the next profiles, in key order, past the switches."""
        position, touched = self._position, self._touched
        found: list[bytes] = []
        for key in self._runner.behind(self._switch, position.cursor or b""):
            profile, stored = touched.get(key), self._runner.state.get(key)
            number = profile.switch if profile is not None else self._switch if stored is None else profiles.switch(stored)
            if number != self._switch:
                found.append(key)
                if len(found) > tick.wake:
                    break
        for key in found[: tick.wake]:
            if key not in touched:
                self._load(key)
        position.cursor = found[tick.wake - 1] if len(found) > tick.wake else None
        if position.cursor is None:
            del position.switches[:-1]
            self._runner._behind = None

    def _change_version(self, record: Switch) -> None:
        position = self._position
        last = position.switches[-1] if position.switches else None
        if last is not None and (record.number <= last.number or record.version == last.version):
            return
        new, point = self._runner.engine(record.version), SwitchPoint(record.number, record.version, record.time)
        self._flush()
        if last is not None:
            position.came = warming.after(position.came, self._engine.compiled, new.compiled, point)
        position.switches.append(point)
        position.cursor = b""
        self._begin()
        for key, profile in list(self._touched.items()):
            if not profile.fresh:
                self._pass_safely(profile, key)

    # ---- the end -----------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Encode what the outbox holds."""
        fold, dump = self._fold, outputs.encode
        for item in self._outbox.items:
            if type(item) is Change:
                fold.changes.append((item.profile.encode(), dump(item)))
            else:
                fold.triggers.append((item.subject.encode(), dump(item)))  # type: ignore[union-attr] # the other kind
        self._outbox.items = []

    def _close(self) -> Fold:
        fold = self._fold
        self._flush()
        dump = profiles.encode
        # one that is fresh has ended, or saw only a record that raised and is not there
        state = self._runner.state
        fold.state = {
            key: None if profile.fresh else dump(profile)
            for key, profile in self._touched.items()
            if not profile.fresh or key in state
        }
        fold.position = positions.encode(self._position)
        fold.next_position = self._position
        fold.counts["changes"] = len(fold.changes)
        fold.counts["triggers"] = len(fold.triggers)
        return fold
