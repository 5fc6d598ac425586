"""Dead letters: what is kept of a record that cannot be used, and how it goes back."""

from __future__ import annotations

import msgspec
import pytest

from rtcdp.errors import Unfit
from rtcdp.ingestion.letters import KEPT_BYTES, ORIGIN_HEADER, RECEIVED_HEADER, dead_letter, first_origin, record, replayed
from rtcdp.outputs import DeadLetter, Origin

NOW = 1_800_000_000_000
ORIGIN = Origin(topic="events", topic_id="abc", partition=2, offset=9)


def test_a_dead_letter_keeps_everything() -> None:
    letter = dead_letter(Unfit("violation", "why", "properties.a"), ORIGIN, b"k\xff", b"\x00raw", NOW, 1 << 20)
    key, value = record(letter)
    assert key == b"abc/2/9"
    read = msgspec.json.decode(value, type=DeadLetter)
    assert (read.stage, read.reason, read.field, read.detail, read.length, read.truncated) == (
        "ingest",
        "violation",
        "properties.a",
        "why",
        4,
        False,
    )
    sent_key, sent_value, headers = replayed(read, {"events"})
    assert (sent_key, sent_value) == (b"k\xff", b"\x00raw")
    assert dict(headers) == {ORIGIN_HEADER: b"abc/2/9", RECEIVED_HEADER: b"%d" % NOW}


def test_null_and_empty_differ() -> None:
    for data in (None, b""):
        letter = dead_letter(Unfit("empty", ""), ORIGIN, data, data, NOW, 1 << 20)
        assert replayed(letter, {"events"})[:2] == (data, data)


@pytest.mark.parametrize("limit", [1 << 20, 100_000, 4_096, 2_100])
def test_a_dead_letter_that_does_not_fit(limit: int) -> None:
    huge = b"x" * 2_000_000
    letter = dead_letter(
        Unfit("too_large", "big" * 1000), Origin(topic="t", partition=0, offset=0), huge[:5000], huge, NOW, limit
    )
    assert letter.truncated
    assert letter.length == len(huge)
    if limit > 10_000:
        assert sum(map(len, record(letter))) + 100 < limit
        assert letter.original is not None
        assert len(letter.original) == -(-min(KEPT_BYTES, 10**9) // 3) * 4
    with pytest.raises(ValueError, match="only the first bytes"):
        replayed(letter, {"t"})


def test_the_letter_of_a_replay_points_to_the_first() -> None:
    headers = [(RECEIVED_HEADER, b"%d" % (NOW - 5)), (ORIGIN_HEADER, b"abc/0/1")]
    letter = dead_letter(Unfit("violation", ""), ORIGIN, None, b"{}", NOW, 1 << 20, headers=headers)
    assert first_origin(letter) == "abc/0/1"
    assert dict(replayed(letter, {"events"})[2]) == {ORIGIN_HEADER: b"abc/0/1", RECEIVED_HEADER: b"%d" % (NOW - 5)}


def test_what_cannot_be_sent_again() -> None:
    letter = dead_letter(Unfit("fold_failed", ""), ORIGIN, None, b"{}", NOW, 1 << 20, stage="profile")
    with pytest.raises(ValueError, match="no raw record"):
        replayed(letter, {"events"})
    letter = dead_letter(Unfit("violation", ""), ORIGIN, None, b"{}", NOW, 1 << 20)
    with pytest.raises(ValueError, match="none of this deployment's sources"):
        replayed(letter, {"other"})
    letter.hash = "0" * 32
    with pytest.raises(ValueError, match="hash"):
        replayed(letter, {"events"})
