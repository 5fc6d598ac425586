"""What senders see, over real HTTP and a real Kafka: every call, every encoding, every refusal, and what lies in Kafka then."""

from __future__ import annotations

import gzip
import json
import re
import uuid
from typing import Any

import pytest

from rtcdp.dlq import list_letters, replay
from rtcdp.ingestion.letters import origin_name
from rtcdp.settings.config import Settings
from tests.collector.conftest import Collecting, wait_for

PAGE = "https://shop.example"


def named(**fields: Any) -> dict[str, Any]:
    return {"messageId": f"m-{uuid.uuid4().hex}", "userId": "u1", **fields}


@pytest.mark.parametrize(
    ("call", "type_"),
    [
        *((type_, type_) for type_ in ("track", "identify", "page", "screen", "group", "alias")),
        *zip("tipsga", ("track", "identify", "page", "screen", "group", "alias"), strict=True),
    ],
)
def test_a_call_is_an_event_of_its_type(collector: Collecting, call: str, type_: str) -> None:
    event = named(event="Order Completed", groupId="g", previousId="u0", properties={"price": 1.10, "id": 2**70})
    answer = collector.post(call, event)
    assert answer.status == 200, answer
    assert answer.json == {"success": True}
    found = collector.event(event["messageId"])
    assert found["type"] == type_
    assert found["properties"] == {"price": 1.10, "id": 2**70}  # nothing is rounded on the way
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]{12}Z", found["receivedAt"])
    assert found["context"] == {"ip": "127.0.0.1"}


@pytest.mark.parametrize("call", ["batch", "b"])
def test_a_batch_is_its_events(collector: Collecting, call: str) -> None:
    first, second = named(type="track", event="A"), named(type="identify", sentAt="2025-01-01T00:00:01Z")
    batch = {"batch": [first, second], "sentAt": "2025-01-01T00:00:00Z", "context": {"app": {"name": "shop"}}}
    assert collector.post(call, batch).json == {"success": True}
    found = collector.event(first["messageId"])
    assert found["sentAt"] == "2025-01-01T00:00:00Z"
    assert found["context"]["app"] == {"name": "shop"}
    assert "import" not in found["context"]
    assert collector.event(second["messageId"])["sentAt"] == "2025-01-01T00:00:01Z"


def test_an_import_is_marked_as_history(collector: Collecting) -> None:
    event = named(type="track", event="A", timestamp="2020-01-01T00:00:00Z", context={"page": {"path": "/"}})
    assert collector.post("import", {"batch": [event]}).status == 200
    found = collector.event(event["messageId"])
    assert found["context"]["import"] is True
    assert found["context"]["page"] == {"path": "/"}


def test_what_is_missing_is_put_on(collector: Collecting) -> None:
    mark = uuid.uuid4().hex
    for _ in range(2):
        assert collector.post("track", {"event": mark, "anonymousId": "a"}, headers={"User-Agent": "Phone/1"}).status == 200
    found = [event for event in collector.events() if event.get("event") == mark]
    assert len({event["messageId"] for event in found}) == 2
    assert all(event["messageId"] for event in found)
    assert {event["context"]["userAgent"] for event in found} == {"Phone/1"}


def test_what_the_sender_says_of_the_user_stays(collector: Collecting) -> None:
    event = named(event="A", context={"ip": "203.0.113.9", "userAgent": "Own/1"}, receivedAt="2001-01-01T00:00:00Z")
    collector.post("track", event)
    found = collector.event(event["messageId"])
    assert found["context"] == {"ip": "203.0.113.9", "userAgent": "Own/1"}
    assert not found["receivedAt"].startswith("2001")  # that is the collector's to say


def test_a_server_is_not_the_user(collector: Collecting) -> None:
    _, key = collector.keys.add(f"crm-{uuid.uuid4().hex[:8]}", collector.topic, server=True)
    event = named(event="A")
    wait_for(lambda: collector.post("track", event, key=key).status == 200, 10, "a new key")
    assert "context" not in collector.event(event["messageId"])


@pytest.mark.parametrize("body_key", [True, False])
def test_the_write_key_is_in_the_head_or_in_the_body_and_goes_no_further(collector: Collecting, *, body_key: bool) -> None:
    event = named(event="A") | ({"writeKey": collector.key} if body_key else {})
    headers = {"Content-Type": "text/plain"}
    assert collector.post("track", event, key=None if body_key else "", headers=headers).status == 200
    assert "writeKey" not in collector.event(event["messageId"])


def test_a_beacon_is_text_without_a_head(collector: Collecting) -> None:
    event = named(name="Home")
    headers = {"Content-Type": "text/plain;charset=UTF-8", "Origin": PAGE}
    answer = collector.post("p", event | {"writeKey": collector.key}, key=None, headers=headers)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert collector.event(event["messageId"])["type"] == "page"


