"""What one set of definitions makes of the past: every event folded by the live evaluator, and counted.

Profiles do not depend on each other and time is the profile's own. So each event is folded as it is read, and time ends
with every profile's advance to the same instant.
"""

from __future__ import annotations

import gc
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.aggregates import NEVER
from rtcdp.folding.actors import Actors
from rtcdp.folding.engine import Engine
from rtcdp.folding.warming import at_most
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.undisturbed import undisturbed
from rtcdp.simulate.history import Row
from rtcdp.simulate.tally import Tally


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
    unfit:   feature -> how many values it met that should be numbers and are none.
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
    unfit: dict[str, int] = field(default_factory=dict)
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
    side, tally, known = Side(compiled.version), Tally(compiled.version), dict[bytes, Profile]()
    engine = Engine(compiled)
    gc.collect()
    began = process_time()
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
        profile = find(key)
        if profile is None:
            if not count:
                side.began = event.received
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
    side.unfit = dict(compiled.unfit)
    side.wakes = tally.wakes
    side.kept = {
        name: Kept(leaf.key, leaf.aggregate.within, at_most(leaf.aggregate)) for name, leaf in compiled.features.items()
    }
