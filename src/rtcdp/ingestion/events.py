"""The raw event: Segment-spec JSON as producers send it, decoded into a typed struct without trusting it.

`decode(raw)` accepts what can be understood for certain, repairs what real producers get wrong in the JSON itself,
and raises `Unfit` for the rest. What the fields mean and how they are cleaned is docs/events.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import msgspec

from rtcdp.errors import Unfit

TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})

MAX_RAW_BYTES = 524_288
"""Longer raw events are dead letters, unread: cleaned, one of this size still fits Kafka's usual 1 MiB record."""
MAX_NESTING = 64
"""Deeper JSON is a dead letter, before decoding: how deep a decoder gets must not depend on its caller's stack."""

REASONS = {
    "null_value": "the Kafka record has no value",
    "empty": "the value is empty or only white space",
    "too_large": f"the raw event is longer than {MAX_RAW_BYTES} bytes, or still too large once cleaned",
    "too_deep": f"the JSON is nested more than {MAX_NESTING} deep",
    "not_utf8": "the bytes are no UTF-8",
    "malformed_json": "the bytes are no JSON, and it is not one of the mistakes that are repaired",
    "not_an_object": "the JSON is something else than an object",
    "wrong_type": "a field of the event itself has a type that cannot be read as what it should be",
    "missing_field": "a field that this type of event needs is missing or empty",
    "unknown_type": "`type` is none of track, identify, page, screen, group, alias",
    "no_identifier": "no usable identifier: nothing says whose event it is",
    "bad_timestamp": "`event` time mode: the time cannot be read, or is before 2000 or after 2099",
    "future": "`event` time mode: the time is more than a day after the record reached the broker",
    "no_append_time": "`arrival` time mode: the broker gave the record no append time",
    "unplanned": "the tracking plan does not name the event, and says dead-letter",
    "violation": "the event violates its tracking plan, which says dead-letter",
    "unexpected": "an error inside rtcdp; the detail names it",
}
"""Every reason of a dead letter of the stage `ingest`, and what it means."""

Scalar = str | int | float | bool | None
Object = dict[str, Any] | list[Any] | None  # PHP writes an empty object as []


class RawEvent(msgspec.Struct, rename="camel", kw_only=True, gc=False):
    """An event as it came. Everything is optional here; unknown fields are ignored.

    Scalars take text, numbers and booleans, because producers mix them up; cleaning decides what they mean.
    The fields with a leading `snake_` are the same ones in snake case, read where the camel-case one is missing.
    """

    type: Scalar = None
    event: Scalar = None
    name: Scalar = None
    category: Scalar = None
    message_id: Scalar = None
    user_id: Scalar = None
    anonymous_id: Scalar = None
    previous_id: Scalar = None
    group_id: Scalar = None
    timestamp: Scalar = None
    original_timestamp: Scalar = None
    sent_at: Scalar = None
    received_at: Scalar = None
    channel: Scalar = None
    properties: Object = None
    traits: Object = None
    context: Object = None
    integrations: Any = None
    version: Any = None
    snake_message_id: Scalar = msgspec.field(default=None, name="message_id")
    snake_user_id: Scalar = msgspec.field(default=None, name="user_id")
    snake_anonymous_id: Scalar = msgspec.field(default=None, name="anonymous_id")
    snake_sent_at: Scalar = msgspec.field(default=None, name="sent_at")
    snake_received_at: Scalar = msgspec.field(default=None, name="received_at")


_decode = msgspec.json.Decoder(RawEvent).decode

