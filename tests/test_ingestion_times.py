"""What time an event gets, by its source and by what its sender says of clocks."""

from __future__ import annotations

from typing import Any

import pytest
from ingesting import MINUTE, NOW, SOURCE, at, refuse, take, track

from rtcdp.ingestion.ingestor import MAX_FUTURE
from rtcdp.ingestion.letters import ORIGIN_HEADER, RECEIVED_HEADER
from rtcdp.times import timestamps


@pytest.mark.parametrize(
    ("fields", "occurred"),
    [
        ({}, NOW),
        ({"timestamp": at(NOW - MINUTE)}, NOW - MINUTE),
        ({"timestamp": NOW - MINUTE}, NOW - MINUTE),
        ({"timestamp": (NOW - MINUTE) // 1000}, NOW - MINUTE),
        ({"timestamp": str(NOW - MINUTE)}, NOW - MINUTE),
        ({"timestamp": at(NOW - MINUTE)[:-1] + "+08:00"}, NOW - MINUTE - 8 * 3_600_000),
        ({"timestamp": at(NOW - MINUTE)[:-1]}, NOW - MINUTE),
        ({"timestamp": at(NOW + 1)}, NOW),
        ({"timestamp": "2100-01-01T00:00:00Z"}, NOW),
        ({"timestamp": "1970-01-01T00:00:00Z"}, NOW),
        ({"timestamp": 0}, NOW),
        ({"timestamp": "yesterday"}, NOW),
        ({"timestamp": False}, NOW),
        # the client's clock is an hour behind, then an hour ahead, then was never set: sentAt tells
        ({"timestamp": at(NOW - 61 * MINUTE), "sentAt": at(NOW - 60 * MINUTE)}, NOW - MINUTE),
        ({"timestamp": at(NOW + 59 * MINUTE), "sentAt": at(NOW + 60 * MINUTE)}, NOW - MINUTE),
        ({"timestamp": 0, "sentAt": 60}, NOW - MINUTE),
        ({"timestamp": at(NOW - 5), "sentAt": at(NOW - 10)}, NOW),
        ({"timestamp": at(NOW - 9 * MINUTE), "sentAt": "soon"}, NOW - 9 * MINUTE),
        ({"timestamp": "bad", "sentAt": at(NOW)}, NOW),
        ({"sentAt": at(NOW - MINUTE)}, NOW),
        # receivedAt serves the correction alone
        ({"receivedAt": at(NOW - 5 * MINUTE)}, NOW),
        ({"timestamp": at(NOW - 9 * MINUTE), "receivedAt": at(NOW - 5 * MINUTE)}, NOW - 9 * MINUTE),
        (
            {"timestamp": at(NOW - 9 * MINUTE), "sentAt": at(NOW - 8 * MINUTE), "receivedAt": at(NOW - 5 * MINUTE)},
            NOW - 6 * MINUTE,
        ),
        ({"timestamp": at(NOW - 9 * MINUTE), "sentAt": at(NOW - 8 * MINUTE), "receivedAt": at(NOW + 5 * MINUTE)}, NOW),
        # what a collector has corrected already is not corrected twice
        (
            {"originalTimestamp": at(NOW - 61 * MINUTE), "timestamp": at(NOW - MINUTE), "sentAt": at(NOW - 60 * MINUTE)},
            NOW - MINUTE,
        ),
        ({"sent_at": at(NOW - 60 * MINUTE), "timestamp": at(NOW - 61 * MINUTE), "received_at": at(NOW)}, NOW - MINUTE),
    ],
)
def test_arrival_mode(fields: dict[str, Any], occurred: int) -> None:
    event = take(track(**fields))
    assert (event.received, event.occurred, event.appended, event.simulated) == (NOW, occurred, 0, False)


@pytest.mark.parametrize(
    ("fields", "received", "occurred"),
    [
        ({"timestamp": at(NOW - MINUTE)}, NOW - MINUTE, NOW - MINUTE),
        ({"timestamp": at(NOW - MINUTE), "receivedAt": at(NOW - 5)}, NOW - 5, NOW - MINUTE),
        ({"receivedAt": at(NOW - 5)}, NOW - 5, NOW - 5),
        ({"timestamp": at(NOW), "receivedAt": at(NOW - 5)}, NOW - 5, NOW - 5),
        ({"timestamp": at(NOW - 9), "sentAt": at(NOW - 7)}, NOW - 9, NOW - 9),
        ({"timestamp": at(NOW - 9), "sentAt": at(NOW - 7), "receivedAt": at(NOW - 1)}, NOW - 1, NOW - 3),
        ({"timestamp": at(NOW + MAX_FUTURE)}, NOW + MAX_FUTURE, NOW + MAX_FUTURE),
        ({"timestamp": "2000-01-01T00:00:00Z"}, timestamps.EARLIEST, timestamps.EARLIEST),
        ({"timestamp": "1970-01-01T00:00:00Z", "receivedAt": at(NOW)}, NOW, NOW),
    ],
)
def test_event_mode(fields: dict[str, Any], received: int, occurred: int) -> None:
    event = take(track(**fields), "event")
    assert (event.received, event.occurred, event.simulated) == (received, occurred, True)
    assert event.appended == (0 if received == NOW else NOW)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "missing_field"),
        ({"sentAt": at(NOW)}, "missing_field"),
        ({"timestamp": "yesterday"}, "bad_timestamp"),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "bad_timestamp"),
        ({"timestamp": "2100-01-01T00:00:00Z"}, "future"),
        ({"timestamp": at(NOW + MAX_FUTURE + 1)}, "future"),
        ({"timestamp": at(NOW), "receivedAt": at(NOW + MAX_FUTURE + 1)}, "future"),
    ],
)
def test_event_mode_refuses(fields: dict[str, Any], reason: str) -> None:
    assert refuse(track(**fields), "event").reason == reason


def test_without_an_append_time() -> None:
    assert refuse(track(), appended=-1).reason == "no_append_time"
    event = take(track(timestamp="2099-12-31T23:59:59.999Z"), "event", appended=0)
    assert (event.received, event.appended) == (timestamps.LATEST - 1, 0)
    assert refuse(track(timestamp="2100-01-01T00:00:00Z"), "event", appended=0).reason == "bad_timestamp"


@pytest.mark.parametrize(
    ("headers", "received", "identity"),
    [
        ([(RECEIVED_HEADER, b"%d" % (NOW - MINUTE)), (ORIGIN_HEADER, b"first/0/1")], NOW - MINUTE, "first/0/1"),
        ([(RECEIVED_HEADER, str(NOW + MINUTE)), ("other", None)], NOW, f"{SOURCE}/7"),
        ([(RECEIVED_HEADER, b"5"), (ORIGIN_HEADER, b"a\x00b")], NOW, f"{SOURCE}/7"),
        ([(RECEIVED_HEADER, b"-1"), (RECEIVED_HEADER, b"\xff"), (ORIGIN_HEADER, None)], NOW, f"{SOURCE}/7"),
        ([], NOW, f"{SOURCE}/7"),
    ],
)
def test_replayed_dead_letters_keep_when_they_came(headers: Any, received: int, identity: str) -> None:
    event = take(track(), headers=headers)
    assert (event.received, event.occurred, event.id) == (received, received, identity)
    assert event.appended == (0 if received == NOW else NOW)
    assert take(track(messageId="own"), headers=headers).id == "own"
