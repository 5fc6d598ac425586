"""Folding one batch of a partition, in an overlay over its state: nothing counts before the runner adopts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from rtcdp import outputs
from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import RtcdpError
from rtcdp.folding import warming
from rtcdp.folding.actors import Actors
from rtcdp.folding.erasing import MARK, Erasing
from rtcdp.folding.fold import Fold, LogRecord
from rtcdp.folding.linking import MOST_HOPS
from rtcdp.folding.outbox import Outbox
from rtcdp.folding.rights import Rights
from rtcdp.folding.shadow import Shadow
from rtcdp.outputs import Change, Difference, Origin
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.records import Command, Erase, Forward, Merge, Switch, Tick

if TYPE_CHECKING:
    from rtcdp.folding.runner import PartitionRunner

RETRY_WAKE_MS = 60_000
RETRY_WAKE_MOST_MS = 86_400_000


class Batch:
    """One batch being folded. `careful` takes a snapshot of each profile before each record."""

    def __init__(self, runner: PartitionRunner, *, careful: bool) -> None:
        self._runner = runner
        self._careful = careful
        self._erasing = Erasing(runner.name, runner.state, any_before=runner.marked)
        self._fold = Fold()
        self._cache = runner.cache
        self._touched: dict[bytes, Profile] = {}
        self._stored: bytes | None = None  # bytes of the profile loaded last, where they are what it is
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
            shadowed=position.shadowed,
        )
        self._begin()

    def _begin(self) -> None:
        """Take up the version in force."""
        switch = self._position.switches[-1] if self._position.switches else self._runner.current
        self._engine = self._runner.engine(switch.version)
        self._outbox = Outbox(switch.version)
        self._switch = switch.number
        self._actors = Actors(self._engine, self._outbox, self._append)
        self._rights = Rights(self._engine, self._outbox, self._append, self._erasing)
        self._shadow = self._shadow_of(switch)

    def _shadow_of(self, switch: SwitchPoint) -> Shadow | None:
        """The version that is evaluated beside that of a switch."""
        if not switch.shadow:
            return None
        return Shadow(self._runner.engine(switch.shadow), self._runner.engine(switch.version).compiled)

    def _append(self, key: str, record: bytes) -> None:
        """Queue a record for another profile."""
        if self._outbox.ended:
            self._release()
        self._fold.appends.append((None, key.encode(), record))

    def _release(self) -> None:
        """Let go the identifiers of those who have ended, before anything else that is told them."""
        ended, self._outbox.ended = self._outbox.ended, []
        for person, links, at in ended:
            self._actors.ended(person, links, at)

    def run(self, records: Sequence[LogRecord]) -> Fold:
        """Fold all of them."""
        fold, position, touched = self._fold, self._position, self._touched
        origins, appended = position.origins, fold.appended
        engine, outbox = self._engine, self._outbox
        event, decode, applies = engine.compiled.event, engine.compiled.decode, engine.applies
        guarded = self._careful or self._shadow is not None
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
                elif type(record) is not Switch:
                    self._identify(record, offset, key, value)
                else:
                    self._change_version(record)
                    engine, outbox = self._engine, self._outbox
                    event, decode, applies = engine.compiled.event, engine.compiled.decode, engine.applies
                    guarded = self._careful or self._shadow is not None
                continue
            source = record.source
            if record.offset <= origins.get(source, -1):
                repeats += 1
                continue
            origins[source] = record.offset
            appended.append(record.appended or record.received)
            profile = touched.get(key) or self._load(key)
            if guarded or profile.alias or record.also or profile.erased:
                self._fold_event(profile, record, value, offset, key)
            else:
                applies[record.event](profile, record, outbox)
        if records:
            position.offset = records[-1][0]
        fold.counts["records"] = len(records)
        fold.counts["repeats"] = repeats
        self._close()
        del self._actors, self._rights  # they refer to this batch, which would keep all that it wrote until the next collection
        return fold

    def _is_repeat(self, record: Any, origins: dict[str, int]) -> bool:
        """Whether an explicit tick, or a command, came before."""
        if not isinstance(record, Tick | Command) or not record.source:
            return False
        if record.offset <= origins.get(record.source, -1):
            return True
        origins[record.source] = record.offset
        return False

    def _load(self, key: bytes, *, keep: bool = True) -> Profile:
        """Take the profile of a key into the overlay, past every switch that it had still to pass.

        keep: for the next batches too. Who is only woken, or visited, is not likely to come again soon.
        """
        profile = self._cache.get(key)
        self._stored = None
        if profile is None:
            stored = self._stored = self._runner.state.get(key)
            name = key.decode("utf-8", "replace")
            if stored is None:
                profile = Profile(name, self._switch)
                self._erasing.recall(profile)
            else:
                profile = profiles.decode(name, stored)
            if keep:
                self._cache[key] = profile
        self._touched[key] = profile
        if profile.fresh:
            profile.switch = profile.born = self._switch
            if self._shadow is not None:
                self._shadow.begin(profile)
        elif profile.switch != self._switch:
            snapshot, self._stored = self._stored or profiles.encode(profile), None
            profile = self._pass_safely(profile, key, snapshot)
        return profile

    def _pass_safely(self, profile: Profile, key: bytes, snapshot: bytes) -> Profile:
        """Pass the switches; what raises leaves the profile as it was, to be looked at again under the new version."""
        kept, ended = len(self._outbox.items), len(self._outbox.ended)
        try:
            self._pass_switches(profile)
        except RtcdpError:
            raise
        except Exception:  # noqa: BLE001  one profile's fault does not stop the partition
            del self._outbox.items[kept:], self._outbox.ended[ended:]
            profile = self._put_back(key, snapshot)
            profile.switch = self._switch
            self._put_off(profile, self._position.switches[-1].time)
        return self._retry_merges(profile, key) if profile.owed else profile

    def _retry_merges(self, profile: Profile, key: bytes) -> Profile:
        """Under other definitions, states that could not be merged may be."""
        self._touched[key] = profile
        owed, profile.owed = profile.owed, []
        careful, self._careful = self._careful, True
        for written in owed:
            self._identify(self._engine.compiled.decode(written), self._position.offset, key, written)
        self._careful = careful
        return self._touched[key]

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
            shadow, next_shadow = self._shadow_of(before), self._shadow_of(switch)
            if shadow is not None:
                found = shadow.advance(profile, switch.time, list(old_box.items), simulated=simulated)
                self._note(old_box, profile, shadow, found)
            lives = not profile.fresh and not profile.alias  # it has not ended
            if lives and switch.version != before.version:
                profile.now = max(profile.now, switch.time)
                if shadow is not None and shadow.version == switch.version:
                    shadow.adopt(profile)
                new.migrate(profile, old.compiled, new_box, revealed=profile.now)
            if next_shadow is None or not lives:
                profile.shadow = None
            elif shadow is None or shadow.version != next_shadow.version or switch.version != before.version:
                new_box.begin("definitions")
                self._note(new_box, profile, next_shadow, next_shadow.begin(profile))
            profile.switch = switch.number
            self._outbox.items += old_box.items + new_box.items
            self._outbox.ended += old_box.ended + new_box.ended
        profile.switch = self._switch

    def _beside(self, profile: Profile, shadow: Shadow, kept: int, run: Callable[[list[Any]], list[Difference]]) -> None:
        """Run the shadow; its faults are its own: a twin that raises is given up, and the live version knows nothing of it."""
        try:
            found = run(self._outbox.items[kept:])
        except Exception:  # noqa: BLE001  whatever definitions on trial make the engine raise
            profile.shadow = None
            self._fold.counts["shadow_failed"] += 1
            return
        self._note(self._outbox, profile, shadow, found)

    def _note(self, outbox: Outbox, profile: Profile, shadow: Shadow, found: Iterable[Difference]) -> None:
        for one in found:
            outbox.shadow(profile, shadow.version, one)
            self._fold.counts["shadow_differences"] += 1

    def _fold_event(
        self, profile: Profile, event: Any, written: bytes | None, offset: int, key: bytes, passed: Forward | None = None
    ) -> None:
        """An event that is not merely folded: for an alias, with other identifiers, with a shadow, or to be careful with.

        written: the event's own record. key: of the record that brought it. passed: that record, where it was passed on.
        """

        def work(profile: Profile) -> None:
            of, hops = ("", 0) if passed is None else (passed.of, passed.hops)
            if profile.erased and event.occurred <= profile.erased:  # first: who it belongs to now was perhaps never erased
                self._fold.counts["erased_before"] += 1
                return
            if profile.alias and of == profile.key and hops >= MOST_HOPS // 2:
                self._actors.take_back(profile, event)
            if profile.alias or of in profile.parted:
                self._actors.pass_on(profile, written or b"", of, hops)
                return
            kept = len(self._outbox.items)
            self._engine.applies[event.event](profile, event, self._outbox)
            if (shadow := self._shadow) is not None:
                self._beside(profile, shadow, kept, lambda done: shadow.fold(profile, written or b"", done))
            if event.also:
                self._actors.note(profile, event)

        if not self._careful:
            work(profile)
        elif error := self._try(profile, key, event, work):
            self._refuse("fold_failed", error, offset, key, written)

    def _identify(self, record: Any, offset: int, key: bytes | None, value: bytes | None) -> None:
        """A link, a release, a state handed over, an event passed on, or a command."""
        if key is None or value is None:
            self._refuse("missing_key", "a record about one person has no key", offset, key, value)
            return
        if key.startswith(MARK):  # of a command whose person no key opens any more
            if type(record) is Erase:
                self._erasing.remember(key, record)
            return
        profile = self._touched.get(key) or self._load(key)
        if type(record) is not Forward:
            profile.shadow = None  # its twin begins anew, from what the profile is then
        if type(record) is Forward:
            written = bytes(record.event)
            try:
                event = self._engine.compiled.decode(written)
            except msgspec.MsgspecError as error:
                self._refuse("undecodable_record", str(error), offset, key, value)
                return
            self._fold_event(profile, event, written, offset, key, record)
            return

        take = self._rights.obey if isinstance(record, Command) else self._actors.take
        if not self._careful:
            take(profile, record)
            return
        wrong = self._try(profile, key, record, lambda profile: take(profile, record))
        if wrong and type(record) is Merge:  # what another identifier has gathered is not lost to a dead letter
            self._touched[key].owed.append(value)
            self._touched[key].fresh = False
            self._fold.counts["merges_failed"] += 1
        elif wrong:
            self._refuse("fold_failed", wrong, offset, key, value)

    def _try(self, profile: Profile, key: bytes, record: Any, work: Callable[[Profile], None]) -> str:
        """Do something with a way back: what raises leaves the profile as it was. Returns what was wrong, or nothing."""
        if profile.wake_at <= record.received:
            self._wake(profile, key, Tick(time=record.received, wake=1, simulated=record.simulated))
            profile = self._touched[key]
        snapshot = profiles.encode(profile) if profile.is_kept else None
        self._release()
        kept, appended = len(self._outbox.items), len(self._fold.appends)
        try:
            work(profile)
            self._check(profile, kept)
        except Exception as error:  # noqa: BLE001  one record's fault, whatever it is, is one dead letter
            del self._outbox.items[kept:], self._fold.appends[appended:], self._outbox.ended[:]
            self._put_back(key, snapshot)
            return f"{type(error).__name__}: {error}"
        return ""

    def _check(self, profile: Profile, kept: int) -> None:
        """Raise now where the profile, or what it has put out since, cannot be written."""
        profiles.encode(profile)
        for item in self._outbox.items[kept:]:
            outputs.encode(item)

    def _put_back(self, key: bytes, snapshot: bytes | None) -> Profile:
        name = key.decode("utf-8", "replace")
        if snapshot is None:
            profile = Profile(name, self._switch)
            self._erasing.recall(profile)
        else:
            profile = profiles.decode(name, snapshot)
        self._cache[key] = self._touched[key] = profile
        return profile

    def _refuse(self, reason: str, detail: str, offset: int, key: bytes | None, value: bytes | None) -> None:
        origin = Origin(
            topic=self._runner.topic,
            topic_id=self._position.topic_id,
            partition=self._runner.partition,
            offset=offset,
        )
        self._fold.letters.append(self._runner.letter(reason, detail, origin, key, value))
        self._fold.counts[f"dead:{reason}"] += 1

    # ---- time and versions -------------------------------------------------------------------------------------

    def _tick(self, tick: Tick) -> None:
        """Wake the profiles that are due, by (wake time, key); after a switch, visit the next ones in key order."""
        position = self._position
        position.tick = max(position.tick, tick.time)
        position.simulated = tick.simulated
        self._fold.counts["ticks"] += 1
        for key in self._due(tick):
            profile = self._touched.get(key)
            if profile is None:
                profile = self._load(key, keep=False)
                self._wake(profile, key, tick, self._stored)
            else:
                self._wake(profile, key, tick)
        if position.cursor is not None:
            self._visit(tick)

    def _due(self, tick: Tick) -> list[bytes]:
        """Keys due at the tick: of the stored profiles, and of those touched in this batch."""
        touched = self._touched
        stored = self._runner.timers.due(tick.time, tick.wake + len(touched) + 1)
        wakes = {key: self._runner.stored_wake(key) for key in stored if key not in touched}
        wakes |= {key: due for key, profile in touched.items() if (due := profiles.wakes(profile)) <= tick.time}
        found = sorted(wakes, key=lambda key: (wakes[key], key))
        self._fold.left = len(found) > tick.wake
        return found[: tick.wake]

    def _wake(self, profile: Profile, key: bytes, tick: Tick, stored: bytes | None = None) -> None:
        snapshot = stored or profiles.encode(profile)
        kept, ended = len(self._outbox.items), len(self._outbox.ended)
        try:
            self._engine.advance(profile, tick.time, self._outbox, simulated=tick.simulated)
            if (shadow := self._shadow) is not None:
                until, simulated = tick.time, tick.simulated
                self._beside(profile, shadow, kept, lambda done: shadow.advance(profile, until, done, simulated=simulated))
            if not profile.fresh:  # it has ended
                profile.now = max(profile.now, tick.time)
            if self._careful:
                self._check(profile, kept)
        except Exception:  # noqa: BLE001  a profile that cannot be woken is put off; the others go on
            del self._outbox.items[kept:], self._outbox.ended[ended:]
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
        for key in self._runner.in_order(position.cursor or b""):
            profile, stored = touched.get(key), self._runner.state.get(key)
            number = profile.switch if profile is not None else self._switch if stored is None else profiles.switch(stored)
            if number != self._switch:
                found.append(key)
                if len(found) > tick.wake:
                    break
        for key in found[: tick.wake]:
            if key not in touched:
                self._load(key, keep=False)
        self._fold.counts["visits"] += min(len(found), tick.wake)
        position.cursor = found[tick.wake - 1] if len(found) > tick.wake else None
        if position.cursor is None:
            del position.switches[:-1]

    def _change_version(self, record: Switch) -> None:
        position = self._position
        last = position.switches[-1] if position.switches else None
        same = last is not None and (record.version, record.shadow) == (last.version, last.shadow)
        if last is not None and (record.number <= last.number or same):
            return
        new, point = self._runner.engine(record.version), SwitchPoint(record.number, record.version, record.time, record.shadow)
        self._shadow_of(point)
        self._flush()
        if last is not None:
            since = point  # what the shadow has kept is as warm as its time
            if last.shadow == record.version:
                since = SwitchPoint(position.shadowed[0], record.version, position.shadowed[1])
            position.came = warming.after(position.came, self._engine.compiled, new.compiled, since)
            if record.shadow and record.shadow != last.shadow:
                position.shadowed = (record.number, record.time)
        position.switches.append(point)
        position.cursor = b""
        self._runner.begin_visit()
        self._begin()
        for key, profile in list(self._touched.items()):
            if not profile.fresh:
                self._pass_safely(profile, key, profiles.encode(profile))

    # ---- the end -----------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Encode what the outbox holds."""
        self._release()
        fold, dump = self._fold, outputs.encode
        for item in self._outbox.items:
            if type(item) is Change:
                fold.changes.append((item.profile.encode(), dump(item)))
            else:
                fold.triggers.append((item.subject.encode(), dump(item)))  # type: ignore[union-attr] # the other kind
        self._outbox.items = []

    def _close(self) -> None:
        """Encode what was touched, and the position."""
        fold = self._fold
        self._flush()
        dump = profiles.encode
        # one that is fresh has ended, or saw only a record that raised and is not there
        state = self._runner.state
        for key, profile in self._touched.items():
            if profile.is_kept:
                fold.state[key] = dump(profile)
            else:  # the next batch begins with what is stored, wherever this one has ended
                self._cache.pop(key, None)
                if key in state:
                    fold.state[key] = None
        if self._erasing.marks:
            fold.state |= self._erasing.marks
            fold.erased = self._erasing.erased
            fold.counts["marks"] = len(self._erasing.marks)
        fold.position = positions.encode(self._position)
        fold.next_position = self._position
        fold.counts["changes"] = len(fold.changes)
        fold.counts["triggers"] = len(fold.triggers)
