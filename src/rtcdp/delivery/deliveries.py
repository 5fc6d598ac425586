"""One delivery: what is kept of it in Kafka from the moment it is decided until its end is known."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Outcome(StrEnum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Delivery(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of `deliveries` (its Kafka key is `id`), and what a dead letter is about.

    id:          `<output id>_<subscription>`: the webhook-id, the same in every attempt.
    body:        the request's body, the same in every attempt.
    slots:       what the record put into the address.
    profile, kind, name, seq, at: of the record it was made of.
    made:        append time of that record (ms).
    expires:     not attempted from then on (ms); 0: never expires.
    outcomes:    whether its end is written to `events`.
    attempts:    how many have failed so far. error: why the last one did.
    due:         when the next attempt may be made (ms).
    cancelled:   withdrawn while an attempt was under way: there is no further one.
    trace:       W3C trace context of what caused it, where traces are wanted.
    channel:     of a trigger: where it is to be sent, as the definitions say.
    """

    id: str
    subscription: str
    destination: str
    body: str
    slots: list[str] = []
    profile: str
    kind: str
    name: str
    seq: int
    at: str
    made: int
    expires: int = 0
    outcomes: bool = False
    attempts: int = 0
    error: str = ""
    due: int = 0
    cancelled: bool = False
    channel: str = ""
    trace: str = ""


Reason = Literal[
    "exhausted", "refused", "gone", "overflow", "unknown_destination", "changed_address", "unmappable", "too_large"
]  # fmt: skip


class DeadDelivery(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of `deliveries-dlq`: a delivery that was given up.

    reason: `exhausted` (no attempt left), `refused` (the tool does not want this body), `gone` (410: the endpoint is off for
            good), `overflow` (too many wait for the destination), `unknown_destination`, `changed_address`, `unmappable` (the
            record lacks a part of the address), `too_large`.
    at:     when it was given up (RFC 3339).
    """

    reason: Reason
    at: str
    delivery: Delivery


class Retry(msgspec.Struct, kw_only=True, tag_field="kind", tag="retry"):
    """A record of `delivery-commands`: make this delivery again, with all its attempts before it. Same id, same body."""

    delivery: Delivery


class Enable(msgspec.Struct, kw_only=True, tag_field="kind", tag="enable"):
    """A record of `delivery-commands`: a destination that said 410 is there again. One in every partition."""

    destination: str


Command = Retry | Enable


class Position(msgspec.Struct, kw_only=True):
    """The record of `deliveries` under POSITION: how far the inputs are worked off.

    offsets: the next offset to read, by topic id (the name where the broker knows none).
    """

    offsets: dict[str, int]


POSITION = b"~position"
ERASED = "erased"
"""The kind of a notice that somebody was erased, and why what waits for them is withdrawn."""
DISABLED = b"~disabled/"
"""Before a destination's name: the key of a mark that it said 410."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Delivery).decode
decode_position = msgspec.json.Decoder(Position).decode
decode_command = msgspec.json.Decoder(Command).decode
decode_dead = msgspec.json.Decoder(DeadDelivery).decode
