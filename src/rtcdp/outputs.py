"""What goes out: membership and tag changes, decisions not to send, trigger events, dead letters.

One JSON object per Kafka record; times are RFC 3339 in UTC with milliseconds.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec


class Change(msgspec.Struct, omit_defaults=True, gc=False):
    """A record of `profile-changes`.

    id:         hash of profile, definition, version, kind, instant, cause and ordinal: the same in every attempt.
    kind:       what happened; `shadow`: what a version evaluated beside the live one did differently;
                `erased`: all that was known of the person is gone, and is to go wherever else it is.
    profile:    profile key.
    name:       the segment, tag or trigger; `stage` for a stage, `erased` for an erasure; for `identity` the profile key of
                the other side; for `consent` the purpose, `@channel` or `purpose@channel`; for `corrected` the trait, or
                the event's message id.
    at:         the instant it happened: the due instant for what time did.
    cause:      `event`, `time`, `definitions` or `command`; `merge`: two profiles became one.
    message_id: the event's message id where the cause is an event; of a merge: of the event that said so; the id of a command.
    old, new:   value before and after, for tags, stages and answers (null: none was given); `new` of an erasure: the profile
                keys of the person.
    reason:     why a trigger was not sent, for decisions: again, cancelled, cap, consent, cooldown, expired, holdout, max_age,
                priority, quiet, running, superseded, too_many, withdrawn. Of `identity`: alias (this profile belongs to
                the other and ends here), merged (the other is part of this one), detached (belongs to nobody from here
                on), refused (two users are not made one; or too large), released (this person has too many of the
                kind), freed (the other let this one go, which begins anew), arm (the other was in the arm `old` of the
                holdout of `by`, this one is in `arm`), split
                (the other was split off, by a command), outdated (it was not: this one had changed meanwhile).
                Of `shadow`: what was done: entered, sent, ... Of
                `corrected`: trait, event, or why not: outdated, unknown.
    by:         whose limit it was: empty for the trigger's own, else `group marketing`, `channel push`, `purpose marketing`. Of
                `shadow`: the version that did it and the other did not: `live` or `shadow`.
    step:       the step of a journey that was not sent.
    arm:        `control` where the trigger was not sent so that lift can be measured; `changed`: leave it out of lift, two
                profiles of different arms have become one.
    version:    version of the definitions.
    seq:        grows with every output of the profile; a reader drops what is not above the last it saw.
    historical: caused by imported history.
    """

    id: str
    kind: Literal["entered", "exited", "tag", "stage", "not_sent", "identity", "consent", "corrected", "shadow", "erased"]
    profile: str
    name: str
    at: str
    cause: Literal["event", "time", "definitions", "merge", "command"]
    version: str
    seq: int
    message_id: str = ""
    old: Any = None
    new: Any = None
    reason: str = ""
    historical: bool = False
    by: str = ""
    step: str = ""
    arm: str = ""


class Difference(msgspec.Struct, frozen=True):
    """Something that one version alone did at an instant.

    by:    `live` or `shadow`. at: RFC 3339.
    what:  `entered`, `exited`, `tag`, `stage`, `sent`, `not_sent`. value: of tags and stages.
    """

    by: str
    at: str
    what: str
    name: str
    value: Any = None


class TriggerData(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """The `data` of a trigger event.

    occurred, received: of what started it; due: when it was to be sent; decided: when that was decided (RFC 3339).
    step: of a journey. arm: `treated` where others get nothing so that lift can be measured.
    """

    profile: str
    trigger: str
    cause: Literal["event", "time", "definitions", "merge", "command"]
    message_id: str = ""
    occurred: str
    received: str
    due: str
    decided: str
    expires_at: str
    channel: str = ""
    payload: dict[str, Any] = {}
    version: str
    step: str = ""
    arm: str = ""


class TriggerEvent(msgspec.Struct, kw_only=True, gc=False):
    """A record of `triggers`: CloudEvents 1.0, structured JSON. `seq` is an extension attribute."""

    specversion: str = "1.0"
    id: str
    source: str = "rtcdp"
    type: str = "rtcdp.trigger"
    subject: str
    time: str
    datacontenttype: str = "application/json"
    seq: int
    data: TriggerData


class CancelData(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The `data` of a cancellation.

    profile: whose triggers are withdrawn. trigger: which one; "" for every one. channel: only what goes by it; "" for any.
    reason:  why, as `consent`.
    """

    profile: str
    trigger: str = ""
    channel: str = ""
    reason: str = ""


class Cancel(msgspec.Struct, kw_only=True):
    """A record of `triggers` that withdraws what was sent before: a CloudEvent of type `rtcdp.cancel`.

    It holds for the profile's triggers of that name with a lower `seq`: what is not delivered yet never is.
    """

    TYPE: ClassVar[str] = "rtcdp.cancel"

    specversion: str = "1.0"
    id: str
    source: str = "rtcdp"
    type: str = TYPE
    subject: str
    time: str
    datacontenttype: str = "application/json"
    seq: int
    data: CancelData


class Origin(msgspec.Struct, kw_only=True):
    """Where a raw record lay. topic_id is empty on a broker that knows no ids."""

    topic: str
    topic_id: str = ""
    partition: int
    offset: int


class DeadLetter(msgspec.Struct, kw_only=True):
    """A record of `events-dlq`; its Kafka key is `<topic id or name>/<partition>/<offset>`.

    stage:     `ingest`, `profile`, or `collector` (the origin is then made up: request and event in it).
    reason:    a fixed word (`malformed_json`, `missing_field`, ...).
    field:     the place in the event, "" where it is the whole.
    appended:  append time of the raw record, RFC 3339.
    key, original: base64 of the raw key and value; None where the record had none.
    length, hash: of the original (bytes; xxh3_128 hex), also when only its first 64 KiB are kept (`truncated`).
    first_received, first_origin: where the record is a dead letter sent again: when it was received at first (RFC 3339),
               and the origin of the first; else empty.
    """

    stage: Literal["ingest", "profile", "collector"]
    reason: str
    field: str = ""
    detail: str
    origin: Origin
    appended: str
    key: str | None
    original: str | None
    length: int
    hash: str
    truncated: bool = False
    first_received: str = ""
    first_origin: str = ""


encode = msgspec.json.Encoder().encode
