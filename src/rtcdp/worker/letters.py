"""Dead letters: a record that could not be used, kept as it was, with the reason and where it lay."""

from __future__ import annotations

from base64 import b64encode
from typing import Literal

from xxhash import xxh3_128_hexdigest

from rtcdp.errors import Unfit
from rtcdp.outputs import DeadLetter, Origin, encode
from rtcdp.timestamps import render

KEPT_BYTES = 65_536
DETAIL_LENGTH = 500
RECORD_OVERHEAD = 1_024
"""What a record may take beside its key and value (bytes): batch and record headers, Kafka headers."""


def dead_letter(
    stage: Literal["ingest", "profile"],
    unfit: Unfit,
    origin: Origin,
    key: bytes | None,
    value: bytes | None,
    *,
    appended: int = 0,
    limit: int,
) -> tuple[bytes, bytes]:
    """Key and value for `events-dlq`.

    unfit:    why it cannot be used.
    appended: append time of the raw record (ms); 0 where it is not known.
    limit:    the topic's `max.message.bytes`. What does not fit keeps origin, length, hash and the first 64 KiB.
    """
    original = b"" if value is None else value
    name = f"{origin.topic_id or origin.topic}/{origin.partition}/{origin.offset}".encode()
    letter = DeadLetter(
        stage=stage,
        reason=unfit.reason,
        field=_text(unfit.field),
        detail=_text(unfit.detail),
        origin=origin,
        appended=render(appended) if appended > 0 else "",
        key=_base64(key),
        original=_base64(value),
        length=len(original),
        hash=xxh3_128_hexdigest(original),
    )
    encoded = encode(letter)
    if len(encoded) + len(name) + RECORD_OVERHEAD > limit:
        letter.truncated = True
        letter.key = _base64(None if key is None else key[:KEPT_BYTES])
        letter.original = _base64(None if value is None else value[:KEPT_BYTES])
        encoded = encode(letter)
    return name, encoded


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _text(text: str) -> str:
    """Short, and without what JSON cannot carry (a lone surrogate of a name that an event brought)."""
    return text[:DETAIL_LENGTH].encode("utf-8", "replace").decode()
