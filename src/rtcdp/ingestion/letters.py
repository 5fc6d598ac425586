"""Dead letters: what `events-dlq` keeps of a record that could not be used. Pure; Kafka's side of it is `dlq`."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Literal

import xxhash

from rtcdp.errors import Unfit
from rtcdp.outputs import DeadLetter, Origin, encode
from rtcdp.times import timestamps

RECEIVED_HEADER = "rtcdp-received"
"""Kafka header of a replayed dead letter: when it was received at first, ms as decimal text."""
ORIGIN_HEADER = "rtcdp-origin"
"""Kafka header of a replayed dead letter: its first origin, `<topic id or name>/<partition>/<offset>`."""

KEPT_BYTES = 65_536
"""Of an original that does not fit, so many bytes are kept."""
KEPT_KEY_BYTES = 1_024
DETAIL_LENGTH = 500
RECORD_OVERHEAD = 1_024
"""What a Kafka record may take beside its key and value (bytes): batch and record headers, Kafka headers."""

Headers = Iterable[tuple[str, bytes | str | None]] | None


def origin_name(origin: Origin) -> str:
    """`<topic id or name>/<partition>/<offset>`: names a raw record, and is its dead letter's Kafka key."""
    return f"{origin.topic_id or origin.topic}/{origin.partition}/{origin.offset}"


def read_headers(headers: Headers) -> tuple[int, str]:
    """(received in ms or 0, first origin or "") of a replayed dead letter. What cannot be read is ignored."""
    received, first = 0, ""
    for name, value in headers or ():
        if value is None or name not in {RECEIVED_HEADER, ORIGIN_HEADER}:
            continue
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if name == ORIGIN_HEADER:
            first = text if text.isprintable() and len(text) <= 512 else ""
        elif text.isascii() and text.isdigit() and len(text) <= 15:
            received = int(text)
    return received, first


def dead_letter(
    unfit: Unfit,
    origin: Origin,
    key: bytes | None,
    value: bytes | None,
    appended: int,
    limit: int,
    *,
    headers: Headers = None,
    stage: Literal["ingest", "profile", "collector"] = "ingest",
) -> DeadLetter:
    """The letter of a record that cannot be used.

    appended: append time of the record (ms); 0 or less where it is not known.
    limit:    the topic's `max.message.bytes`. What does not fit keeps origin, length, hash, and of its value the first
              64 KiB or what fits of them.
    headers:  the record's own: they tell whether it was a dead letter before.
    """
    received, first_origin = read_headers(headers)
    letter = DeadLetter(
        stage=stage,
        reason=unfit.reason,
        field=_short(unfit.field),
        detail=_short(unfit.detail),
        origin=origin,
        appended=timestamps.render(appended) if appended > 0 else "",
        key=_base64(key),
        original=_base64(value),
        length=len(value or b""),
        hash=xxhash.xxh3_128_hexdigest(value or b""),
        first_received=timestamps.render(min(received, appended)) if received and appended > 0 else "",
        first_origin=first_origin,
    )
    room = limit - RECORD_OVERHEAD - len(origin_name(origin).encode())
    if len(encode(letter)) > room:
        letter.truncated = True
        letter.key = _base64(key[:KEPT_KEY_BYTES] if key else key)
        letter.original = None
        free = (room - len(encode(letter))) // 4 * 3 - 3  # base64 makes four bytes of three
        letter.original = _base64(value[: max(0, min(KEPT_BYTES, free))] if value else value)
    return letter


def record(letter: DeadLetter) -> tuple[bytes, bytes]:
    """Kafka key and value of a letter."""
    return origin_name(letter.origin).encode(), encode(letter)


def replayed(letter: DeadLetter, sources: AbstractSet[str]) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """Key, value and headers with which a letter goes back to its topic.

    sources: the topics that letters may go to.

    Raises ValueError, saying why, where it cannot go back.
    """
    if letter.truncated:
        raise ValueError(f"only the first bytes of its {letter.length} were kept")
    if letter.stage == "profile":
        raise ValueError("it is no raw record: it failed in the fold, and its log is never written by hand")
    if letter.origin.topic not in sources:
        raise ValueError(f"its topic {letter.origin.topic} is none of this deployment's sources")
    value = None if letter.original is None else b64decode(letter.original, validate=True)
    if xxhash.xxh3_128_hexdigest(value or b"") != letter.hash:
        raise ValueError("its bytes do not have the hash that was recorded")
    headers = [(ORIGIN_HEADER, first_origin(letter).encode())]
    received = timestamps.parse(letter.first_received or letter.appended)
    if received is not None:
        headers.append((RECEIVED_HEADER, b"%d" % received))
    return None if letter.key is None else b64decode(letter.key, validate=True), value, headers


def first_origin(letter: DeadLetter) -> str:
    """Where the record lay at first: the same for the letters of all its replays."""
    return letter.first_origin or origin_name(letter.origin)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _short(text: str) -> str:
    """Short, and without what JSON cannot carry."""
    return text[:DETAIL_LENGTH].encode("utf-8", "replace").decode()
