"""The records of `profile-events`, the one log: everything that changes a profile is one of these.

Wire form: UTF-8 JSON, one object per Kafka record, the kind first. Times are integer milliseconds UTC. Fields may be
added, never renamed or retyped. The Kafka key is the profile key (`identity.profile_key`); records that belong to a
whole partition (`Tick`, `Switch`) have the key `~tick` / `~switch` and an explicit partition: no profile key begins
with `~`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999 (ms): no output can name a later one."""
Time = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
TICK_KEY = b"~tick"
SWITCH_KEY = b"~switch"


class Event(msgspec.Struct, tag_field="kind", tag="event", omit_defaults=True, kw_only=True):
    """A cleaned event of one profile.

    received: when it entered (ms); a profile's time is the highest of these.
    occurred: when it happened (ms), never later than received.
    source:   `<topic id>/<partition>` of the raw record; with `offset` its origin.
    offset:   offset of the raw record.
    id:       message id; where the producer gave none, `<source>/<offset>`.
    type:     track, identify, page, screen, group or alias.
    event:    the event's name; of anything but track: its type.
    also:     profile keys of the event's other identifiers, where it says that they are the same person's.
    appended: when the raw record reached the broker (ms); 0 where it is `received`. Only latency is measured by it.
    simulated: the source runs in `event` time mode.
    historical: imported history: changes state, never starts a trigger.
    """

    received: int
    occurred: int
    source: str
    offset: int
    id: str
    type: str = "track"
    event: str
    channel: str = ""
    user_id: str = ""
    anonymous_id: str = ""
    also: list[str] = []
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}
    appended: int = 0
    simulated: bool = False
    historical: bool = False


class _Said(msgspec.Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    """Something about identifiers that an event said. Written by the profile agent.

    id, received: of that event (its message id; ms). simulated: as an event's.
    """

    id: str
    received: int
    simulated: bool = False


class Link(_Said, tag="link"):
    """To an identifier: it belongs to the person `to` (a profile key). hops: how often it was passed on; bounded."""

    to: str
    hops: int = 0


class Release(_Said, tag="release"):
    """To an identifier: the person `by` lets it go, since it has too many of its kind, or has ended.

    people: all keys of a person who has ended: an identifier may be theirs by way of any of them.
    """

    by: str
    people: list[str] = []


class Merge(_Said, tag="merge"):
    """To a person: the whole state (`profile.encode`) of the identifier `of`, its alias from here on.

    hops: as of `Link`. by: the aliases that have passed it on.
    """

    of: str
    state: bytes
    hops: int = 0
    by: list[str] = []


class Part(_Said, tag="part"):
    """To an identifier: it is not the person's `by`, and begins with `state` (`profile.encode`)."""

    by: str
    state: bytes


class Forward(msgspec.Struct, tag_field="kind", tag="forward", omit_defaults=True, kw_only=True):
    """To a person: an event that reached its alias `of`, as it was."""

    of: str
    event: msgspec.Raw
    hops: int = 0


class Command(msgspec.Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    """What somebody asked for one person: a record of `commands` (its Kafka key is the profile key), and then of the log.

    id:        of the request.
    by:        who asked for it; reason: why.
    at:        when it counts from (ms); 0: when it was received.
    received:  when it entered (ms); 0 where all time is simulated: then it moves none. Set by ingest, as what follows.
    source, offset: origin, as of `Event`; empty where it was passed on.
    simulated: as of `Event`.
    hops:      how often it was passed on; bounded.
    """

    id: Name
    by: Text = ""
    reason: Text = ""
    at: Time = 0
    received: Time = 0
    source: str = ""
    offset: int = -1
    simulated: bool = False
    hops: int = 0


class Consent(Command, tag="consent"):
    """What the person agrees to and what not.

    answers: purpose (`marketing`), channel (`@email`) or a purpose on a channel (`marketing@email`) -> yes, no, or None:
             as if it had never been answered.
    until:   when the answers end (ms); 0: never.
    """

    answers: Annotated[dict[Name, bool | None], msgspec.Meta(max_length=64)]
    until: Time = 0


class Split(Command, tag="split"):
    """An identifier is not this person's: it begins with what is its own, and is nobody's alias for good.

    of:       profile key of the identifier.
    head:     the strongest of those that leave: the identifier, or one that only it has brought.
    along:    the others that leave: they become aliases of `head`.
    mine:     the person's state without them (`profile.encode`); theirs: that of `head`.
    expected: of the state that they were made from (`parting.digest`): of any other, nothing is done.
    """

    of: str
    head: str
    mine: bytes
    theirs: bytes
    expected: str
    along: list[str] = []


class Correct(Command, tag="correct"):
    """Something about the person is wrong.

    traits:   the right values by name; None removes one. They count from the command's time on.
    without:  message ids of events that are as if they had never been.
    state:    the person's state without them (`profile.encode`); empty where none are left out.
    expected: of the state that it was made from (`parting.digest`): of any other, nothing is done.
    """

    traits: Annotated[dict[Name, Any], msgspec.Meta(max_length=64)] = {}
    without: Annotated[list[str], msgspec.Meta(max_length=64)] = []
    state: bytes = b""
    expected: str = ""


class Erase(Command, tag="erase"):
    """Everything of the person goes, and of every identifier that was ever linked.

    people: set where the person passes it on to an identifier: the person's keys, so that it is only done where it is theirs.
    """

    people: list[str] = []


PersonalCommand = Consent | Correct | Split | Erase
"""Every kind of command. Another kind joins this union and the table of `rtcdp.folding.rights`."""


class Tick(msgspec.Struct, tag_field="kind", tag="tick", omit_defaults=True, kw_only=True):
    """Time, as a record of a partition: wakes the `wake` profiles that are due first, by (wake_at, key).

    time: low watermark in ms.
    simulated: an explicit tick: time is simulated, what falls due is revealed at its due instant (never too old).
    source, offset: origin, where an explicit tick came from `commands`; empty for the owner's own ticks.
    """

    time: int
    wake: int
    simulated: bool = False
    source: str = ""
    offset: int = -1


class Switch(msgspec.Struct, tag_field="kind", tag="switch", omit_defaults=True, kw_only=True):
    """From here on this partition runs under another version of the definitions.

    number:  counts the partition's switches from 1.
    version: hash of the definitions' normal form.
    time:    when it counts from (ms), as a tick's time.
    shadow:  a version that is evaluated beside it from here on; empty: none.
    """

    number: int
    version: str
    time: int
    shadow: str = ""


Record = Event | Link | Release | Merge | Part | Forward | PersonalCommand | Tick | Switch

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode
