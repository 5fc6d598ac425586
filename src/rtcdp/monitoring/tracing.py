"""Traces, where they are wanted: W3C trace context in the headers of requests and records, spans to OpenTelemetry.

Where `otlp` is empty there is no `Spans`, nothing is imported, and no header is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from rtcdp.errors import SettingError

if TYPE_CHECKING:
    from confluent_kafka import Message

    from rtcdp.monitoring.spans import Spans
    from rtcdp.settings.config import Settings

HEADER = "traceparent"
SAMPLED = 1
_LENGTH = 55
"""Of `00-<32 hex>-<16 hex>-<2 hex>`."""

Headers = list[tuple[str, bytes]]
HeadersOf = Callable[[bytes, bytes | None], Headers]
"""A record's headers, by its key and value."""


def spans_of(settings: Settings, process: str) -> Spans | None:
    """Where this process reports its spans; None where that is off.

    process: its name, as in `rtcdp collector`.

    Raises SettingError where the packages are missing.
    """
    if not settings.otlp:
        return None
    try:
        from rtcdp.monitoring import spans  # noqa: PLC0415 - only who wants traces has it installed
    except ImportError:
        raise SettingError("otlp: traces need more packages: pip install 'rtcdp[otel]'") from None
    return spans.exporting(settings.otlp, f"rtcdp-{process}", settings.instance)


def parent_of(headers: Any) -> bytes | None:
    """The trace context in a record's headers (as confluent_kafka gives them), where it is of a trace that is recorded."""
    for name, value in headers or ():
        if name == HEADER and value is not None:
            return value if sampled(value) else None
    return None


def sampled(parent: bytes) -> bool:
    """Whether a trace context is well-formed, and its trace is recorded."""
    try:
        return len(parent) == _LENGTH and bool(int(parent[-2:], 16) & SAMPLED)
    except ValueError:
        return False


def parents_of(messages: Iterable[Message]) -> dict[int, bytes]:
    """The recorded trace contexts of messages of one partition, by offset."""
    found = {}
    for message in messages:
        headers = message.headers()
        if headers and (parent := parent_of(headers)) is not None:
            found[message.offset() or 0] = parent
    return found


class _Data(msgspec.Struct):
    message_id: str = ""


class _Caused(msgspec.Struct):
    """What a change and a trigger have in common: the event that caused it."""

    message_id: str = ""
    data: _Data = msgspec.field(default_factory=_Data)


class _Inner(msgspec.Struct):
    id: str = ""


class _Event(msgspec.Struct):
    """What is looked at of a record of the log: an event (whose `event` is its name), or one that is passed on (`event`)."""

    id: str = ""
    event: str | _Inner = ""

    @property
    def message_id(self) -> str:
        return self.event.id if isinstance(self.event, _Inner) else self.id


_event = msgspec.json.Decoder(_Event).decode
_caused = msgspec.json.Decoder(_Caused).decode


class Carried:
    """Headers for what a batch puts out: everything belongs to the trace of the event that caused it.

    batch:   offset, profile key, value of the records that were folded.
    parents: recorded trace contexts, by offset.
    """

    def __init__(self, batch: Sequence[tuple[int, bytes | None, bytes | None]], parents: Mapping[int, bytes]) -> None:
        self._known: dict[tuple[bytes, str], bytes] = {}
        for offset, key, value in batch if parents else ():
            if (parent := parents.get(offset)) is not None and key is not None and value is not None:
                try:
                    self._known[key, _event(value).message_id] = parent
                except msgspec.DecodeError:  # the fold makes a dead letter of it
                    continue
        self._keys = {key for key, _ in self._known}
        self._events = {identity: parent for (_, identity), parent in self._known.items() if identity}

    @property
    def output(self) -> HeadersOf | None:
        """Of changes and triggers, by profile key and value; None: none has any."""
        return self._output if self._known else None

    def passed_on(self, value: bytes) -> HeadersOf | None:
        """Of an event that a profile passes on to the person it belongs to; None for all else that profiles tell each other.

        value: before it was sealed.
        """
        if not self._known:
            return None
        try:
            found = _event(value).event
        except msgspec.DecodeError:
            return None
        parent = self._events.get(found.id) if isinstance(found, _Inner) else None
        return None if parent is None else lambda _key, _value: [(HEADER, parent)]

    def _output(self, key: bytes, value: bytes | None) -> Headers:
        if key not in self._keys or value is None:
            return []
        output = _caused(value)
        parent = self._known.get((key, output.message_id or output.data.message_id))
        return [] if parent is None else [(HEADER, parent)]
