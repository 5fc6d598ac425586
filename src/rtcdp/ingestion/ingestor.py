"""Ingestion: one raw record in, one clean event for `profile-events` out, or the reason why not.

Pure: the result depends on the record, its origin, its append time and the definitions' `tracking:` and `identity:`
alone, so that a worker that takes a partition over makes the same records again. It never raises, whatever the bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import msgspec
import xxhash

from rtcdp.errors import Unfit
from rtcdp.ingestion import cleaning, sensitive, tracking
from rtcdp.ingestion.cleaning import Tree
from rtcdp.ingestion.events import TYPES, RawEvent, read
from rtcdp.ingestion.identity import Resolver
from rtcdp.ingestion.letters import Headers, read_headers
from rtcdp.records import Event
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from rtcdp.times import timestamps

INGEST_VERSION = 2
"""Version of the cleaning code. Raised with every change that gives another record for the same bytes."""

MAX_CLEAN_BYTES = 900_000
"""A larger cleaned event is a dead letter: with key and headers it has to fit Kafka's usual 1 MiB."""
MAX_FUTURE = 86_400_000
"""`event` time mode: how far (ms) an event's time may lie after the append time of its record."""

# A twin of records.Event made by position, at a third of the cost; its bytes are the same (a test).
_PositionalEvent: Any = msgspec.defstruct(
    "Event",
    [
        (
            each.name,
            each.type,
            msgspec.field(default_factory=each.default_factory) if each.default_factory in (dict, list) else each.default,
        )
        if each.default is not msgspec.NODEFAULT or each.default_factory is not msgspec.NODEFAULT
        else (each.name, each.type, None)  # never a value of theirs, so never left out
        for each in msgspec.structs.fields(Event)
    ],
    tag_field="kind",
    tag="event",
    omit_defaults=True,
    gc=False,
)
_encode = msgspec.json.Encoder().encode
_LINKS = frozenset({"identify", "alias"})
"""The calls whose purpose it is to say which identifiers are one person's; any other may carry several by accident."""
_IDS = "externalIds"
"""Where the context of any call says it too: Segment's list of a person's identifiers."""
_NOBODY: list[str] = []
REMEMBERED = 4_096
"""Names and channels of which the cleaned form is kept: there are few."""


