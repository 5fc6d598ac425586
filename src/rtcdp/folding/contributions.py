"""What each identifier of a person has contributed: their states as they would be had one of them never been linked.

The log keeps every event under the key of its strongest identifier, whoever it was passed on to. So both sides are folded
anew from it, under the definitions in force, and nothing has to be kept for it while events arrive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rtcdp import profile as profiles
from rtcdp.folding.linking import Strength
from rtcdp.folding.parting import digest
from rtcdp.folding.runner import PartitionRunner
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.records import Consent, Correct, Erase, Split, Tick, encode
from rtcdp.rules.compiling.compiled import Compiled

_WAKES = 1_000
_REFOLDED = "refolded"


@dataclass(frozen=True)
class Logged:
    """A record of `profile-events`. key: profile key."""

    partition: int
    offset: int
    key: str
    value: bytes


class _Event(msgspec.Struct, tag_field="kind", tag="event", kw_only=True):
    """An event of the log, its contents as they are."""

    received: int
    occurred: int
    source: str
    offset: int
    id: str
    event: str
    type: str = "track"
    channel: str = ""
    user_id: str = ""
    anonymous_id: str = ""
    also: list[str] = []
    appended: int = 0
    simulated: bool = False
    historical: bool = False
    properties: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    traits: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Event | Consent | Correct | Erase).decode
_KINDS = frozenset({"event", "consent", "correct", "erase"})


class _Kind(msgspec.Struct):
    kind: str


_kind = msgspec.json.Decoder(_Kind).decode


@dataclass(frozen=True)
class Parts:
    """A person taken apart.

    asked:       the identifier that is split off.
    person, other: both states; the other is that of the strongest identifier of those that leave.
    along:       those that leave too, or belong to it: none of the person's own events leads to them but by what is split off.
    events:      how many of the log are the person's, and the other's.
    approximate: features that are not exact, since the log no longer holds all that they are made of.
    """

    asked: str
    person: Profile
    other: Profile
    along: tuple[str, ...]
    events: tuple[int, int]
    approximate: tuple[str, ...]

    def command(self, now: Profile, request: str, by: str, reason: str) -> Split:
        """The command that puts it into force. now: the person as it stands."""
        return Split(
            id=request,
            by=by,
            reason=reason,
            of=self.asked,
            head=self.other.key,
            along=list(self.along),
            mine=profiles.encode(self.person),
            theirs=profiles.encode(self.other),
            expected=digest(now),
        )


def take_apart(
    person: Profile, identifier: str, logged: Iterable[Logged], compiled: Compiled, switch: int, cut: int = 0
) -> Parts:
    """Fold a person and one of its identifiers anew, each from its own events.

    person:  as it stands.
    logged:  the records of all its identifiers, of each partition in order, up to where the person has folded them.
    switch:  number of the switch to `compiled`.
    cut:     time (ms) before which the log is gone; 0: it is whole.
    """
    records = _corrected(_since_erased(person, _originals(logged)))
    gone = _leaving(person, identifier, records)
    head = min(gone, key=Strength(compiled.definitions.identity).order)
    mine = [record for record in records if record[0] not in gone]
    theirs = [record for record in records if record[0] in gone]
    kept = _refold(person.key, mine, person.now, compiled, switch)
    split = _refold(head, theirs, person.now, compiled, switch)
    split.links = {key: person.links[key] for key in sorted(gone - {head})}
    approximate = _kept_where_cut(kept, person, compiled, cut)
    return Parts(identifier, kept, split, tuple(split.links), (_events(mine), _events(theirs)), approximate)


@dataclass(frozen=True)
class Without:
    """A person without some events.

    state:       as had they never been. missing: those that the log does not hold as the person's.
    approximate: features that are not exact, since the log no longer holds all that they are made of.
    """

    state: Profile
    missing: tuple[str, ...]
    approximate: tuple[str, ...]


def without(
    person: Profile, message_ids: Collection[str], logged: Iterable[Logged], compiled: Compiled, switch: int, cut: int = 0
) -> Without:
    """Fold a person anew without these events. The rest: see `take_apart`."""
    records = _since_erased(person, _originals(logged))
    there = {record.id for _, record in records if isinstance(record, _Event)}
    kept = [(key, record) for key, record in _corrected(records) if not _is_event(record, message_ids)]
    made = _refold(person.key, kept, person.now, compiled, switch)
    return Without(made, tuple(sorted(set(message_ids) - there)), _kept_where_cut(made, person, compiled, cut))


def _kept_where_cut(made: Profile, person: Profile, compiled: Compiled, cut: int) -> tuple[str, ...]:
    """Keep as it is what the log can no longer tell; returns the features of which that is so."""
    approximate = _approximate(compiled, person.now, cut) if cut else ()
    for name in approximate:
        slot = compiled.features[name].key
        if slot in person.slots:
            made.slots[slot] = person.slots[slot]
    if cut:
        made.traits, made.consent = {**person.traits, **made.traits}, person.consent
    return approximate


_Record = tuple[str, _Event | Consent | Correct]


def _since_erased(person: Profile, records: Sequence[_Record]) -> list[_Record]:
    """Without what occurred before the person was erased."""
    return [one for one in records if not person.erased or _occurred(one[1]) > person.erased]


def _occurred(record: _Event | Consent | Correct) -> int:
    return record.occurred if isinstance(record, _Event) else record.at or record.received


def _originals(logged: Iterable[Logged]) -> list[_Record]:
    """Key and record of what came in from outside, each once, by the time it was received; not what was erased since."""
    erased: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    latest: dict[int, int] = {}
    found: list[tuple[tuple[int, int, int], _Record]] = []
    for one in logged:
        try:
            if _kind(one.value).kind not in _KINDS:
                continue
            record = _decode(one.value)
        except msgspec.MsgspecError:  # it has become a dead letter
            continue
        if record.source:
            if (record.source, record.offset) in seen:
                continue
            seen.add((record.source, record.offset))
        if isinstance(record, Erase):
            at = record.received or record.at or latest.get(one.partition, 0)
            erased[one.key] = max(at, erased.get(one.key, 0))
            continue
        # a command moves no simulated time: it came where it lies
        at = latest[one.partition] = record.received or latest.get(one.partition, 0)
        found.append(((at, one.partition, one.offset), (one.key, record)))
    there = [(place, (key, one)) for place, (key, one) in found if _occurred(one) > erased.get(key, -1)]
    return [record for _, record in sorted(there, key=lambda entry: entry[0])]


def _corrected(records: Sequence[_Record]) -> list[_Record]:
    """Without the events that were left out by hand; what set traits by hand does that again."""
    gone = {message_id for _, record in records if isinstance(record, Correct) for message_id in record.without}
    return [
        (key, _traits_alone(record) if isinstance(record, Correct) else record)
        for key, record in records
        if not _is_event(record, gone)
    ]


def _is_event(record: _Event | Consent | Correct, message_ids: Collection[str]) -> bool:
    return isinstance(record, _Event) and record.id in message_ids


def _traits_alone(command: Correct) -> Correct:
    return msgspec.structs.replace(command, without=[], state=b"", expected="")


def _leaving(person: Profile, identifier: str, records: Sequence[_Record]) -> set[str]:
    """The identifier, and those of the person that only it has brought: none of the others' events leads to them."""
    stays = _reached(person.key, _neighbours(identifier, records))
    near = _neighbours("", records)
    near = {key: others - stays for key, others in near.items() if key not in stays}
    return _reached(identifier, near) & (person.links.keys() | {identifier})