(_BRACKET,) = b"["  # one byte is found ten times faster as a number than as a text
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]+|[\]}]+', re.DOTALL)
# A string, kept as it is (an unclosed one to the end, so that the search stays linear); or a token JSON does not know;
# or a number that may be out of range.
_TOKENS = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?|-?\b(?:NaN|Infinity|nan|inf)\b|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?', re.DOTALL
)
_SURROGATES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL
)
_RAW_CONTROLS = re.compile(rb"[\x00-\x1f]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONE_LENGTH = len(rb"\ud83d")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


def decode(raw: bytes | None, fixes: Counter[str]) -> RawEvent:
    """The event in `raw`, as of `read`."""
    return read(raw, fixes)[0]


def read(raw: bytes | None, fixes: Counter[str]) -> tuple[RawEvent, bytes]:
    """The event in `raw`, and the JSON text that it was read from: what had to be repaired in it is counted in `fixes`.

    Raises Unfit (null_value, empty, too_large, too_deep, not_utf8, malformed_json, not_an_object, wrong_type).
    """
    if raw is None:
        raise Unfit("null_value", "the record has no value")
    if len(raw) > MAX_RAW_BYTES:
        raise Unfit("too_large", f"{len(raw)} bytes, at most {MAX_RAW_BYTES} are allowed")
    if raw.count(b"{") + (raw.count(b"[") if _BRACKET in raw else 0) > MAX_NESTING and nesting(raw) > MAX_NESTING:
        raise Unfit("too_deep", f"nested more than {MAX_NESTING} deep")
    try:
        return _decode(raw), raw
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_repaired(raw, error, fixes)


def nesting(raw: bytes) -> int:
    """How deep objects and arrays are nested in JSON text, brackets inside strings not counted."""
    depth = deepest = 0
    for match in _STRUCTURE.finditer(raw):
        token = match[0]
        if token[0] in b"[{":
            depth += len(token)
            deepest = max(deepest, depth)
        elif token[0] in b"]}":
            depth -= len(token)
    return deepest


def _decode_repaired(raw: bytes, error: Exception, fixes: Counter[str]) -> tuple[RawEvent, bytes]:
    """Second try, with the mistakes in the JSON text repaired. Only what failed to decode comes here."""
    if not raw.strip():
        raise Unfit("empty", "the value is empty")
    found: Counter[str] = Counter()
    repaired = repair(raw, found)
    try:
        repaired.decode()
        event = _decode(repaired)
    except UnicodeDecodeError as wrong:
        raise Unfit("not_utf8", f"byte {wrong.start}: {wrong.reason}") from error
    except msgspec.ValidationError as wrong:
        raise _unfit_type(wrong) from error
    except msgspec.DecodeError as wrong:
        raise Unfit("malformed_json", str(wrong)[:200]) from error
    fixes.update(+found)
    return event, repaired


def repair(raw: bytes, fixes: Counter[str]) -> bytes:
    r"""JSON text with the usual mistakes of producers repaired, each counted in `fixes`.

    byte_order_mark: a UTF-8 byte order mark before the text is removed.
    not_a_number:    NaN, Infinity (Python, pandas) and numbers beyond a double become null.
    raw_control_characters: unescaped ones inside a string (line breaks) become spaces.
    lone_surrogates: half of a surrogate pair (`\ud83d`: text cut inside an emoji) becomes U+FFFD.
    """
    if raw.startswith(_BYTE_ORDER_MARK):
        raw = raw[len(_BYTE_ORDER_MARK) :]
        fixes["byte_order_mark"] += 1

    def surrogate(match: re.Match[bytes]) -> bytes:
        escape = match[0]
        if len(escape) != _LONE_LENGTH:  # a pair, or an escape of another kind
            return escape
        fixes["lone_surrogates"] += 1
        return rb"\ufffd"

    def token(match: re.Match[bytes]) -> bytes:
        text = match[0]
        if text.startswith(b'"'):
            text, controls = _RAW_CONTROLS.subn(b" ", text)
            fixes["raw_control_characters"] += controls
            return _SURROGATES.sub(surrogate, text) if b"\\" in text else text
        if text[-1:].isdigit() and math.isfinite(float(text)):
            # An integer with more digits than a double can hold fails above; one too long for an int stays a number.
            return text
        fixes["not_a_number"] += 1
        return b"null"

    return _TOKENS.sub(token, raw)


def _unfit_type(error: msgspec.ValidationError) -> Unfit:
    """What msgspec says it expected and where; the whole message is made of the schema, not of the data."""
    text = str(error)
    place = _PLACE.search(text)
    field = place[1] if place else ""
    if not place:
        return Unfit("not_an_object", text)
    return Unfit("wrong_type", text[: place.start()], field)
