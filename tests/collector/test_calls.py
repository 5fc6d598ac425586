"""Bodies to events: whatever the bytes, either an event that ingest can read or one reason why not; and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtcdp.errors import Unfit
from rtcdp.ingestion.events import MAX_RAW_BYTES, REASONS
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from rtcdp.serving.collector.calls import Stamp, cut, open_batch, open_single, prepare

NOW = "2025-01-01T00:00:00.000Z"
APPENDED = 1_735_689_600_000
STAMP = Stamp(received=NOW, ip="203.0.113.77", agent="Phone/1")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["type", "event", "messageId", "userId", "context", "properties", "timestamp", "sentAt", "writeKey", "x"]
)
near_events = st.dictionaries(fields, st.sampled_from(["track", "page", "", "A", 1, None, [], {}]) | values, max_size=6)


def prepared(event: bytes | dict[str, Any], stamp: Stamp = STAMP) -> dict[str, Any]:
    text = event if isinstance(event, bytes) else json.dumps(event).encode()
    found: dict[str, Any] = json.loads(prepare(text, stamp, lambda: "new")[1])
    return found


@given(st.binary(max_size=60) | near_events.map(lambda event: json.dumps(event).encode()))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"event":"\\ud83d"}')
@example(b'{"\\ud83d":1}')
@example(b'{"event":NaN}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"context":"x","type":"page"}')
def test_any_bytes_become_an_event_that_ingest_can_read_or_one_reason(body: bytes) -> None:
    reasons = []
    for opened in (open_single, open_batch):
        try:
            envelope = opened(body)
        except Unfit as unfit:
            reasons.append(unfit.reason)
            continue
        for event in envelope.events:
            try:
                _, value = prepare(bytes(event), STAMP, lambda: "new")
            except Unfit as unfit:
                reasons.append(unfit.reason)
                continue
            found = Ingestor(TrackingPlan(), IdentityPlan(), Source("t")).ingest(value, "t/0", 0, APPENDED)
            if not isinstance(found, Accepted):  # then it is nothing that the collector could have known
                assert found.unfit.reason in {"no_identifier", "missing_field"}
    assert REASONS.keys() >= set(reasons)


@given(near_events)
def test_what_is_not_the_collectors_stays_as_it_is(event: dict[str, Any]) -> None:
    try:
        found = prepared(event)
    except Unfit:
        return
    own = {"type", "messageId", "receivedAt", "sentAt", "context", "writeKey"}
    assert {name: found[name] for name in event if name not in own} == {name: event[name] for name in event if name not in own}
    if isinstance(event.get("context"), dict):
        assert event["context"].items() <= found["context"].items()


def test_numbers_keep_their_digits() -> None:
    text = b'{"type":"page","properties":{"price":1.10,"id":123456789012345678901234567890,"e":1E400}}'
    assert b'"properties":{"price":1.10,"id":123456789012345678901234567890,"e":1E400}' in prepare(text, STAMP, str)[1]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b'{"type":"page","x":' + b"[" * 65 + b"]" * 65 + b"}", "too_deep"),
        (b'{"type":"page","x":"' + b"x" * MAX_RAW_BYTES + b'"}', "too_large"),
        (b'{"type":"page","x":"' + b"x" * (MAX_RAW_BYTES - 30) + b'"}', "too_large"),  # only with what is put on it
        (b'{"type":"track","event":""}', "missing_field"),
        (b'{"type":"track","event":true}', "missing_field"),
        (b'{"type":"nonsense"}', "unknown_type"),
        (b'{"userId":"u"}', "missing_field"),
        (b'{"type":"page","userId":{}}', "wrong_type"),
        (b'{"type":"page","context":[1]}', "wrong_type"),
        (b'{"type":"page","properties":[1]}', "wrong_type"),
        (b'{"type":"page","properties":{"x":"\xff"}}', "not_utf8"),
    ],
)
def test_what_no_definitions_could_use_is_refused(event: bytes, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        prepare(event, STAMP, str)
    assert unfit.value.reason == reason


def test_a_type_is_the_paths_else_the_events_else_guessed() -> None:
    assert prepared({"type": "track", "userId": "u"}, Stamp(NOW, kind="page"))["type"] == "page"
    assert prepared({"type": "Identify"})["type"] == "identify"
    assert prepared({"event": "A"})["type"] == "track"


def test_a_message_id_is_kept_in_either_spelling() -> None:
    assert prepared({"type": "page"})["messageId"] == "new"
    assert prepared({"type": "page", "messageId": ""})["messageId"] == "new"
    assert prepared({"type": "page", "messageId": 7})["messageId"] == 7
    assert "messageId" not in prepared({"type": "page", "message_id": "m"})


def test_a_source_with_its_own_time_gets_none() -> None:
    assert "receivedAt" not in prepared({"type": "page"}, Stamp(received=None))
    assert prepared({"type": "page", "receivedAt": "2001"}, Stamp(received=None))["receivedAt"] == "2001"
    assert prepared({"type": "page", "receivedAt": "2001"})["receivedAt"] == NOW


@pytest.mark.parametrize(
    ("addresses", "context", "expected"),
    [
        ("keep", {}, "203.0.113.77"),
        ("keep", {"ip": "198.51.100.9"}, "198.51.100.9"),
        ("cut", {}, "203.0.113.0"),
        ("cut", {"ip": "198.51.100.9"}, "198.51.100.0"),
        ("cut", {"ip": ["198.51.100.9"]}, ""),
        ("drop", {}, None),
        ("drop", {"ip": "198.51.100.9"}, None),
    ],
)
def test_addresses_are_kept_cut_or_dropped_whoever_gave_them(addresses: Any, context: dict[str, Any], expected: Any) -> None:
    stamp = Stamp(NOW, ip="203.0.113.77", addresses=addresses)
    assert prepared({"type": "page", "context": context}, stamp).get("context", {}).get("ip") == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.77", "203.0.113.0"),
        (" 203.0.113.77 ", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_a_cut_address_names_no_connection(address: str, expected: str) -> None:
    assert cut(address) == expected


def test_user_agents_are_dropped_with_their_hints() -> None:
    event = {"type": "page", "context": {"userAgent": "X", "userAgentData": {"mobile": True}, "locale": "zh-CN"}}
    assert prepared(event, Stamp(NOW, agent="Phone/1", agents=False))["context"] == {"locale": "zh-CN"}
    assert prepared({"type": "page"}, Stamp(NOW, agent="x" * 9_999))["context"]["userAgent"] == "x" * 512


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        ({"analytics": False, "Advertising": True}, False),
        ({"Analytics": True, "Advertising": False}, True),
        ({"Analytics": "no"}, True),
        ({}, True),
        ([], True),
        (None, True),
    ],
)
def test_neither_address_nor_agent_is_kept_where_consent_says_no(answers: Any, *, kept: bool) -> None:
    stamp = Stamp(NOW, ip="203.0.113.77", agent="Phone/1", consent=frozenset({"analytics"}))
    own = {"ip": "198.51.100.9", "userAgentData": {"mobile": True}, "consent": {"categoryPreferences": answers}}
    found = prepared({"type": "page", "context": own}, stamp)["context"]
    assert found["consent"] == own["consent"]
    assert ("ip" in found, "userAgent" in found, "userAgentData" in found) == (kept, kept, kept)
    of_the_batch = Stamp(
        NOW, ip="1.2.3.4", consent=stamp.consent, context={"consent": msgspec.Raw(msgspec.json.encode(own["consent"]))}
    )
    assert ("ip" in prepared({"type": "page"}, of_the_batch)["context"]) is kept
    assert "ip" in prepared({"type": "page", "context": own}, Stamp(NOW))["context"], "nobody asked to look"
    by_name = {"ip": "198.51.100.9", "consent": {"analytics": False}}
    assert "ip" not in prepared({"type": "page", "context": by_name}, stamp)["context"]


def test_a_visitors_events_share_a_key_before_and_after_the_login() -> None:
    assert prepare(b'{"type":"page","anonymousId":"a"}', STAMP, str)[0] == b"a"
    assert prepare(b'{"type":"page","anonymousId":"a","userId":"u"}', STAMP, str)[0] == b"a"
    assert prepare(b'{"type":"page","user_id":7}', STAMP, str)[0] == b"7"
    assert prepare(b'{"type":"page"}', STAMP, str)[0] is None
    long = prepare(b'{"type":"page","userId":"' + "长".encode() * 500 + b'"}', STAMP, str)[0]
    assert long is not None
    assert len(long) <= 256
