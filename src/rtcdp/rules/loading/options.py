"""What a folder of definitions may hold: one table that the loader reads by and the JSON Schema is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rtcdp.rules.expressions.tree import Type
from rtcdp.times.zones import PERIODS

Kind = Literal["expression", "condition", "event", "events", "duration", "text", "texts", "whole", "flag", "choice", "special"]


@dataclass(frozen=True, slots=True)
class Option:
    """One key that a definition may have.

    kind:    how its value is read; `special` ones are read by their section.
    about:   one line for editors and the reference.
    choices: the allowed words of a `choice`.
    schema:  JSON Schema of a `special` one: the name of a shape in schema.py.
    """

    kind: Kind
    about: str
    required: bool = False
    choices: tuple[str, ...] = ()
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One way to sum up events.

    takes:  what stands at its key: the events themselves, an expression (and the events at `of`), or steps.
    values: types the expression may have; ANY always passes.
    result: type of the feature; None: that of the expression.
    about:  one line for editors and the reference.
    fans:   a path with `[]` gives several values, each of which counts.
    goes_with: the options that mean something beside it.
    """

    takes: Literal["events", "expression", "steps"]
    result: Type | None
    about: str
    values: frozenset[Type] = frozenset()
    fans: bool = True
    goes_with: frozenset[str] = frozenset()


_NUMBERS = frozenset({Type.NUMBER})
_ORDERED = frozenset({Type.NUMBER, Type.TIME})
_SCALARS = frozenset({Type.NUMBER, Type.TEXT, Type.TIME, Type.BOOLEAN})
_SCOPES = frozenset({"where", "within", "during", "zone", "reset_on", "per", "gap"})
_KEYED = _SCOPES | {"by", "top"}

AGGREGATES: dict[str, Aggregate] = {
    "count": Aggregate("events", Type.NUMBER, "how many of these events; starts at 0", goes_with=_KEYED),
    "sum": Aggregate("expression", Type.NUMBER, "sum of the numbers, exact to 1e-6; starts at 0", _NUMBERS, goes_with=_KEYED),
    "avg": Aggregate("expression", Type.NUMBER, "mean of the numbers", _NUMBERS, goes_with=_KEYED),
    "min": Aggregate("expression", None, "least value", _ORDERED, goes_with=_KEYED),
    "max": Aggregate("expression", None, "greatest value", _ORDERED, goes_with=_KEYED),
    "first": Aggregate("expression", None, "value of the earliest event that has one", _SCALARS, fans=False, goes_with=_KEYED),
    "last": Aggregate("expression", None, "value of the latest event that has one", _SCALARS, fans=False, goes_with=_KEYED),
    "first_time": Aggregate("events", Type.TIME, "when the earliest of these events occurred", goes_with=_KEYED),
    "last_time": Aggregate("events", Type.TIME, "when the latest of these events occurred", goes_with=_KEYED),
    "unique": Aggregate("expression", Type.NUMBER, "how many different values; starts at 0", _SCALARS, goes_with=_SCOPES),
    "most_frequent": Aggregate("expression", None, "the value seen most often", _SCALARS, goes_with=_SCOPES),
    "sequence": Aggregate(
        "steps",
        Type.NUMBER,
        "the furthest step reached in a row of events; starts at 0",
        goes_with=frozenset({"where", "within", "order", "restart", "same"}),
    ),
    "balance": Aggregate(
        "expression",
        Type.NUMBER,
        "what was earned and is neither spent nor expired; starts at 0",
        _NUMBERS,
        goes_with=frozenset({"where", "spend", "expire"}),
    ),
    "sessions": Aggregate(
        "events",
        Type.NUMBER,
        "how many sessions: runs of these events without a pause; starts at 0",
        goes_with=frozenset({"where", "within", "gap"}),
    ),
    "bounces": Aggregate(
        "events",
        Type.NUMBER,
        "how many sessions of a single event are over; starts at 0",
        goes_with=frozenset({"where", "within", "gap"}),
    ),
    "time_spent": Aggregate(
        "events",
        Type.DURATION,
        "how long the sessions were together, from first to last event; starts at 0",
        goes_with=frozenset({"where", "within", "gap", "per"}),
    ),
    "dwell": Aggregate(
        "events",
        Type.DURATION,
        "time from each of these events to the next event of the session; starts at 0",
        goes_with=frozenset({"where", "gap", "by", "top"}),
    ),
}
START_AT_ZERO = frozenset({"count", "sum", "unique", "sequence", "balance", "sessions", "bounces", "time_spent", "dwell"})
DERIVED = {
    "value": "an expression over other features",
    "ratio": "two expressions over features: the first divided by the second",
}
UNITS_OF_PER = ("session",)
DEFAULT_GAP_MS = 1_800_000
DEFAULT_TOP, MOST_TOP = 32, 256

