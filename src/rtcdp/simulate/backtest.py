"""`rtcdp backtest DIR --against OLD_DIR EVENTS`: the live evaluator over the past, under one or two sets of definitions.

Profiles do not depend on each other and time is the profile's own. So each event is folded as it is read, and time ends
with every profile's advance to the same instant. Two versions are measured in two processes.
"""

from __future__ import annotations

import gc
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any, Literal

import msgspec

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.aggregates import NEVER
from rtcdp.errors import SettingError
from rtcdp.folding.actors import Actors
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Cause, Outbox
from rtcdp.folding.warming import asks_for_more, at_most
from rtcdp.profile import Profile, Start
from rtcdp.rules.compiled import Compiled
from rtcdp.rules.compiled_triggers import CompiledTrigger
from rtcdp.rules.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions import spell_duration
from rtcdp.rules.loading import definitions_from_normal, load
from rtcdp.rules.programs import Deliver
from rtcdp.rules.sending import DAY_MS
from rtcdp.rules.undisturbed import undisturbed
from rtcdp.settings.config import Settings
from rtcdp.simulate.history import TOPIC, History, Row
from rtcdp.simulate.replay import parse_until
from rtcdp.times import timestamps
from rtcdp.times.timestamps import rfc3339

MOST_EXAMPLES = 5