def test_gzip_is_unpacked(collector: Collecting) -> None:
    event = named(event="A", properties={"text": "x" * 200_000})
    body = gzip.compress(json.dumps(event).encode())
    assert collector.post("track", body, headers={"Content-Encoding": "gzip"}).status == 200
    assert len(collector.event(event["messageId"])["properties"]["text"]) == 200_000


def test_a_bad_event_does_not_cost_the_others(collector: Collecting) -> None:
    good = [named(type="track", event="A") for _ in range(2)]
    bad: list[Any] = [{"type": "nonsense", "mark": good[0]["messageId"]}, 5, {"type": "track", "mark": good[0]["messageId"]}]
    answer = collector.post("batch", {"batch": [good[0], *bad, good[1]]})
    assert answer.status == 200
    assert answer.json["accepted"] == 2
    assert answer.json["refused"] == 3
    assert [(one["index"], one["code"], one["field"]) for one in answer.json["errors"]] == [
        (1, "unknown_type", "type"),
        (2, "not_an_object", ""),
        (3, "missing_field", "event"),
    ]
    assert {event["messageId"] for event in collector.events()} >= {event["messageId"] for event in good}
    letters = [letter for letter in collector.letters() if letter["original"] in {json.dumps(one).encode() for one in bad}]
    assert {letter["reason"] for letter in letters} == {"unknown_type", "not_an_object", "missing_field"}
    assert {letter["stage"] for letter in letters} == {"collector"}


def test_a_dead_letter_is_listed_and_sent_again(collector: Collecting) -> None:
    mark = uuid.uuid4().hex
    assert collector.post("track", {"userId": mark}).status == 400
    settings = Settings(bootstrap=collector.bootstrap, events_dlq=collector.dead_letters, sources=collector.topic)
    (listed,) = [one for one in list_letters(settings) if one.letter.length == len(json.dumps({"userId": mark}))]
    assert listed.letter.reason == "missing_field"
    assert origin_name(listed.letter.origin) == listed.origin
    assert replay(settings, origin=listed.origin).sent == 1
    assert any(event.get("userId") == mark for event in collector.events())


def test_a_body_that_is_no_json_becomes_one_dead_letter(collector: Collecting) -> None:
    body = b'{"event": "' + uuid.uuid4().hex.encode()
    answer = collector.post("track", body)
    assert (answer.status, answer.json["code"]) == (400, "malformed_json")
    assert body in {letter["original"] for letter in collector.letters()}
    unsigned = collector.post("track", b'{"unsigned": 1', key=None)
    assert unsigned.status == 400
    assert b'{"unsigned": 1' not in {letter["original"] for letter in collector.letters()}  # from nobody: nothing is kept


@pytest.mark.parametrize(
    ("call", "body", "options", "status", "code"),
    [
        ("track", {"event": "A"}, {"key": "wrong-wrong-wrong-wrong"}, 401, "unknown_key"),
        ("track", {"event": "A"}, {"key": None}, 401, "no_key"),
        ("track", {"event": "A", "writeKey": "wrong"}, {"key": None}, 401, "unknown_key"),
        ("track", {"event": "A", "writeKey": 7}, {"key": None}, 401, "no_key"),
        ("track", {"event": "A"}, {"key": None, "headers": {"Authorization": "Basic ***"}}, 401, "no_key"),
        ("track", {"event": "A"}, {"key": None, "headers": {"Authorization": "Bearer x"}}, 401, "no_key"),
        ("track", {"event": "A"}, {"headers": {"Origin": "https://evil.example"}}, 403, "origin_not_allowed"),
        ("track", {"event": "A"}, {"headers": {"Origin": "https://shop.example.evil.example"}}, 403, "origin_not_allowed"),
        ("track", {"event": "A"}, {"headers": {"Origin": "null"}}, 403, "origin_not_allowed"),
        ("track", {"event": "A"}, {"headers": {"Content-Type": "image/png"}}, 415, "content_type"),
        ("track", {"event": "A"}, {"headers": {"Content-Encoding": "br"}}, 415, "content_encoding"),
        ("track", {"event": "A"}, {"headers": {"Content-Encoding": "gzip"}}, 400, "malformed_gzip"),
        ("track", [], {}, 400, "not_an_object"),
        ("track", "", {}, 400, "empty"),
        ("batch", {"events": []}, {}, 400, "missing_field"),
        ("batch", {"batch": {}}, {}, 400, "wrong_type"),
        ("batch", {"batch": [{"type": "nope"}]}, {}, 400, "unknown_type"),
        ("batch", {"batch": [{}] * 101}, {}, 413, "too_many_events"),
        ("track", {"event": "A", "x": "x" * 70_000}, {}, 413, "too_large"),
        ("track", {"event": "A", "x": "x" * 700_000}, {}, 413, "too_large"),
        ("nonsense", {"event": "A"}, {}, 404, "not_found"),
    ],
)
def test_a_refusal_says_why(
    collector: Collecting, call: str, body: Any, options: dict[str, Any], status: int, code: str
) -> None:
    answer = collector.post(call, body, **options)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["message"]
    assert answer.headers["x-request-id"]
    if status == 401:
        assert answer.headers["www-authenticate"] == "WriteKey"  # `Basic` would open a dialog in a visitor's browser


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_other_methods_are_refused(collector: Collecting, method: str) -> None:
    answer = collector.ask(method, "/v1/track")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST, OPTIONS"


