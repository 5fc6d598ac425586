"""The position: how far a partition of `profile-events` has been folded. It is the truth, not the group's offset.

Written in the same transaction as the outputs and the profiles, under a reserved key of the changelog.
"""

from __future__ import annotations

import msgspec

POSITION_KEY = b"~position"
FORMAT = 1


class SwitchPoint(msgspec.Struct, array_like=True, frozen=True):
    """A switch that some profile of the partition may still have to pass. shadow: the version evaluated beside from then on."""

    number: int
    version: str
    time: int
    shadow: str = ""


class Came(msgspec.Struct, array_like=True, frozen=True):
    """The switch with which a feature came: its number and time (ms).

    kept: of a count that was there before, up to how many events were kept of it; 0: it has seen nothing before.
    """

    number: int
    time: int
    kept: int = 0


class Position(msgspec.Struct, kw_only=True):
    """What a partition has folded.

    topic_id: id of `profile-events` (its name on a broker that knows no ids).
    offset:   offset of the last record folded; -1 before the first.
    origins:  highest origin offset folded per source partition (`<topic id>/<partition>`).
    switches: the switches not yet passed by every profile, oldest first; the last one is the version in force.
    tick:     time of the last tick folded (ms); profiles due up to it are still being woken.
    simulated: that tick was an explicit one; the ticks that continue it are too.
    came:     slot keys of the features that came with a switch, and that switch; see `rtcdp.folding.warming`.
    shadowed: number and time (ms) of the switch with which the shadow began.
    cursor:   where the visit of all profiles after a switch has come to, in key order; None when it is over.
    """

    format: int = FORMAT
    topic_id: str = ""
    offset: int = -1
    origins: dict[str, int] = {}
    switches: list[SwitchPoint] = []
    tick: int = 0
    simulated: bool = False
    cursor: bytes | None = None
    came: dict[str, Came] = {}
    shadowed: tuple[int, int] = (0, 0)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Position).decode