class Tally(Outbox):
    """Counts what is put out instead of writing it.

    moves:  (kind, name) -> how often: `entered`, `exited`, `tag`; `stage` by the name of the stage that was reached.
    fires:  trigger -> day (since 1970) -> how often it was sent.
    held:   trigger -> reason -> how often it was decided not to send.
    ever:   segment -> keys of the profiles that have been in it.
    wakes:  how many instants were passed at which time alone could change something.
    """

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.moves: Counter[tuple[str, str]] = Counter()
        self.fires: dict[str, Counter[int]] = defaultdict(Counter)
        self.held: dict[str, Counter[str]] = defaultdict(Counter)
        self.ever: dict[str, set[str]] = defaultdict(set)
        self.wakes = 0

    def begin(self, cause: Cause, message_id: str = "", other: str = "", *, historical: bool = False) -> None:
        """Count instants of time."""
        if cause == "time":
            self.wakes += 1

    def change(
        self,
        profile: Profile,
        kind: Literal["entered", "exited", "tag", "stage", "consent"],
        name: str,
        old: Any = None,
        new: Any = None,
    ) -> None:
        """Count a change."""
        self.moves[kind, name if kind != "stage" else new or ""] += 1
        if kind == "entered":
            self.ever[name].add(profile.key)

    def not_sent(self, profile: Profile, name: str, reason: str, by: str = "", step: str = "", arm: str = "") -> None:
        """Count a decision not to send."""
        self.held[name][reason] += 1

    def identity(self, profile: Profile, other: str, reason: str) -> None:
        """Count what became of an identifier."""
        self.moves["identity", reason] += 1

    def cancel(self, profile: Profile, key: str, trigger: str, channel: str, reason: str) -> None:
        """Count what is withdrawn."""
        self.held[trigger]["withdrawn after it was sent"] += 1

    def trigger(
        self, profile: Profile, trigger: CompiledTrigger, start: Start, payload: dict[str, Any], message: Deliver, arm: str
    ) -> None:
        """Count what is sent."""
        self.fires[trigger.name][profile.now // DAY_MS] += 1


@dataclass(frozen=True)
class Kept:
    """What is kept of a feature: its slot key, the length of its window (ms, 0 without one), and how far a count counts."""

    key: str
    within: int
    at_most: int | None


@dataclass
class Side:
    """What one set of definitions made of the past.

    keys:    profile keys, in the order in which they were met.
    members: segment -> places in `keys` of those who are in it at the end.
    ever:    segment -> how many have been in it at any time.
    tagged:  tag -> how many have it at the end.
    stages:  stage -> how many are in it at the end.
    moves:   segment, tag or stage -> kind -> how often.
    fires:   trigger -> day (since 1970) -> how often it was sent.
    held:    trigger -> reason -> how often it was not.
    false:   trigger -> how often its `if` did not hold.
    sizes:   bytes of each profile, ascending.
    timers:  profiles that wait for an instant at the end.
    wakes:   instants passed.
    seconds: of processor time for folding; for reading and cleaning too, where `rows` does that on the way.
    began:   time of the first event (ms).
    kept:    feature -> what is kept of it.
    """

    version: str
    events: int = 0
    seconds: float = 0.0
    until: int = 0
    keys: list[str] = field(default_factory=list)
    members: dict[str, array[int]] = field(default_factory=dict)
    ever: dict[str, int] = field(default_factory=dict)
    tagged: dict[str, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    moves: dict[str, dict[str, int]] = field(default_factory=dict)
    fires: dict[str, dict[int, int]] = field(default_factory=dict)
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)
    sizes: array[int] = field(default_factory=lambda: array("I"))
    timers: int = 0
    wakes: int = 0
    began: int = 0
    kept: dict[str, Kept] = field(default_factory=dict)

    def size(self, share: float) -> int:
        """Bytes that this share of the profiles does not exceed."""
        return self.sizes[min(len(self.sizes) - 1, int(share * len(self.sizes)))] if self.sizes else 0


def measure(compiled: Compiled, rows: Iterable[Row], until: tuple[int, bool] | None = None) -> Side:
    """Fold the past under one version.

    rows:  keys and values as `History.rows` gives them; of all profiles, or of a share.
    until: where time runs to for everybody: ms, and whether that counts from the last event; None: the last event's time.
    """
    began = process_time()
    side, tally, known = Side(compiled.version), Tally(compiled.version), dict[bytes, Profile]()
    engine = Engine(compiled)
    gc.collect()
    with undisturbed():  # profiles are no garbage
        now = _fold(engine, tally, known, rows, side)
        end = now if until is None else now + until[0] if until[1] else until[0]
        for profile in known.values():
            if profile.wake_at <= end:
                engine.advance(profile, end, tally, simulated=True)
            profile.now = max(profile.now, end)
    side.until = end
    side.seconds = process_time() - began
    _count(side, compiled, tally, known)
    return side


def _fold(engine: Engine, tally: Tally, known: dict[bytes, Profile], rows: Iterable[Row], side: Side) -> int:
    """Fold every event; the time of the last (ms).

    What identifiers tell each other is told anew and read at once: the records of it that a log holds are passed over.
    """
    compiled, applies, find = engine.compiled, engine.applies, known.get
    decode, is_event = compiled.decode, compiled.event
    people = _People(engine, tally, known)
    now = count = 0
    for key, value in rows:
        event = decode(value)
        if type(event) is not is_event:
            continue
        if not count:
            side.began = event.received
        profile = find(key)
        if profile is None:
            profile = known[key] = Profile(key.decode("utf-8", "replace"))
        event.simulated = True  # no ticks: what falls due is revealed when it does
        if profile.alias or event.also:
            profile = people.fold(profile, event)
        else:
            applies[event.event](profile, event, tally)
        count += 1
        if profile.now > now:  # noqa: PLR1730  the hot path: a call of max() costs more
            now = profile.now
    side.events = count
    return now


class _People:
    """Who is whose, in the past as it would have been."""

    def __init__(self, engine: Engine, tally: Tally, known: dict[bytes, Profile]) -> None:
        self._engine = engine
        self._tally = tally
        self._known = known
        self._told: deque[tuple[str, bytes]] = deque()
        self._actors = Actors(engine, tally, lambda key, record: self._told.append((key, record)))

    def fold(self, profile: Profile, event: Any) -> Profile:
        """Fold an event of an alias, or one that names other identifiers; whose it was."""
        while profile.alias:
            profile = self._profile(profile.alias)
        self._engine.applies[event.event](profile, event, self._tally)
        if event.also:
            self._actors.note(profile, event)
        while self._told:
            key, record = self._told.popleft()
            self._actors.take(self._profile(key), records.decode(record))
        return profile

    def _profile(self, key: str) -> Profile:
        found = self._known.get(key.encode())
        if found is None:
            found = self._known[key.encode()] = Profile(key)
        return found


def _count(side: Side, compiled: Compiled, tally: Tally, known: dict[bytes, Profile]) -> None:
    """Take together what is at the end."""
    rules = {rule.key: rule for rule in compiled.rules}
    members: dict[str, array[int]] = {rule.name: array("I") for rule in compiled.rules if rule.is_segment}
    tagged: Counter[str] = Counter()
    sizes = array("I")
    stages: Counter[str] = Counter()
    for place, profile in enumerate(profile for profile in known.values() if not profile.fresh):
        side.keys.append(profile.key)
        stages.update(profile.stage[:1])
        for key in profile.segments:
            members[rules[key].name].append(place)
        tagged.update(rules[key].name for key in profile.tags)
        sizes.append(len(profiles.encode(profile)))
        side.timers += profile.wake_at < NEVER
    side.sizes = array("I", sorted(sizes))
    side.members = members
    side.ever = {name: len(tally.ever.get(name, ())) for name in members}
    side.tagged = {rule.name: tagged[rule.name] for rule in compiled.rules if rule.kind == "tag"}
    side.stages = {stage.name: stages[stage.name] for stage in compiled.definitions.stages}
    for (kind, name), count in tally.moves.items():
        side.moves.setdefault(name, {})[kind] = count
    side.fires = {trigger.name: dict(tally.fires.get(trigger.name, {})) for trigger in compiled.triggers}
    side.held = {name: dict(reasons) for name, reasons in tally.held.items()}
    side.false = dict(tally.false_conditions)
    side.wakes = tally.wakes
    side.kept = {
        name: Kept(leaf.key, leaf.aggregate.within, at_most(leaf.aggregate)) for name, leaf in compiled.features.items()
    }


# ---- two versions ----------------------------------------------------------------------------------------------------


class Segment(msgspec.Struct, omit_defaults=True):
    """A segment under both versions, at the end.

    old, new:     members; absent where a version does not know it.
    enter, leave: members of the new version alone, of the old alone; absent where not both know it.
    overlap:      share of both among all members of either (Jaccard); 1 where it is empty in both.
    ever_old, ever_new: how many have been in it at any time.
    moves:        entries and exits over the whole past, under the new version.
    entering, leaving: some of them.
    """

    old: int | None = None
    new: int | None = None
    enter: int | None = None
    leave: int | None = None
    overlap: float | None = None
    ever_old: int | None = None
    ever_new: int | None = None
    moves: int = 0
    entering: list[str] = []
    leaving: list[str] = []


class Fires(msgspec.Struct, omit_defaults=True):
    """A trigger under both versions: days (`2026-03-01`) and how often it would have been sent; and why it was not."""

    old: dict[str, int] | None = None
    new: dict[str, int] | None = None
    not_sent: dict[str, int] = {}
    condition_false: int = 0


class Cost(msgspec.Struct):
    """What a version costs.

    bytes_mean, bytes_p50, bytes_p99, bytes_max: of a profile.
    timers:       profiles that wait for an instant at the end.
    wakes:        instants at which time alone could change something.
    events_per_s: events folded per second of processor time, from cleaned events on where the past is a log.
    """

    version: str
    profiles: int
    bytes_mean: float
    bytes_p50: int
    bytes_p99: int
    bytes_max: int
    timers: int
    wakes: int
    events_per_s: float


class Backtest(msgspec.Struct, omit_defaults=True):
    """What would change.

    until:   time at the end.
    old:     absent where nothing was compared.
    short:   features whose window is longer than the past was, with that window: `30d`. They undercount.
    warming: features that would be warming after a switch from the old version, with how long: `7d`; empty where that
             is as long as a profile lives that was there before.
    """

    events: int
    until: str
    segments: dict[str, Segment]
    tags: dict[str, dict[str, int]]
    stages: dict[str, dict[str, int]]
    triggers: dict[str, Fires]
    new: Cost
    old: Cost | None = None
    short: dict[str, str] = {}
    warming: dict[str, str] = {}


def compare(new: Side, old: Side | None) -> Backtest:
    """Set two sides of the same past beside each other."""
    sides = {"new": new} if old is None else {"old": old, "new": new}
    found = Backtest(new.events, rfc3339(new.until), {}, {}, {}, {}, _cost(new), _cost(old) if old else None)
    members = {name: _members(side, new) for name, side in sides.items()}
    for name in dict.fromkeys(segment for side in sides.values() for segment in side.members):
        segment = _segment(name, new, members["new"].get(name), members.get("old", {}).get(name))
        segment.ever_new, segment.ever_old = new.ever.get(name), old.ever.get(name) if old else None
        found.segments[name] = segment
    found.tags = _beside({which: side.tagged for which, side in sides.items()})
    found.stages = _beside({which: side.stages for which, side in sides.items()})
    for name in dict.fromkeys(trigger for side in sides.values() for trigger in side.fires):
        days = {which: _days(side.fires.get(name)) for which, side in sides.items()}
        found.triggers[name] = Fires(days.get("old"), days["new"], new.held.get(name, {}), new.false.get(name, 0))
    windows = {name: kept.within for name, kept in new.kept.items() if new.began + kept.within > new.until}
    found.short = {name: spell_duration(within) for name, within in windows.items()}
    found.warming = _warming(new, old) if old is not None else {}
    return found


def _warming(new: Side, old: Side) -> dict[str, str]:
    """Features that begin with a switch from the old version, or count further than it has kept."""
    before = {kept.key: kept for kept in old.kept.values()}
    found: dict[str, str] = {}
    for name, kept in new.kept.items():
        known = before.get(kept.key)
        if known is None or asks_for_more(known.at_most, kept.at_most):
            found[name] = spell_duration(kept.within) if kept.within else ""
    return found


def _beside(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Counts by side and name as counts by name and side."""
    names = dict.fromkeys(name for side in counts.values() for name in side)
    return {name: {which: side[name] for which, side in counts.items() if name in side} for name in names}


def _members(side: Side, named: Side) -> dict[str, set[int]]:
    """Members as places in the keys of `named`; its own beyond, negative."""
    if side.keys == named.keys:
        return {name: set(places) for name, places in side.members.items()}
    place_of = {key: place for place, key in enumerate(named.keys)}
    return {name: {place_of.get(side.keys[p], -1 - p) for p in places} for name, places in side.members.items()}


def _segment(name: str, side: Side, new: set[int] | None, old: set[int] | None) -> Segment:
    segment = Segment(None if old is None else len(old), None if new is None else len(new))
    if new is not None:
        segment.moves = sum(side.moves.get(name, {}).get(kind, 0) for kind in ("entered", "exited"))
    if new is not None and old is not None:
        enter, leave, either = new - old, old - new, new | old
        segment.enter, segment.leave = len(enter), len(leave)
        segment.overlap = len(new & old) / len(either) if either else 1.0
        segment.entering = [side.keys[place] for place in sorted(enter)[:MOST_EXAMPLES]]
        segment.leaving = [side.keys[place] for place in sorted(leave) if place >= 0][:MOST_EXAMPLES]
    return segment


def _days(fires: dict[int, int] | None) -> dict[str, int] | None:
    return None if fires is None else {rfc3339(day * DAY_MS)[:10]: fires[day] for day in sorted(fires)}


def _cost(side: Side) -> Cost:
    mean = sum(side.sizes) / len(side.sizes) if side.sizes else 0.0
    rate = side.events / side.seconds if side.seconds else 0.0
    most = side.sizes[-1] if side.sizes else 0
    return Cost(
        side.version,
        len(side.keys),
        round(mean, 1),
        side.size(0.5),
        side.size(0.99),
        most,
        side.timers,
        side.wakes,
        round(rate),
    )


# ---- the command -----------------------------------------------------------------------------------------------------


def history(
    settings: Settings, events: str, *, is_log: bool, mapping: str | None, since: str | None, until: str | None
) -> History:
    """The past that a command line names. Records of the topic `profile-events` are known for what they are.

    Raises SettingError.
    """
    if not events.startswith(TOPIC):
        if since or until:
            raise SettingError("--from, --to: these choose a range of a topic; a file is read whole")
        return History(events, is_log, mapping, settings=settings)
    if mapping:
        raise SettingError("--map: a topic needs no mapping")
    is_log = is_log or events.removeprefix(TOPIC) == settings.profile_events
    return History(events, is_log, None, settings.kafka(), _instant("from", since), _instant("to", until), settings)


def _instant(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    ms = timestamps.parse(text)
    if ms is None:
        raise SettingError(f"--{option}: {text!r} is no time (RFC 3339)")
    return ms


def run(folder: Path, against: Path | None, history: History, until: str | None = None) -> Backtest:
    """Measure one folder, or two side by side.

    until: as for `rtcdp replay`: RFC 3339, or `+30d` after the last event.

    Raises DefinitionErrors, SettingError, ClusterError.
    """
    if history.events == "-":
        raise SettingError("backtest: the past is read more than once and cannot come from standard input")
    end = parse_until(until) if until else None
    new = load(folder)
    if against is None:
        return compare(measure(compile_definitions(new), history.rows(new), end), None)
    old = load(against)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        sides = [pool.submit(_measure_apart, definitions.normal, history, end) for definitions in (new, old)]
        return compare(sides[0].result(), sides[1].result())


def _measure_apart(normal: str, history: History, until: tuple[int, bool] | None) -> Side:
    """Measure in a process of its own; definitions travel as their normal form."""
    definitions: Definitions = definitions_from_normal(normal)
    return measure(compile_definitions(definitions), history.rows(definitions), until)
