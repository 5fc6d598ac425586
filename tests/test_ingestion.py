"""Ingestion as a whole: a record gives one clean event, or a reason why not."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import orjson
import pytest
from ingesting import NOW, SOURCE, ingestor, million_keys, refuse, take, track

from rtcdp import records
from rtcdp.ingestion.cleaning import MAX_NAME
from rtcdp.ingestion.ingestor import MAX_CLEAN_BYTES, Accepted, Refused
from rtcdp.rules.definitions import PlannedEvent, Property, TrackingPlan


def test_a_track_event() -> None:
    worker = ingestor(tenant="shop-cn")
    raw = {
        "messageId": "m1",
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "anonymousId": "a1",
        "timestamp": "2024-03-05T10:11:12.345Z",
        "channel": "web",
        "properties": {"revenue": 12.5, "items": [{"sku": "鞋"}]},
        "context": {"locale": "zh-CN"},
        "integrations": {"All": True},
        "unknown": {"x": 1},
    }
    result = worker.ingest(json.dumps(raw).encode(), SOURCE, 7, NOW)
    assert isinstance(result, Accepted)
    assert (result.key, result.received) == (b"shop-cn/user_id:u1", NOW)
    assert records.decode(result.value) == records.Event(
        received=NOW,
        occurred=1_709_633_472_345,
        source=SOURCE,
        offset=7,
        id="m1",
        event="Order Completed",
        channel="web",
        user_id="u1",
        anonymous_id="a1",
        properties={"revenue": 12.5, "items": [{"sku": "鞋"}]},
        context={"locale": "zh-CN"},
    )
    assert not worker.counts


def test_the_positional_twin_has_the_fields_of_a_record() -> None:
    everything = take(
        {"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"a": 1}, "properties": {"b": 2}, "channel": "c",
         "context": {"import": True}, "timestamp": NOW, "messageId": "m"},
        "event", appended=NOW + 5,
    )  # fmt: skip
    for field in msgspec.structs.fields(records.Event):
        if field.name not in {"source", "offset"}:
            value = getattr(everything, field.name)
            assert value != field.default or field.default is msgspec.NODEFAULT
            assert value


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"type": None, "event": None}, "missing_field", "type"),
        ({"type": "trakc"}, "unknown_type", "type"),
        ({"type": 7}, "unknown_type", "type"),
        ({"event": None}, "missing_field", "event"),
        ({"event": " \u0000"}, "missing_field", "event"),
        ({"event": True}, "missing_field", "event"),
        ({"event": "*"}, "missing_field", "event"),
        ({"type": "group"}, "missing_field", "groupId"),
        ({"userId": None}, "no_identifier", ""),
        ({"userId": "null", "anonymousId": "00000000-0000-0000-0000-000000000000"}, "no_identifier", ""),
        ({"properties": [1]}, "wrong_type", "properties"),
        ({"traits": "x"}, "wrong_type", "traits"),
        ({"userId": ["u"]}, "wrong_type", "userId"),
    ],
)
def test_required_fields(fields: dict[str, Any], reason: str, field: str) -> None:
    unfit = refuse(track(**fields))
    assert (unfit.reason, unfit.field) == (reason, field)


def test_defaults() -> None:
    worker = ingestor()
    event = take({"event": "E", "user_id": 12, "properties": [], "context": []}, by=worker)
    assert (event.type, event.user_id, event.properties, event.id) == ("track", "12", {}, f"{SOURCE}/7")
    assert worker.counts == {"type_inferred": 1, "empty_list_object": 2}
    assert take(track(type=" Track ")).type == "track"


def test_names_are_cleaned() -> None:
    worker = ingestor()
    event = take(track(event="  Cafe\u0301\u0000\n ", messageId=" m\u00001 ", channel="a\tb"), by=worker)
    assert (event.event, event.id, event.channel) == ("Café", "m1", "a b")
    long = take(track(event="长" * 300, messageId="x" * 5000), by=worker)
    assert len(long.event) == MAX_NAME
    assert len(long.id) == 32
    assert worker.counts["name_cut"] == worker.counts["message_id_hashed"] == 1
    assert take(track(messageId=12.0)).id == "12"
    assert take(track(messageId=" ")).id == f"{SOURCE}/7"


def test_calls_other_than_track() -> None:
    page = take({"type": "page", "userId": "u", "name": "Home", "category": "Top", "properties": {"name": "own", "url": "/"}})
    assert (page.event, page.properties, page.channel) == ("page", {"name": "own", "url": "/", "category": "Top"}, "web")
    identify = take({"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"email": "a@b.c", "gone": None}})
    assert (identify.event, identify.traits) == ("identify", {"email": "a@b.c", "gone": None})
    group = take({"type": "group", "userId": "u", "groupId": 5, "traits": {"email": "info@company.cn"}})
    assert (group.traits, group.properties) == ({"groups.5": {"email": "info@company.cn"}}, {"groupId": "5"})
    alias = take({"type": "alias", "userId": "u", "previousId": " old "})
    assert (alias.user_id, alias.properties) == ("u", {"previousId": "old"})


def test_a_groups_traits_identify_nobody() -> None:
    unfit = refuse({"type": "group", "groupId": "g", "traits": {"email": "info@company.cn"}})
    assert unfit.reason == "no_identifier"


@pytest.mark.parametrize(
    ("fields", "channel"),
    [
        ({"channel": "pos"}, "pos"),
        ({"channel": "", "context": {"channel": "mini"}}, "mini"),
        ({"channel": True, "context": {"channel": ["x"]}}, ""),
        ({"channel": "pay 4111111111111111"}, "pay [removed]"),
        ({"context": {"channel": "mini"}}, "mini"),
        ({"context": {"app": {"name": "x"}}}, "app"),
        ({"context": {"page": {"url": "x"}}}, "web"),
        ({"type": "screen"}, "app"),
        ({"type": "page"}, "web"),
        ({}, ""),
    ],
)
def test_channel(fields: dict[str, Any], channel: str) -> None:
    assert take(track(**fields)).channel == channel


def test_imported_history_is_marked() -> None:
    assert take(track(context={"import": True})).historical
    assert not take(track(context={"import": "no"})).historical


# ---- cleaning, end to end ----


def test_secrets_are_removed_wherever_they_are() -> None:
    worker = ingestor()
    event = take(
        track(
            type="page",
            name="card 4111111111111111",
            properties={"login": {"password": "x"}, "note": "11010519491231002X", "n": 4111111111111111},
            traits={"ssn": "123-45-6789"},
            context={"page": {"url": "https://x.cn/?token=abc"}, "device": {"token": "push"}},
        ),
        by=worker,
    )
    assert event.properties == {"name": "card [removed]", "login": {}, "note": "[removed]"}
    assert event.traits == {}
    assert event.context == {"page": {"url": "https://x.cn/?token="}, "device": {"token": "push"}}
    assert worker.counts == {"secret_card": 2, "secret_national_id": 1, "secret_field": 2, "secret_parameter": 1}


def test_identifiers_are_not_taken_for_secrets() -> None:
    event = take(track(userId=4111111111111111, messageId="4111111111111111", traits={"member_card": "6200000000000005"}))
    assert (event.user_id, event.id) == ("4111111111111111", "4111111111111111")
    assert event.traits == {"member_card": "6200000000000005"}
    external = [{"id": 6200000000000005, "type": "member_card"}]
    event = take(track(userId=None, context={"externalIds": external, "note": 6200000000000005}))
    assert event.context == {"externalIds": external}


def test_the_tracking_plan() -> None:
    rules = {"price": Property("price", "number"), "pin": Property("pin", "text", allow_secret=True)}
    plan = TrackingPlan(
        events={"E": PlannedEvent("E", rules, "dead-letter"), "D": PlannedEvent("D", rules, "drop")},
        traits={"vip": Property("vip", "boolean")},
        unplanned="dead-letter",
        allow_secrets=frozenset({"otp"}),
    )
    worker = ingestor(plan=plan)
    event = take(track(properties={"price": "1.5", "pin": 7, "otp": "o", "cvv": "x"}, traits={"vip": "no"}), by=worker)
    assert (event.properties, event.traits) == ({"price": 1.5, "pin": "7", "otp": "o"}, {"vip": False})
    assert worker.counts == {"plan_corrected": 3, "secret_field": 1}
    assert refuse(track(properties={"price": "much"}), by=worker).reason == "violation"
    assert refuse(track(event="Other"), by=worker).reason == "unplanned"
    dropped = worker.ingest(json.dumps(track(event="D", properties={"price": "x"})).encode(), SOURCE, 1, NOW)
    assert isinstance(dropped, Refused)
    assert not dropped.letter
    assert worker.counts["plan_dropped"] == 1
    assert take({"type": "page", "userId": "u"}, by=worker).event == "page"


def test_what_grows_too_large_when_cleaned() -> None:
    # U+0958 is two code points in NFC; texts are cut, so it takes many of them.
    properties = {f"k{n}": ["\u0958" * 80] * 10 for n in range(180)}
    raw = orjson.dumps(track(properties=properties))
    grown = ingestor().ingest(raw, SOURCE, 7, NOW)
    assert isinstance(grown, Refused) == (2 * len(raw) > MAX_CLEAN_BYTES)


def test_an_error_of_our_own_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ingestor()
    monkeypatch.setattr(worker, "_times", lambda *_: 1 / 0)
    assert refuse(track(), by=worker).reason == "unexpected"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (orjson.dumps(track(properties={"blob": "x" * 10_000_000})), "too_large"),
        (b'{"type":"track","event":"E","userId":"u","properties":%s}' % million_keys(), "too_large"),
        (b'{"type":"track","event":"E","userId":"u","properties":' + b'{"a":' * 400 + b"1" + b"}" * 401, "too_deep"),
        (None, "null_value"),
        (b"", "empty"),
        (gzip.compress(b"{}", mtime=0), "not_utf8"),
    ],
)
def test_bad_input_is_a_dead_letter(raw: bytes | None, reason: str) -> None:
    assert refuse(raw).reason == reason


@pytest.mark.parametrize(
    ("raw", "properties"),
    [
        (b'{"price":NaN}', {"price": None}),
        (rb'{"title":"\ud83d"}', {"title": "\ufffd"}),
        (b'{"":1,"a":2}', {"a": 2}),
        (b'{"n":1e400}', {"n": None}),
        ('{"عنوان":"مرحبا 😀","标题":"鞋"}'.encode(), {"عنوان": "مرحبا 😀", "标题": "鞋"}),
    ],
)
def test_bad_input_that_is_repaired(raw: bytes, properties: dict[str, Any]) -> None:
    event = take(b'{"type":"track","event":"E","userId":"u","properties":%s}' % raw)
    assert event.properties == properties
