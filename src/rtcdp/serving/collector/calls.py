"""What a body says: one event or a batch of them, each as the raw event that goes to Kafka. Pure.

The nested JSON of an event is passed on byte for byte, so that nothing is lost or rounded on the way; only fields of the
event itself and of its `context` are added.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from rtcdp.errors import Unfit
from rtcdp.ingestion.events import MAX_RAW_BYTES, TYPES, RawEvent, Scalar, decode, repair
from rtcdp.ingestion.ingestor import event_type
from rtcdp.rules.compiling.purposes import CATEGORIES

SINGLE = {
    "track": "track",
    "identify": "identify",
    "page": "page",
    "screen": "screen",
    "group": "group",
    "alias": "alias",
    "t": "track",
    "i": "identify",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
}
"""Calls of one event: the last part of the path, and the event's type. The short ones are the browser SDK's."""
BATCHES = {"batch": False, "b": False, "import": True}
"""Calls of many events, and whether they are imported history."""

LONGEST_KEY = 256
LONGEST_AGENT = 512

Fields = dict[str, msgspec.Raw]
Addresses = Literal["keep", "cut", "drop"]

_fields = msgspec.json.Decoder(Fields).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_TRUE = msgspec.Raw(b"true")
_OF_THE_CONNECTION = ("ip", "userAgent", "userAgentData")

_tree = msgspec.json.Decoder(dict[str, Any]).decode


class Envelope(msgspec.Struct, frozen=True):
    """A body taken apart.

    events:    each event's JSON.
    write_key: as the body gives it, b"" where it does not.
    sent_at:   when the batch was sent, as JSON; None where it is not said, or said in the event itself.
    context:   what the batch says of the context of all its events.
    """

    events: list[msgspec.Raw]
    write_key: bytes = b""
    sent_at: msgspec.Raw | None = None
    context: Fields = {}


class Stamp(msgspec.Struct, frozen=True):
    """What is put on every event of a request.

    received:   RFC 3339, `receivedAt`; None: the event's own is kept (a source whose time comes from the events).
    kind:       the type that the path says; "": the event says it itself.
    historical: imported history.
    ip, agent:  of the connection; "" where they are not to be taken.
    addresses:  what becomes of IP addresses. agents: whether user agents are kept.
    consent:    categories of consent, in lower case: neither is kept of an event that says no to one of them.
    sent_at, context: of the batch.
    """

    received: str | None
    kind: str = ""
    historical: bool = False
    ip: str = ""
    agent: str = ""
    addresses: Addresses = "keep"
    agents: bool = True
    consent: frozenset[str] = frozenset()
    sent_at: msgspec.Raw | None = None
    context: Fields = {}


def open_single(body: bytes) -> Envelope:
    """The body of a call of one event. Raises Unfit where it is no JSON object."""
    fields = _object(body)
    return Envelope([msgspec.Raw(body)], _write_key(fields))


def open_batch(body: bytes) -> Envelope:
    """The body of a batch. Raises Unfit where it is no JSON object, or `batch` is missing or no list."""
    fields = _object(body)
    batch = fields.get("batch")
    if batch is None:
        raise Unfit("missing_field", "a batch needs the list of its events", "batch")
    try:
        events = _items(batch)
    except msgspec.DecodeError:
        raise Unfit("wrong_type", "Expected `array`", "batch") from None
    try:
        context = _fields(fields.get("context", b"{}"))
    except msgspec.DecodeError:
        context = {}
    return Envelope(events, _write_key(fields), fields.get("sentAt"), context)


def prepare(
    event: bytes, stamp: Stamp, new_id: Callable[[], str], repairs: Counter[str] | None = None
) -> tuple[bytes | None, bytes]:
    """Kafka key and value of one event.

    event:   its JSON. new_id: makes a message id, called where the event has none.
    repairs: counts what is wrong with the JSON and will be repaired by ingest.

    The key keeps the events of a visitor in order: the anonymous id, which stays when he logs in, else the user id.

    Raises Unfit where it can be used by nobody, whatever the definitions: no JSON, not an object, too large, nested too
    deep, of no known type, a track event without a name. What else may be wrong with it is found by ingest.
    """
    counted = Counter() if repairs is None else repairs
    raw = decode(event, counted)
    fields = _object(event)
    kind = stamp.kind or (raw.type if raw.type in TYPES else event_type(raw, counted))
    if kind == "track" and not _filled(raw.event):
        raise Unfit("missing_field", "a track event needs the name of the event", "event")
    for name, tree in (("properties", raw.properties), ("traits", raw.traits), ("context", raw.context)):
        if tree and isinstance(tree, list):  # an empty one is how PHP writes an empty object
            raise Unfit("wrong_type", "Expected `object`, got `array`", name)
    fields.pop("writeKey", None)
    if not (_filled(raw.message_id) or _filled(raw.snake_message_id)):
        fields["messageId"] = _json(new_id())
    if raw.type != kind:
        fields["type"] = _json(kind)
    if stamp.received is not None:
        fields["receivedAt"] = _json(stamp.received)
    if stamp.sent_at is not None and raw.sent_at is None and raw.snake_sent_at is None:
        fields["sentAt"] = stamp.sent_at
    context = _context(raw, fields.get("context"), stamp)
    if context or raw.context:  # also where nothing of it is left
        fields["context"] = msgspec.Raw(_encode(context))
    value = _encode(fields)
    if len(value) > MAX_RAW_BYTES:
        raise Unfit("too_large", f"{len(value)} bytes, at most {MAX_RAW_BYTES} are allowed")
    return _key(raw), value


def cut(address: str) -> str:
    """An IP address without the part that names one connection: the last 8 bits of IPv4, 80 of IPv6; "" for what is none."""
    try:
        found = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    network = ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False)
    return str(network.network_address)


def _context(raw: RawEvent, own: msgspec.Raw | None, stamp: Stamp) -> Fields:
    """The event's context over the batch's, with what the connection tells, and without what is to be dropped."""
    context: Fields = dict(stamp.context)
    if own is not None and isinstance(raw.context, dict):
        context |= _object(bytes(own))
    if stamp.historical:
        context["import"] = _TRUE
    if stamp.consent and _denied(context.get("consent"), stamp.consent):
        for name in _OF_THE_CONNECTION:
            context.pop(name, None)
        return context
    if stamp.addresses == "drop":
        context.pop("ip", None)
    else:
        if stamp.ip and "ip" not in context:
            context["ip"] = _json(stamp.ip)
        if stamp.addresses == "cut" and "ip" in context:
            context["ip"] = _json(cut(_read_text(context["ip"])))
    if not stamp.agents:
        context.pop("userAgent", None)
        context.pop("userAgentData", None)
    elif stamp.agent and "userAgent" not in context:
        context["userAgent"] = _json(stamp.agent[:LONGEST_AGENT])
    return context


def _denied(consent: msgspec.Raw | None, categories: frozenset[str]) -> bool:
    """Whether an event's answers, in Segment's consent object or by their names alone, say no to one of these."""
    try:
        found = _tree(b"{}" if consent is None else consent)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    answers = found.get(CATEGORIES, found)
    return isinstance(answers, dict) and any(no is False and name.lower() in categories for name, no in answers.items())


def _object(text: bytes) -> Fields:
    """The fields of a JSON object, their values unread; with the same repairs as ingest makes. Raises Unfit."""
    try:
        return _fields(text)
    except RecursionError:
        raise Unfit("too_deep", "nested too deep") from None
    except msgspec.ValidationError:
        raise Unfit("not_an_object", "Expected `object`") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not text.strip():
            raise Unfit("empty", "there is nothing in it") from None
        try:
            return _fields(repair(text, Counter()))
        except RecursionError:
            raise Unfit("too_deep", "nested too deep") from None
        except msgspec.ValidationError:
            raise Unfit("not_an_object", "Expected `object`") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unfit("malformed_json", str(error)[:200]) from None


def _write_key(fields: Fields) -> bytes:
    given = fields.get("writeKey")
    return b"" if given is None else _read_text(given).encode()


def _read_text(json: msgspec.Raw) -> str:
    """A JSON text; "" for anything else."""
    try:
        return _text(json)
    except (msgspec.DecodeError, UnicodeError):
        return ""


def _key(raw: RawEvent) -> bytes | None:
    for value in (raw.anonymous_id, raw.snake_anonymous_id, raw.user_id, raw.snake_user_id):
        if _filled(value):
            return str(value).encode("utf-8", "replace")[:LONGEST_KEY]
    return None


def _filled(value: Scalar) -> bool:
    return value is not None and value != "" and not isinstance(value, bool)


def _json(text: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(text))