def _reached(key: str, near: dict[str, set[str]]) -> set[str]:
    found, todo = {key}, [key]
    while todo:
        fresh = near.get(todo.pop(), set()) - found
        found |= fresh
        todo += fresh
    return found


def _neighbours(without: str, records: Sequence[_Record]) -> dict[str, set[str]]:
    """Identifiers that events name together, one of them left out with all that its own events say."""
    near: dict[str, set[str]] = {}
    for key, record in records:
        if isinstance(record, _Event) and record.also and key != without:
            together = {key, *record.also} - {without}
            for one in together:
                near.setdefault(one, set()).update(together)
    return near


def _refold(key: str, records: Sequence[_Record], now: int, compiled: Compiled, switch: int) -> Profile:
    """The profile that these make, at `now`."""
    position = Position(switches=[SwitchPoint(switch, compiled.version, 0)])
    runner = PartitionRunner(0, {}, position, {compiled.version: compiled})
    name = key.encode()
    simulated = False
    written: list[tuple[int, bytes | None, bytes | None]] = []
    for place, (_, record) in enumerate(records):
        simulated = record.simulated
        own: dict[str, Any] = {"also": []} if isinstance(record, _Event) else {"hops": 0}
        whole = msgspec.structs.replace(record, source=_REFOLDED, offset=place, **own)
        written.append((place, name, encode(whole)))
    written.append((len(records), b"~tick", encode(Tick(time=now, wake=_WAKES, simulated=simulated))))
    runner.adopt(runner.fold(written))
    stored = runner.state.get(name)
    return Profile(key, switch) if stored is None else profiles.decode(key, stored)


def _approximate(compiled: Compiled, now: int, cut: int) -> tuple[str, ...]:
    """Features that look back beyond the beginning of the log."""
    return tuple(
        name for name, leaf in compiled.features.items() if not leaf.aggregate.within or now - leaf.aggregate.within < cut
    )


def _events(records: Collection[_Record]) -> int:
    return sum(isinstance(record, _Event) for _, record in records)