class Source(msgspec.Struct, frozen=True):
    """A topic of raw events.

    topic:  its name.
    tenant: first part of the profile keys of its events ([a-z0-9_-]+).
    time:   `arrival`: `received` is the append time. `event`: it is the event's own time (imports, tests).
    """

    topic: str
    tenant: str = "main"
    time: Literal["arrival", "event"] = "arrival"


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A clean event: Kafka key (the profile key) and value for `profile-events`; received in ms."""

    key: bytes
    value: bytes
    received: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """No event. letter: whether it becomes a dead letter; False where the tracking plan says drop (only counted)."""

    unfit: Unfit
    letter: bool = True


class Ingestor:
    """Ingests the records of one source. Not for several threads.

    counts: what was repaired and removed, by the names of `cleaning.FIXES`; what was dropped or refused by the plan too.
    """

    def __init__(self, tracking: TrackingPlan, identity: IdentityPlan, source: Source) -> None:
        self.counts: Counter[str] = Counter()
        self._plan = tracking
        self._planned = bool(tracking.events) or tracking.unplanned != "accept"
        self._resolver = Resolver(identity, source.tenant)
        self._links = TYPES if identity.every else _LINKS
        self._simulated = source.time == "event"
        self._inspector = cleaning.Inspector()
        self._names: dict[str, str] = {}
        self._channels: dict[str, str] = {}
        # What names an identifier must not be taken for a card number; a device's token is for sending push messages.
        general = (
            tracking.allow_secrets
            | self._resolver.exempt
            | {"context.device.token", "context.externalIds.id", "properties.groupId", "properties.previousId"}
        )
        self._allowed = general | _allowed(tracking.traits, "traits")
        self._allowed_by_event = {
            name: self._allowed | _allowed(planned.properties, "properties") for name, planned in tracking.events.items()
        }

    def ingest(
        self, value: bytes | None, origin_source: str, offset: int, appended: int, headers: Headers = None
    ) -> Accepted | Refused:
        """Clean one raw record.

        value:         its bytes; None is possible and refused.
        origin_source: `<topic id>/<partition>`; with `offset` the origin.
        appended:      append time of the record (ms); 0 or less where unknown (then no event is "in the future", and
                       `arrival` mode refuses).
        headers:       Kafka headers; those of a replayed dead letter are read.
        """
        try:
            return self._ingest(value, origin_source, offset, appended, headers)
        except Unfit as unfit:
            return Refused(unfit)
        except tracking.Dropped as dropped:
            self.counts["plan_dropped"] += 1
            return Refused(Unfit("dropped", dropped.detail, dropped.field), letter=False)
        except Exception as error:  # noqa: BLE001  # one record that trips a bug of ours must not stop all others
            return Refused(Unfit("unexpected", f"{type(error).__name__}: {error}"[:200]))

    def _ingest(self, value: bytes | None, source: str, offset: int, appended: int, headers: Headers) -> Accepted:
        counts = self.counts
        raw, text = read(value, counts)
        first_received, first_origin = read_headers(headers) if headers else (0, "")
        kind = raw.type if raw.type in TYPES else event_type(raw, counts)
        received, occurred = self._times(raw, appended, first_received)
        resolver = self._resolver
        user_id, key = resolver.user(raw.snake_user_id if raw.user_id is None else raw.user_id, counts)
        anonymous_id = resolver.anonymous_id(raw.snake_anonymous_id if raw.anonymous_id is None else raw.anonymous_id, counts)
        event = self._name(raw.event) if kind == "track" else kind
        properties, traits, context = self._trees(text, raw, kind, event)
        if key is None and (key := resolver.key(user_id, anonymous_id, traits, context, counts)) is None:
            raise Unfit("no_identifier", "no usable identifier: userId, anonymousId, or one in traits or context")
        record = _encode(
            _PositionalEvent(
                received,
                occurred,
                source,
                offset,
                self._message_id(raw) or first_origin or f"{source}/{offset}",
                kind,
                event,
                self._channel(raw, kind, context),
                user_id,
                anonymous_id,
                self._also(kind, user_id, anonymous_id, properties, traits, context)
                if kind in self._links or _IDS in context
                else _NOBODY,
                properties,
                traits,
                context,
                0 if appended == received or appended < 0 else appended,
                self._simulated,
                context.get("import") is True,
            )
        )
        if len(record) > MAX_CLEAN_BYTES:
            raise Unfit("too_large", f"{len(record)} bytes once cleaned, at most {MAX_CLEAN_BYTES} are allowed")
        return Accepted(key, record, received)

    def _also(self, kind: str, user_id: str, anonymous_id: str, properties: Tree, traits: Tree, context: Tree) -> list[str]:
        """Profile keys of the other identifiers of a call that says whose they are: all but the strongest, which is the key.

        The `previousId` of an `alias` call is an anonymous one: two users are never made one.
        """
        unheard: Counter[str] = Counter()  # what is wrong with an identifier was counted when the key was chosen
        keys = self._resolver.all_keys(user_id, anonymous_id, traits, context, unheard)
        if kind == "alias" and properties.get("previousId"):
            keys += self._resolver.all_keys(user_id, properties["previousId"], traits, context, unheard)
        return [key.decode() for key in dict.fromkeys(keys)][1:]

    # --- time ---

    def _times(self, raw: RawEvent, appended: int, first_received: int) -> tuple[int, int]:
        """(received, occurred) as LANGUAGE says under "Time"; ms."""
        stamp = None if raw.timestamp is None else self._time(raw.timestamp)
        if self._simulated:
            stamped = raw.snake_received_at if raw.received_at is None else raw.received_at
            if stamped is not None:
                stamped = self._time(stamped)
            received = self._simulated_received(raw, stamped, stamp, appended)
        elif appended <= 0:
            raise Unfit("no_append_time", f"append time {appended}")
        else:
            stamped = None
            received = min(appended, first_received) if first_received > timestamps.EARLIEST else appended
        occurred = received if stamp is None else stamp
        if raw.sent_at is not None or raw.snake_sent_at is not None:
            if not self._simulated:
                stamped = self._time(_either(raw.received_at, raw.snake_received_at)) or received
            occurred = self._corrected(raw, stamp, stamped, occurred)
        if occurred > received:
            self.counts["time_after_received"] += 1
            return received, received
        if occurred < timestamps.EARLIEST:
            self.counts["time_absurd"] += 1
            return received, received
        return received, occurred

    def _corrected(self, raw: RawEvent, stamp: int | None, stamped_received: int | None, otherwise: int) -> int:
        """`receivedAt - (sentAt - timestamp)`: the client's clock may be wrong, but the same for both of its times.

        Where a collector has corrected `timestamp` already, `originalTimestamp` is the client's own.
        """
        sent = self._time(_either(raw.sent_at, raw.snake_sent_at))
        own = stamp if raw.original_timestamp is None else self._time(raw.original_timestamp)
        if sent is None or own is None or stamped_received is None:
            return otherwise
        return stamped_received - (sent - own)

    def _simulated_received(self, raw: RawEvent, stamped: int | None, stamp: int | None, appended: int) -> int:
        received = stamp if stamped is None else stamped
        field = "timestamp" if stamped is None else "receivedAt"
        if received is None:
            if raw.timestamp is None:
                raise Unfit("missing_field", "the source takes its time from the events: one is needed", field)
            raise Unfit("bad_timestamp", "the time cannot be read", field)
        if appended > 0 and received > appended + MAX_FUTURE:
            raise Unfit("future", "more than a day after the record reached the broker", field)
        if not timestamps.EARLIEST <= received < timestamps.LATEST:
            raise Unfit("bad_timestamp", "before 2000 or after 2099", field)
        return received

    def _time(self, value: object) -> int | None:
        if value is None:
            return None
        moment = timestamps.parse(value)
        if moment is None:
            self.counts["time_unreadable"] += 1
        elif type(value) is str and value[-1] != "Z" and not timestamps.has_offset(value):
            self.counts["time_no_offset"] += 1
        return moment

    # --- names and fields ---

    def _name(self, value: object) -> str:
        """The cleaned name of a track event. Names are few: they are remembered."""
        if type(value) is str:
            known = self._names.get(value)
            if known is not None:
                return known
        text = cleaning.clean_name(sensitive.clean_text(cleaning.clean_text(_text(value)), self.counts))
        if not text or text == "*":
            raise Unfit("missing_field", "a track event needs the name of the event (and not `*`)", "event")
        if type(value) is str:
            if text != value:
                self.counts["name_cut" if len(value.strip()) > cleaning.MAX_NAME else "text"] += 1
                return text  # not remembered, so that it is counted each time
            _remember(self._names, value, text)
        return text

    def _message_id(self, raw: RawEvent) -> str:
        value = raw.message_id
        if value is None:
            value = raw.snake_message_id
            if value is None:
                return ""
        text = _text(value)
        if len(text) > cleaning.MAX_NAME:
            self.counts["message_id_hashed"] += 1
            return xxhash.xxh3_128_hexdigest(text.encode())
        return text if text.isascii() and text.isprintable() and " " not in text else cleaning.clean_name(text)

    def _channel(self, raw: RawEvent, kind: str, context: Tree) -> str:
        """`channel`, else `context.channel`, else what kind of event and context tell: web, app, or "" (unknown)."""
        known = self._channels.get(raw.channel) if type(raw.channel) is str else None
        if known is not None:
            return known
        for value in (raw.channel, context.get("channel")):
            if value:
                text = _text(value)
                if len(text) >= sensitive.SHORTEST_NUMBER or not (text.isascii() and text.isprintable()) or " " in text:
                    text = cleaning.clean_name(sensitive.clean_text(cleaning.clean_text(text), self.counts))
                if text:
                    if text == raw.channel:  # nothing was counted, and nothing will be
                        _remember(self._channels, text, text)
                    return text
        if kind == "screen" or "app" in context or "device" in context:
            return "app"
        return "web" if kind == "page" or "page" in context else ""

    def _special_fields(self, raw: RawEvent, kind: str, properties: Tree, traits: Tree) -> tuple[Tree, Tree]:
        """(properties, traits): what only some types carry is put where expressions can read it, in the properties.

        page, screen: `name`, `category`, where the properties have none. alias: `previousId`. group: `groupId`; its
        traits are the group's, and the profile keeps them as one trait `groups.<id>`.
        """
        if kind in {"page", "screen"}:
            found = (("name", raw.name), ("category", raw.category))
            fields = {name: _text(value) for name, value in found if value and name not in properties}
            return ({**properties, **fields} if fields else properties), traits
        if kind == "alias":
            return {**properties, "previousId": self._resolver.user_id(raw.previous_id, self.counts)}, traits
        if kind == "group":
            group = self._resolver.identifier(raw.group_id, self.counts)
            if not group:
                raise Unfit("missing_field", "a group call needs a groupId", "groupId")
            return {**properties, "groupId": group}, {f"groups.{group}": traits} if traits else {}
        return properties, traits

    # --- trees ---

    def _trees(self, text: bytes, raw: RawEvent, kind: str, event: str) -> tuple[Tree, Tree, Tree]:
        """Properties, traits and context: cleaned, and as the tracking plan wants them."""
        properties, traits, context = raw.properties, raw.traits, raw.context
        if type(properties) is not dict:
            properties = self._no_object(properties, "properties")
        if type(traits) is not dict:
            traits = {} if traits is None else self._no_object(traits, "traits")
        if type(context) is not dict:
            context = self._no_object(context, "context")
        if kind != "track":
            properties, traits = self._special_fields(raw, kind, properties, traits)
        inspector = self._inspector
        values = not inspector.bytes_clean(text, (raw.timestamp, raw.message_id, raw.user_id, raw.anonymous_id, raw.sent_at))
        if kind != "track" and (type(raw.name) is float or type(raw.category) is float):
            values = True  # `4.2e15` has become a text with more digits than were written
        if not (
            (not properties or inspector.tree_clean(properties, values=values))
            and (not traits or inspector.tree_clean(traits, values=values))
            and (not context or inspector.tree_clean(context, values=values))
        ):
            allowed = self._allowed_by_event.get(event, self._allowed)
            properties = cleaning.clean_tree(properties, allowed, self.counts, "properties")
            traits = cleaning.clean_tree(traits, allowed, self.counts, "traits")
            context = cleaning.clean_tree(context, allowed, self.counts, "context")
        if self._planned and kind == "track":
            properties = tracking.apply_to_event(self._plan, event, properties, self.counts)
        if traits and self._plan.traits:
            traits = tracking.apply_to_traits(self._plan, traits, self.counts)
        return properties, traits, context

    def _no_object(self, value: object, field: str) -> Tree:
        if value:
            raise Unfit("wrong_type", "Expected `object`, got `array`", field)
        if value is not None:
            self.counts["empty_list_object"] += 1
        return {}


def _remember(known: dict[str, str], value: str, text: str) -> None:
    if len(known) >= REMEMBERED:
        known.clear()
    known[value] = text


def _either(camel: object, snake: object) -> object:
    return snake if camel is None else camel


def _text(value: object) -> str:
    """A scalar as text, as JSON writes it; "" for null and booleans."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]  # just checked
    if kind is float and value.is_integer():  # type: ignore[attr-defined]  # just checked
        return str(int(value))  # type: ignore[call-overload]  # just checked
    return str(value) if kind is int or kind is float else ""


def event_type(raw: RawEvent, fixes: Counter[str]) -> str:
    """The type where it is not written as it should be. Raises Unfit."""
    if raw.type is None:
        if raw.event is None:
            raise Unfit("missing_field", "neither `type` nor `event` is given", "type")
        fixes["type_inferred"] += 1
        return "track"
    kind = _text(raw.type).strip().lower()
    if kind not in TYPES:
        raise Unfit("unknown_type", "known are " + ", ".join(sorted(TYPES)), "type")
    return kind


def _allowed(rules: Any, root: str) -> frozenset[str]:
    return frozenset(f"{root}.{path}" for path, rule in rules.items() if rule.allow_secret)
