"""The state of one profile, and its wire form: one record of the changelog is one whole profile.

Wire form: a fixed prefix (format version, clock, `wake_at`, output `seq`, number of the last switch passed), then a
msgpack array. The prefix can be read without decoding the rest. State is sparse: a slot exists only once an event
has touched it. Dictionaries are written in key order, so equal states have equal bytes.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Any

import msgspec
from xxhash import xxh3_64_digest

from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError

FORMAT = 1
_PREFIX = struct.Struct(">BqqqI")
_EXTRA = 1  # msgpack extension: an integer beyond 64 bits, as decimal text
_SEEN_ENTRY = 14  # 8 bytes of hash, 6 bytes of ms
SEEN_LOOK = 4 * _SEEN_ENTRY  # old entries are looked for once in so many bytes, not with every event
SEEN_MOST = 64
_SEEN_LEAST = SEEN_MOST * _SEEN_ENTRY
SEEN_FOR_MS = 86_400_000


class Start(msgspec.Struct, array_like=True):
    """A start of a trigger that waits. New fields go to the end, with a default. Times in ms.

    due:        when the next thing happens to it.
    occurred, received: of what started it.
    cause, message_id:  of its outputs.
    captured:   what is read of the starting event later; empty where time started it.
    same:       what must be equal in an event that calls it off, as text.
    place:      in the program of the trigger.
    first:      when the first of those occurred that it took the place of.
    contends:   it has waited for others of its group, and one of them is picked.
    """

    due: int
    occurred: int
    received: int
    cause: str
    message_id: str
    captured: list[Any] = []
    same: str = ""
    place: int = 0
    first: int = 0
    contends: bool = False


class Answer(msgspec.Struct, array_like=True):
    """What a person said about a purpose or a channel. New fields go to the end, with a default. Times in ms.

    granted: yes or no.
    at, id:  when it was said, and by which event or command; the later one counts, by these two.
    by:      who set it by hand; empty where an event said it.
    since:   of a yes: what occurs from then on is covered by it.
    until:   when it ends; 0: never.
    denied:  the latest no that is known; 0: none.
    """

    granted: bool
    at: int
    id: str
    by: str = ""
    since: int = 0
    until: int = 0
    denied: int = 0


_SHORT = {
    "sent": "s",
    "cancelled": "c",
    "false": "f",
    "false_at": "a",
    "last": "l",
    "latest": "i",
    "until": "u",
    "picked": "p",
    "mixed": "m",
}


class Memory(msgspec.Struct, omit_defaults=True, rename=_SHORT):
    """What a profile remembers of a trigger, a group or a channel: most of them little, so what is empty takes no room.

    sent:      instants (ms) of sending, newest last, as many as caps need.
    cancelled: when (ms) the latest event occurred that calls off, or {what must be the same: that}.
    false:     how often `if` did not hold, `false_at` when last (ms).
    last:      the last decisions, newest first: [instant (ms), `sent` or the reason, whose limit it was].
    latest:    of each instance that was sent or went under way: [when (ms), when its start occurred].
    until:     of a group: when the pause ends in which one of several is picked; `picked`: when that was done last.
    mixed:     of what has a holdout: two profiles that became one were treated unlike, so it tells nothing of lift.
    """

    sent: list[int] = []
    cancelled: Any = None
    false: int = 0
    false_at: int = 0
    last: list[list[Any]] = []
    latest: dict[str, list[int]] = {}
    until: int = 0
    picked: int = 0
    mixed: bool = False


class _Body(msgspec.Struct, array_like=True):
    """Everything after the prefix, in wire order (`encode` writes it). New fields go to the end, with a default."""

    traits: dict[str, list[Any]] = {}
    slots: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    segments: dict[str, int] = {}
    triggers: dict[str, Memory] = {}
    waiting: dict[str, Start] = {}
    consent: dict[str, Answer] = {}
    seen: bytes = b""
    failures: int = 0
    born: int = 0
    schedules: dict[str, int] = {}
    stage: list[Any] = []
    alias: str = ""
    links: dict[str, list[Any]] = {}
    detached: int = 0  # 2: and no event since; 3: not detached, and no event
    owed: list[bytes] = []
    shadow: bytes = b""
    parted: dict[str, list[Any]] = {}
    erased: int = 0


def _unextend(code: int, data: memoryview) -> int:
    if code != _EXTRA:
        message = f"unknown extension {code} in a profile"
        raise RtcdpError(message)
    return int(bytes(data))


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(_Body, ext_hook=_unextend).decode


@lru_cache(maxsize=65_536)
def slot_key(text: str) -> str:
    """Name of a state slot: 36 bits of a hash of `text`, as six characters."""
    return urlsafe_b64encode(xxh3_64_digest(text.encode()))[:6].decode()


class Profile:
    """One profile.

    key:      profile key, text.
    now:      its time (ms): the highest `received` of its own records and of the ticks that woke it.
    wake_at:  when something may change by time alone (ms); NEVER where nothing does.
    seq:      of the last output.
    switch:   number of the last switch of definitions that it passed.
    traits:   name -> [occurred, value]; a value of None is a removed trait.
    slots:    slot key of a feature -> slot of its aggregate.
    tags:     slot key of a tag -> value.
    segments: slot key of a segment -> when it was entered (ms). Only those it is in.
    triggers: slot key of a trigger, group or channel -> its memory.
    waiting:  key of a trigger's instance (see `rtcdp.folding.triggers`) -> the start that waits.
    consent:  purpose, `@channel` or `purpose@channel` -> answer.
    seen:     message ids: `_SEEN_ENTRY` bytes each, oldest first.
    failures: how often in a row waking it has raised.
    born:     number of the switch under which it began: it has seen all that features kept since then should have.
    schedules: slot key of a trigger that the calendar starts -> when it is due next (ms).
    stage:    of the lifecycle: name, since when (ms), when it may be left for another that holds already (ms, or 0); or empty.
    alias:    profile key of the person that this identifier belongs to; then everything is there, and nothing here.
    links:    profile key of an identifier of this person -> [when that was said (ms), message id of the event that did]. Of an
              alias: those that lead to the person by way of it, should it ever be its own again.
    detached: two people have used this identifier: it is nobody's alias, for good.
    owed:     states of other identifiers that could not be merged: they are tried again after the next switch.
    parted:   profile key of an identifier that was split off -> [when (ms), id of the command]: it is never taken in again.
    shadow:   the same profile under the version that is evaluated beside the live one (see `rtcdp.folding.shadow`), or None.
    erased:   when it was erased last (ms), or 0: what occurred until then changes nothing.
    fresh:    no event yet: what holds for an empty profile has still to be entered.
    """

    __slots__ = (
        "alias",
        "born",
        "consent",
        "detached",
        "erased",
        "failures",
        "fresh",
        "key",
        "links",
        "now",
        "owed",
        "parted",
        "schedules",
        "seen",
        "segments",
        "seq",
        "shadow",
        "slots",
        "stage",
        "switch",
        "tags",
        "traits",
        "triggers",
        "waiting",
        "wake_at",
    )

    def __init__(self, key: str, switch: int = 0) -> None:
        self.key = key
        self.now = 0
        self.wake_at = NEVER
        self.seq = 0
        self.switch = self.born = switch
        self.traits: dict[str, list[Any]] = {}
        self.slots: dict[str, Any] = {}
        self.tags: dict[str, Any] = {}
        self.segments: dict[str, int] = {}
        self.triggers: dict[str, Memory] = {}
        self.waiting: dict[str, Start] = {}
        self.consent: dict[str, Answer] = {}
        self.seen = b""
        self.failures = 0
        self.schedules: dict[str, int] = {}
        self.stage: list[Any] = []
        self.alias = ""
        self.links: dict[str, list[Any]] = {}
        self.detached = False
        self.owed: list[bytes] = []
        self.parted: dict[str, list[Any]] = {}
        self.shadow: Profile | None = None
        self.erased = 0
        self.fresh = True

    def begin_anew(self) -> None:
        """Be as one never seen before, except that an erasure stays one."""
        erased = self.erased
        self.__init__(self.key, self.switch)  # type: ignore[misc]  # the one place that knows every field
        self.erased = erased

    @property
    def is_kept(self) -> bool:
        """Whether there is anything to keep: an event, what was answered, whose it is, or that it was detached."""
        return not self.fresh or self.detached or bool(self.consent) or bool(self.links)

    def trait(self, name: str) -> Any:
        """Value of a trait; None where it is missing or removed."""
        entry = self.traits.get(name)
        return entry[1] if entry else None

    def see(self, message_id: str) -> bool:
        """Note a message id; False where it was seen before (the last 64 within 24 h, whichever is fewer)."""
        return self.note(xxh3_64_digest(message_id.encode()))

    def note(self, digest: bytes) -> bool:
        """As `see`, by the hash of the id."""
        seen, now = self.seen, self.now
        oldest = (now - SEEN_FOR_MS).to_bytes(6, "big") if now > SEEN_FOR_MS else b""
        if digest in seen and _holds(seen, digest, oldest):
            return False
        if not len(seen) % SEEN_LOOK and (seen[8:14] <= oldest or len(seen) > _SEEN_LEAST):
            seen = _recent(seen, oldest)
        self.seen = seen + digest + now.to_bytes(6, "big")
        return True


def _holds(seen: bytes, digest: bytes, oldest: bytes) -> bool:
    """Whether one of the places where these bytes stand is an entry later than `oldest`, and among the last 64."""
    place = seen.find(digest, max(0, len(seen) - _SEEN_LEAST))
    while place >= 0:
        if place % _SEEN_ENTRY == 0 and seen[place + 8 : place + 14] > oldest:
            return True
        place = seen.find(digest, place + 1)
    return False


def _recent(seen: bytes, oldest: bytes) -> bytes:
    """Return the entries later than `oldest`, at most the last 64."""
    end = len(seen)
    if seen[-6:] <= oldest:  # the newest is the last: so are all the others
        return b""
    place = max(0, end - _SEEN_LEAST)
    while seen[place + 8 : place + 14] <= oldest:
        place += _SEEN_ENTRY
    return seen[place:]


def united_ids(one: bytes, other: bytes) -> bytes:
    """Message ids of two profiles as of one, the newest 64: `Profile.seen` in its order."""
    both = {whole[place : place + _SEEN_ENTRY] for whole in (one, other) for place in range(0, len(whole), _SEEN_ENTRY)}
    return b"".join(sorted(both, key=lambda entry: (entry[8:], entry))[-SEEN_MOST:])


def wakes(profile: Profile) -> int:
    """When the profile, or its shadow, wakes (ms)."""
    shadow = profile.shadow
    return profile.wake_at if shadow is None or profile.wake_at < shadow.wake_at else shadow.wake_at


def encode(profile: Profile) -> bytes:
    """The wire form of a profile."""
    shadow = profile.shadow
    prefix = _PREFIX.pack(FORMAT, profile.now, wakes(profile), profile.seq, profile.switch)
    body = (
        profile.traits,
        profile.slots,
        profile.tags,
        profile.segments,
        profile.triggers,
        profile.waiting,
        profile.consent,
        profile.seen,
        profile.failures,
        profile.born,
        profile.schedules,
        profile.stage,
        profile.alias,
        profile.links,
        profile.detached + profile.fresh if profile.detached else 3 * profile.fresh,
        profile.owed,
        b"" if shadow is None else encode(shadow),
        profile.parted,
        profile.erased,
    )
    return prefix + _pack(body)


def contributed(profile: Profile) -> bytes:
    """The wire form of what events and commands alone have made: time changes none of it."""
    said = (profile.traits, profile.slots, profile.consent, profile.seen, profile.alias, profile.links, profile.parted)
    return _pack((*said, profile.owed))


def _pack(fields: tuple[Any, ...]) -> bytes:
    try:
        return _encode(fields)
    except OverflowError:
        return _encode(_extend(msgspec.to_builtins(fields, builtin_types=(bytes,))))


def _extend(value: Any) -> Any:
    """Integers beyond 64 bits as extensions: exact sums know no limit."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        return msgspec.msgpack.Ext(_EXTRA, str(value).encode())
    if isinstance(value, dict):
        return {name: _extend(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_extend(item) for item in value]
    return value


def decode(key: str, data: bytes) -> Profile:
    """Back from `encode`.

    Raises RtcdpError where the bytes are not a profile of a known format: a newer release wrote it, or it is damaged.
    """
    profile = Profile.__new__(Profile)  # every field is set below, none twice
    profile.key = key
    try:
        version, profile.now, profile.wake_at, profile.seq, profile.switch = _PREFIX.unpack_from(data)
        if version != FORMAT:
            message = f"profile {key}: format {version} is not known to this release (it knows {FORMAT})"
            raise RtcdpError(message)
        found = _decode(memoryview(data)[_PREFIX.size :])
    except (struct.error, msgspec.MsgspecError, ValueError) as error:
        message = f"profile {key}: the stored state cannot be read: {error}"
        raise RtcdpError(message) from error
    profile.traits = found.traits
    profile.slots = found.slots
    profile.tags = found.tags
    profile.segments = found.segments
    profile.triggers = found.triggers
    profile.waiting = found.waiting
    profile.consent = found.consent
    profile.seen = found.seen
    profile.failures = found.failures
    profile.born = found.born
    profile.schedules = found.schedules
    profile.stage = found.stage
    profile.alias = found.alias
    profile.links = found.links
    profile.detached = 0 < found.detached < 3
    profile.owed = found.owed
    profile.parted = found.parted
    profile.fresh = found.detached > 1
    profile.shadow = decode(key, found.shadow) if found.shadow else None
    profile.erased = found.erased
    return profile


def wake_at(data: bytes) -> int:
    """When a stored profile wakes (ms), without decoding it."""
    return int.from_bytes(data[9:17], "big")


def time_of(data: bytes) -> int:
    """A stored profile's time (ms), without decoding it."""
    return int.from_bytes(data[1:9], "big")


def switch(data: bytes) -> int:
    """Number of the last switch that a stored profile has passed, without decoding it."""
    return int.from_bytes(data[25:29], "big")
