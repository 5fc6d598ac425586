"""Where a reader of the live stream is: one offset per partition of two topics, as the text of an event's id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Place = tuple[str, int]
"""Topic and partition."""
_TEXT = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,19})*(?:-[0-9]{1,19}(?:\.[0-9]{1,19})*)*")
LONGEST = 16_384


def write(topics: Sequence[str], offsets: Mapping[Place, int]) -> str:
    """The next offsets: `12.7.9-4.4.0`, partitions by number, topics in the order given."""
    return "-".join(
        ".".join(str(offsets[place]) for place in sorted(place for place in offsets if place[0] == topic)) for topic in topics
    )


def read(topics: Sequence[str], text: str, places: Sequence[Place]) -> dict[Place, int]:
    """Back from `write`. Raises ValueError where it is none for these partitions."""
    if len(text) > LONGEST or not _TEXT.fullmatch(text):
        raise ValueError("Last-Event-ID: must be the id of an event of this stream")
    found: dict[Place, int] = {}
    parts = text.split("-")
    for topic, part in zip(topics, parts, strict=False):
        found |= {(topic, number): int(offset) for number, offset in enumerate(part.split("."))}
    if len(parts) != len(topics) or set(found) != set(places):
        raise ValueError("Last-Event-ID: the topics have other partitions than when it was given")
    return found