_DESCRIPTION = Option("text", "what it means, for people")
_PURPOSE = Option("text", "the purpose under `consent` that it is for: without that consent it does not exist")

FEATURE: dict[str, Option] = {
    **{
        name: Option("special", it.about, schema="sequence")
        if it.takes == "steps"
        else Option("events" if it.takes == "events" else "expression", it.about)
        for name, it in AGGREGATES.items()
    },
    "value": Option("expression", DERIVED["value"]),
    "ratio": Option("special", DERIVED["ratio"], schema="ratio"),
    "of": Option("events", "the events whose values are aggregated"),
    "where": Option("condition", "which of these events count; sees the event alone"),
    "within": Option("special", "length of the sliding window, as 30d; 90d..30d ends before now", schema="window"),
    "during": Option("choice", "the calendar period that counts: it starts anew with the next", choices=PERIODS),
    "zone": Option("text", "the time zone of the period, as Asia/Shanghai; UTC without it"),
    "reset_on": Option("special", "an event, or several, with which it starts anew", schema="filter"),
    "per": Option("choice", "only what happens in the current session counts", choices=UNITS_OF_PER),
    "gap": Option("special", "the pause that ends a session, or one for each channel; 30m without it", schema="gap"),
    "by": Option("expression", "a value of its own for each value of this"),
    "top": Option("whole", f"how many of them are kept, up to {MOST_TOP}; {DEFAULT_TOP} without it"),
    "order": Option("choice", "strict: no other event comes between two steps; loose without it", choices=("loose", "strict")),
    "restart": Option("flag", "the first step begins anew: the latest attempt counts, not the furthest"),
    "same": Option("special", "paths that must be equal in all steps", schema="paths"),
    "spend": Option("special", "the events by which a balance is spent, and how much by", schema="spend"),
    "expire": Option("duration", "after how long what was earned is gone"),
    "purpose": _PURPOSE,
    "description": _DESCRIPTION,
}
FILTER: dict[str, Option] = {
    "event": Option("events", "the event, or several", required=True),
    "where": Option("condition", "which of these events; sees the event alone"),
}
SEQUENCE_STEP: dict[str, Option] = {
    "event": Option("events", "the event, or several, any of which is the step"),
    "not": Option("special", "an event that must not come between the steps beside it", schema="filter"),
    "where": Option("condition", "which of these events; sees the event alone"),
    "same": Option("special", "what must be equal, where this event has it elsewhere", schema="paths"),
}
SPEND: dict[str, Option] = {
    "of": Option("events", "the event, or several, by which it is spent", required=True),
    "value": Option("expression", "how much is spent; what is earned without it"),
    "where": Option("condition", "which of these events; sees the event alone"),
}
TAG: dict[str, Option] = {
    "value": Option("expression", "the value; the tag is absent while it is missing", required=True),
    "when": Option("condition", "the tag is absent while this does not hold"),
    "purpose": _PURPOSE,
    "description": _DESCRIPTION,
}
SEGMENT: dict[str, Option] = {
    "if": Option("condition", "who is in the segment", required=True),
    "purpose": _PURPOSE,
    "description": _DESCRIPTION,
}
_LIMITS: dict[str, Option] = {
    "cap": Option("special", "at most so many per profile within a rolling time", schema="caps"),
    "cooldown": Option("duration", "nothing so long after one was sent"),
    "quiet": Option("special", "hours in which nothing is sent", schema="quiet"),
    "holdout": Option(
        "special", "share of the profiles that gets nothing, so that lift can be measured; as 10%", schema="share"
    ),
}
TRIGGER: dict[str, Option] = {
    "on": Option("special", "what starts it", required=True, schema="on"),
    "where": Option("condition", "which of the starting events count; sees the event alone"),
    "after": Option("duration", "how long to wait, from the instant at which the start occurred"),
    "debounce": Option("special", "starts that follow one another within this time count as one, the last", schema="debounce"),
    "unless": Option("special", "an event or a condition that cancels while waiting", schema="unless"),
    "if": Option("condition", "checked when it fires, not when it started"),
    "one per": Option("special", "paths of the starting event: each different value waits for itself", schema="paths"),
    "again": Option(
        "special", "when it may start again after it was sent: always, once, a time, or {exited: SEGMENT}", schema="again"
    ),
    **_LIMITS,
    "priority": Option("whole", "within a group that picks by it the highest is sent; 0 without it"),
    "max_age": Option("duration", "dropped when revealed later than this after it was due; 1d without it"),
    "payload": Option("special", "what is sent along: names and expressions", schema="payload"),
    "channel": Option("text", "where marketing automation should send it: push, sms, email"),
    "steps": Option("special", "a journey: what happens one after the other", schema="journey"),
    "purpose": _PURPOSE,
    "description": _DESCRIPTION,
}
_ZONE: dict[str, Option] = {
    "zone": Option("text", "a time zone as Asia/Shanghai, or the trait that names it, as traits.timezone; UTC without it"),
    "default": Option("text", "the time zone of those whose trait names none"),
}
ON: dict[str, Option] = {
    "event": Option("event", "an event by name"),
    "entered": Option("text", "a segment that the profile enters"),
    "exited": Option("text", "a segment that the profile leaves"),
    "stage": Option("text", "a stage of the lifecycle that the profile comes to"),
    "changed": Option("text", "a tag whose value changes"),
    "at": Option("text", "the trait that holds the date, as traits.birthday"),
    "every": Option("texts", "a weekday, day of the month or every day with a time: Monday 09:00, 15 09:00, day 09:00"),
    "where": Option("condition", "which of these events count; sees the event alone"),
    "time": Option("text", "with 'at': the time of that day, as 09:00; the instant that the trait holds without it"),
    "yearly": Option("flag", "with 'at': every year on that day"),
    "before": Option("duration", "with 'at': so many days earlier"),
    "in": Option("text", "with 'every': the segment whose members it is for"),
    "over": Option("duration", "with 'every': its members are spread over this time"),
    **_ZONE,
}
STARTS = ("event", "entered", "exited", "stage", "changed", "at", "every")
UNLESS: dict[str, Option] = {
    "event": Option("events", "the event that cancels, or several"),
    "where": Option("condition", "which of these events cancel; sees the event alone"),
    "same": Option("special", "paths that must be equal in the starting and the cancelling event", schema="paths"),
    "if": Option("condition", "cancels as soon as this holds"),
}
CAP: dict[str, Option] = {
    "times": Option("whole", "how often at most", required=True),
    "per": Option("duration", "within which rolling time", required=True),
}
QUIET: dict[str, Option] = {
    "from": Option("text", "when it begins, as 22:00", required=True),
    "to": Option("text", "when it ends, as 08:00", required=True),
    **_ZONE,
    "then": Option("choice", "what falls into it is held until it ends, or dropped; hold without it", choices=("hold", "drop")),
}
DEBOUNCE: dict[str, Option] = {
    "for": Option("duration", "how long nothing more may start it", required=True),
    "at_most": Option("duration", "how long after the first start at the latest"),
}
AGAIN: dict[str, Option] = {
    "exited": Option("text", "only after this segment was left", required=True),
}
GROUP: dict[str, Option] = {
    "triggers": Option("texts", "the triggers of the group", required=True),
    **_LIMITS,
    "pick": Option(
        "choice",
        "of those that are due together each is sent, or the one of the highest priority; each without it",
        choices=("each", "priority"),
    ),
    "pause": Option("duration", "how long the first that is due waits for others to pick from"),
    "description": _DESCRIPTION,
}
CHANNEL: dict[str, Option] = {
    **{name: option for name, option in _LIMITS.items() if name != "holdout"},
    "description": _DESCRIPTION,
}
JOURNEY_STEPS = ("send", "wait", "wait_for", "if", "split", "exit")
JOURNEY_STEP: dict[str, Option] = {
    "send": Option("text", "the name of what is sent"),
    "payload": Option("special", "with 'send': what is sent along", schema="payload"),
    "channel": Option("text", "with 'send': where it should be sent; that of the trigger without it"),
    "when": Option("condition", "with 'send': it is left out where this does not hold"),
    "wait": Option("duration", "how long to wait"),
    "wait_for": Option("events", "an event that is waited for"),
    "up_to": Option("duration", "with 'wait_for': how long at most"),
    "where": Option("condition", "with 'wait_for': which of these events count; sees the event alone"),
    "same": Option("special", "with 'wait_for': paths that must be equal in the starting event", schema="paths"),
    "if": Option("condition", "a condition that decides which way it goes"),
    "then": Option("special", "steps where the condition holds, or the event came", schema="journey"),
    "else": Option("special", "steps where it does not", schema="journey"),
    "split": Option("special", "ways by name, each with its share of the profiles", schema="split"),
    "exit": Option("flag", "true: the journey ends here"),
}
WAY: dict[str, Option] = {
    "share": Option("special", "share of the profiles, as 50%", required=True, schema="share"),
    "steps": Option("special", "what happens to them", schema="journey"),
}
STAGE: dict[str, Option] = {
    "if": Option("condition", "who is in this stage, unless an earlier one holds", required=True),
    "stay": Option("duration", "how long it is kept at least"),
}
LIFECYCLE: dict[str, Option] = {
    "stages": Option("special", "names and conditions, in order: the first that holds counts", required=True, schema="stages"),
    "stay": Option("duration", "how long each stage is kept at least"),
}
EXPIRE: dict[str, Option] = {
    "anonymous": Option("duration", "how long after its last event a profile ends of which only a device is known"),
    "known": Option("duration", "the same for every other profile"),
}
ANSWERS = ("granted", "denied")
CONSENT: dict[str, Option] = {
    "purposes": Option("special", "what data are used for, by name", schema="purposes"),
    "region": Option("expression", "the region of a profile, as traits.country or a feature; defaults may differ by it"),
}
PURPOSE: dict[str, Option] = {
    "default": Option("choice", "what holds of somebody who was never asked", required=True, choices=ANSWERS),
    "regions": Option("special", "the same by region", schema="by_region"),
    "categories": Option("texts", "names of it in `context.consent`: granted where all of those that are given are"),
    "description": _DESCRIPTION,
}
TRACKING: dict[str, Option] = {
    "unplanned": Option(
        "choice",
        "what happens to an event that is not in the plan; accept without it",
        choices=("accept", "warn", "drop", "dead-letter"),
    ),
    "events": Option("special", "the planned events by name", schema="planned_events"),
    "traits": Option("special", "the planned traits by path", schema="properties"),
    "allow_secrets": Option("texts", "properties and traits that are kept although they look like secrets"),
}
PLANNED_EVENT: dict[str, Option] = {
    "properties": Option("special", "the planned properties by path", schema="properties"),
    "violation": Option(
        "choice",
        "what happens to an event that does not fit the plan; warn without it",
        choices=("warn", "drop", "dead-letter"),
    ),
    "purpose": Option("text", "the purpose under `consent` that it is collected for: without it the event counts for nothing"),
}
PROPERTY_TYPES = ("number", "text", "boolean", "time", "list", "any")
PROPERTY: dict[str, Option] = {
    "type": Option("choice", "the type; values sent as text are corrected to it; any without it", choices=PROPERTY_TYPES),
    "required": Option("flag", "an event without it does not fit the plan"),
    "default": Option("special", "the value where none is sent", schema="default"),
    "pii": Option("flag", "it tells who somebody is"),
    "allow_secret": Option("flag", "it is kept although it looks like a secret"),
}
IDENTITY: dict[str, Option] = {
    "namespaces": Option("special", "kinds of identifiers, the strongest first", schema="namespaces"),
    "blocked": Option("texts", "values that identify nobody, as 'null' or '0'"),
    "links": Option(
        "choice",
        "which events say that their identifiers are one person's: said (identify, alias, any with context.externalIds), "
        "or every; said without it",
        choices=("said", "every"),
    ),
}
NAMESPACE: dict[str, Option] = {
    "name": Option("text", "name of the kind, as member_card", required=True),
    "paths": Option("texts", "where it stands in a raw event, as traits.phone", required=True),
    "normalise": Option("choice", "how values are made equal; exact without it", choices=("exact", "lower", "phone")),
    "limit": Option("whole", "how many of them one person may have, at most 1000; 64 without it"),
}
LIST: dict[str, Option] = {
    "values": Option("texts", "the texts on the list"),
    "file": Option("text", "a CSV file beside this one"),
    "column": Option("text", "its column; the first without it"),
    "description": _DESCRIPTION,
}
SCENARIO: dict[str, Option] = {
    "start": Option("special", "when it begins; Monday, 2026-03-02T09:00:00Z without it", schema="time"),
    "steps": Option("special", "what happens and what is expected, in order", required=True, schema="steps"),
    "description": _DESCRIPTION,
}
STEP: dict[str, Option] = {
    "at": Option("special", "when: a time, or +1h after the step before; at the same time without it", schema="time"),
    "user": Option("text", "whose event, and whose profile is looked at; somebody without it"),
    "anonymous": Option("text", "the anonymous id of the event; alone, that of the profile looked at"),
    "event": Option("event", "an event that is sent"),
    "type": Option(
        "choice",
        "its type; track without it, identify where it has no name",
        choices=("track", "identify", "page", "screen", "group", "alias"),
    ),
    "properties": Option("special", "its properties", schema="json"),
    "traits": Option("special", "traits that are sent", schema="json"),
    "context": Option("special", "its context", schema="json"),
    "times": Option("whole", "how often it is sent; once without it"),
    "every": Option("duration", "how much time passes between; none without it"),
    "occurred": Option("special", "when it happened, where it arrives later: a time, or -2h", schema="time"),
    "message_id": Option("text", "its message id; each step has its own without it"),
    "expect": Option("special", "what is so then", schema="expect"),
}
EXPECT: dict[str, Option] = {
    "in": Option("texts", "segments that the profile is in"),
    "not_in": Option("texts", "segments that it is not in"),
    "tags": Option("special", "tags with their values; null for none", schema="json"),
    "features": Option("special", "features with their values; null for none", schema="json"),
    "stage": Option("text", "the stage it is in"),
    "sent": Option(
        "special", "triggers sent since the last expectation, and what their payload holds; [] for none", schema="sent"
    ),
    "not_sent": Option("special", "triggers not sent since then, and the reason", schema="not_sent"),
    "refused": Option("text", "the event is a dead letter with this reason"),
}
SECTIONS: dict[str, str] = {
    "features": "incremental aggregates over one profile's events",
    "tags": "typed values shown on the profile",
    "segments": "who is in, who is out: conditions over features, tags, traits, the stage and other segments",
    "lifecycle": "stages, of which each profile is in exactly one",
    "triggers": "when marketing automation is told",
    "groups": "limits and priorities that triggers share",
    "channels": "limits of everything that is sent by one channel",
    "expire": "when profiles end",
    "consent": "purposes that people may agree to or not, and what holds before they say",
    "tracking": "the tracking plan: what events should look like",
    "identity": "which identifiers name a profile",
    "lists": "static lists of texts",
    "cuts": "constants that scores and tiers are told apart by",
    "shadow": "true: to be evaluated beside the version in force, not in its place",
    "scenarios": "tests: events at times, and what is expected then",
}