def test_an_empty_batch_is_nothing(collector: Collecting) -> None:
    assert collector.post("batch", {"batch": []}).json == {"success": True}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (PAGE, True),
        ("https://SHOP.example", True),
        ("https://m.brand.example", True),
        ("https://brand.example", False),
        ("http://shop.example", False),
        ("https://evil.example", False),
    ],
)
def test_a_browser_asks_first(collector: Collecting, origin: str, *, allowed: bool) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = collector.ask("OPTIONS", "/v1/t", key=None, headers=headers)
    assert answer.status == (204 if allowed else 403)
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert answer.headers["vary"] == "origin"
    if allowed:
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "retry-after" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


def test_the_request_id_is_the_senders_or_new(collector: Collecting) -> None:
    assert collector.post("track", named(event="A"), headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {collector.post("track", named(event="A"), headers={"X-Request-Id": "a b"}).headers["x-request-id"] for _ in "ab"}
    assert len(made) == 2
    assert "a b" not in made


def test_analytics_js_is_told_where_to_send(collector: Collecting) -> None:
    answer = collector.ask("GET", f"/v1/projects/{collector.key}/settings", key=None, headers={"Origin": PAGE})
    assert answer.status == 200
    segment = answer.json["integrations"]["Segment.io"]
    assert segment == {"apiKey": collector.key, "apiHost": f"127.0.0.1:{collector.port}/v1", "protocol": "http"}
    assert collector.ask("GET", "/v1/projects/unknown/settings", key=None).status == 401


def test_a_key_comes_and_goes_while_it_runs(collector: Collecting) -> None:
    made, key = collector.keys.add(f"ios-{uuid.uuid4().hex[:8]}", collector.topic)
    wait_for(lambda: collector.post("track", named(event="A"), key=key).status == 200, 10, "a new key")
    collector.keys.revoke(made.id)
    wait_for(lambda: collector.post("track", named(event="A"), key=key).status == 401, 10, "a revoked key")


def test_a_broken_file_of_keys_changes_nothing(collector: Collecting) -> None:
    text = collector.keys.path.read_bytes()
    try:
        collector.keys.path.write_bytes(b"{")
        wait_for(lambda: "is not what it should be" in collector.log.read_text(), 10, "the complaint")
        assert collector.post("track", named(event="A")).status == 200
    finally:
        collector.keys.path.write_bytes(text)


def test_who_sends_too_much_waits(collector: Collecting) -> None:
    _, key = collector.keys.add(f"loud-{uuid.uuid4().hex[:8]}", collector.topic, rate=1)
    wait_for(lambda: collector.post("batch", {"batch": []}, key=key).status == 200, 10, "a new key")
    batch = {"batch": [named(type="track", event="A") for _ in range(12)]}
    assert collector.post("batch", batch, key=key).status == 200  # ten at once, and a debt of two
    answer = collector.post("batch", batch, key=key)
    assert (answer.status, answer.json["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 4
    assert collector.post("batch", batch).status == 200  # others are not held up


def test_nothing_of_an_event_or_a_key_is_in_the_log(collector: Collecting) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    collector.post("track", {"event": canary, "userId": canary, "properties": {canary: canary}})
    collector.post("track", f'{{"event": "{canary}"')
    collector.post("track", {"event": "A"}, key=canary)
    collector.post(canary, {"event": "A"})
    collector.post("batch", {"batch": [{"type": canary}]})
    collector.ask("GET", f"/v1/projects/{canary}/settings")
    log = collector.log.read_text()
    assert canary not in log
    assert collector.key not in log
    assert canary not in collector.metrics()


def test_it_counts_and_is_ready(collector: Collecting) -> None:
    collector.post("track", named(event="A"))
    collector.post("track", named(event="A"), key="wrong-wrong-wrong-wrong")
    text = collector.metrics()
    assert 'rtcdp_collector_requests_total{call="track",status="200"}' in text
    assert 'rtcdp_collector_refused_total{code="unknown_key"}' in text
    assert 'rtcdp_collector_events_total{source="web"}' in text
    assert "rtcdp_collector_request_seconds_bucket" in text
    assert collector.metrics("/readyz") == collector.metrics("/healthz") == "ok\n"
