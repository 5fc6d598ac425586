"""Ingestion as a whole: any record gives one clean event or a reason; what time an event gets; dead letters."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_cleaning import SCALARS, TREES, check
from test_letters import ORIGIN

from rtcdp import records
from rtcdp.errors import Unfit
from rtcdp.ingestion.cleaning import FIXES, MAX_NAME, Inspector, Tree, clean_text
from rtcdp.ingestion.events import REASONS
from rtcdp.ingestion.identity import parse_profile_key
from rtcdp.ingestion.ingestor import MAX_CLEAN_BYTES, MAX_FUTURE, Accepted, Ingestor, Refused, Source
from rtcdp.ingestion.letters import ORIGIN_HEADER, RECEIVED_HEADER, dead_letter, replayed
from rtcdp.rules.definitions import IdentityPlan, PlannedEvent, Property, TrackingPlan
from rtcdp.times import timestamps

NOW = 1_800_000_000_000
MINUTE = 60_000
SOURCE = "c29tZS10b3BpYy1pZC1oZQ/3"


def ingestor(mode: Any = "arrival", plan: TrackingPlan | None = None, tenant: str = "main") -> Ingestor:
    return Ingestor(plan or TrackingPlan(), IdentityPlan(), Source("events", tenant, mode))


def take(
    raw: Any, mode: Any = "arrival", *, appended: int = NOW, headers: Any = None, by: Ingestor | None = None
) -> records.Event:
    """The event made of `raw` (bytes, or an object to be written as JSON)."""
    result = (by or ingestor(mode)).ingest(
        raw if isinstance(raw, bytes) else json.dumps(raw).encode(), SOURCE, 7, appended, headers
    )
    assert isinstance(result, Accepted), result
    event = records.decode(result.value)
    assert isinstance(event, records.Event)
    assert event.received == result.received
    assert result.value == records.encode(event)  # made by another struct, and yet the same bytes
    return event


def refuse(raw: Any, mode: Any = "arrival", *, appended: int = NOW, by: Ingestor | None = None) -> Unfit:
    value = raw if raw is None or isinstance(raw, bytes) else json.dumps(raw).encode()
    result = (by or ingestor(mode)).ingest(value, SOURCE, 7, appended)
    assert isinstance(result, Refused), result
    assert result.letter
    assert result.unfit.reason in REASONS
    return result.unfit


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "E", "userId": "u", **fields}


def at(milliseconds: int) -> str:
    return timestamps.render(milliseconds)


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


# ---- time ----


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


FIELDS = [
    "type", "event", "name", "category", "messageId", "userId", "anonymousId", "user_id", "groupId", "previousId", "timestamp",
    "sentAt", "receivedAt", "originalTimestamp", "channel",
]  # fmt: skip
TIMES = st.integers(-(10**20), 10**20) | st.floats() | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FIELDS, SCALARS | TIMES),
        "type": st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "x"]),
        "userId": st.sampled_from(["u1", 7, "null", "用户"]),
        "properties": TREES | st.lists(SCALARS, max_size=1),
        "traits": TREES,
        "context": TREES,
    },
)
INGESTORS = {mode: ingestor(mode) for mode in ("arrival", "event")}


def valid(result: Accepted) -> records.Event:
    event = records.decode(result.value)
    assert isinstance(event, records.Event)
    parse_profile_key(result.key)
    assert timestamps.EARLIEST <= event.occurred <= event.received
    identifiers = {"groupId", "previousId"}  # like other identifiers they may look like a card number
    for tree in (event.properties, event.traits, event.context):
        check({name: value for name, value in tree.items() if name not in identifiers})
    check([event.event, event.channel])
    for text in (event.id, event.event, event.channel, event.user_id, event.anonymous_id):
        assert clean_text(text) == text == text.strip()
        assert len(text) <= MAX_NAME
    assert event.id
    assert event.event
    return event


class Suspicious(Inspector):
    """Calls nothing clean: every step of cleaning runs."""

    def bytes_clean(self, text: bytes, elsewhere: Iterable[object] = ()) -> bool:
        return False

    def tree_clean(self, tree: Tree, depth: int = 1, *, values: bool) -> bool:
        return False


def check_short_cuts(mode: str, raw: bytes) -> None:
    """The same becomes of a record, to the byte, as without any short cut and without anything remembered."""
    plain, usual = ingestor(mode), INGESTORS[mode]
    plain._inspector = Suspicious()
    usual.counts.clear()
    results = []
    for worker in (usual, plain):
        result = worker.ingest(raw, SOURCE, 7, NOW)
        if isinstance(result, Refused):
            unfit = result.unfit
            results.append((unfit.reason, unfit.detail, unfit.field, result.letter, worker.counts))
        else:
            results.append((result.key, result.value, result.received, True, worker.counts))
    assert results[0] == results[1]
    usual.counts.clear()


def as_written(raw: dict[str, Any], form: str) -> bytes:
    """An event as different producers write it; `broken` with what is repaired."""
    text = json.dumps(raw, ensure_ascii=form == "ascii", separators=(",", ":") if form != "spaces" else None)
    text = text.replace("200000000000000.0", ".2e15").replace("100000000000000.0", ".1e15")
    if form == "broken":
        text = "\ufeff" + text.replace("\\n", "\n").replace(" ", "\n")
    return text.encode("utf-8", "replace")


QUIET_EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "page", "group"]),
        "event": st.just("E"),
        "timestamp": st.sampled_from([NOW, NOW - 5, 4_222_222_222_222]),
    },
    optional={
        "messageId": st.sampled_from(["m1", "ajs-next-1700000000826-550e8400-e29b", "4111 1111 1111 1111", 4111111111111111]),
        "userId": st.sampled_from(["u1", "4111111111111111", 1_700_000_000_826]),
        "anonymousId": st.just("550e8400-e29b-41d4-a716-446655440000"),
        "name": st.sampled_from(["n", 4.2e15, "4111 1111 1111 1111"]),
        "groupId": st.sampled_from(["g", 4.2e15]),
        **dict.fromkeys(
            ["properties", "traits", "context"],
            st.dictionaries(
                st.sampled_from(["a", "b", "password"]),
                st.sampled_from(["x", 1, 4111111111111111, "4111-1111-1111-1111", 4.2e15, -4.2e15, {}, {"a": {"pin": 1}}]),
                max_size=2,
            ),
        ),
    },
)


@example({"event": "E", "userId": "u", "properties": {"note": "4111 1111 1111 1111"}}, "arrival", "broken")
@example({"event": "E", "userId": "u", "properties": {"a": 4.2e15}}, "arrival", "plain")
@example({"type": "page", "userId": "u", "name": 4.2e15}, "arrival", "plain")
@example({"type": "page", "userId": "u", "name": "n", "context": {"a": {"pin": 1}}}, "arrival", "plain")
@given(EVENTS | QUIET_EVENTS, st.sampled_from(["arrival", "event"]), st.sampled_from(["plain", "ascii", "spaces", "broken"]))
def test_short_cuts_change_nothing(raw: dict[str, Any], mode: str, form: str) -> None:
    check_short_cuts(mode, as_written(raw, form))


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,eE0123456789 -\n\\u', max_size=60).map(str.encode))
def test_short_cuts_change_nothing_of_any_bytes(raw: bytes) -> None:
    check_short_cuts("arrival", b'{"event":"E","userId":"u","properties":' + raw + b"}")


@given(EVENTS, st.sampled_from(["arrival", "event"]))
def test_any_event_is_clean_or_unfit(raw: dict[str, Any], mode: str) -> None:
    worker = INGESTORS[mode]
    result = worker.ingest(json.dumps(raw).encode(), SOURCE, 7, NOW)
    if isinstance(result, Refused):
        assert result.unfit.reason in set(REASONS) - {"unexpected", "malformed_json"}
        worker.counts.clear()
        return
    event = valid(result)
    assert set(worker.counts) <= set(FIXES)
    # Sent again as it came out, it comes out the same.
    again = {
        "type": event.type,
        "event": event.event,
        "messageId": event.id,
        "userId": event.user_id or None,
        "anonymousId": event.anonymous_id or None,
        "timestamp": event.occurred,
        "receivedAt": event.received,
        "channel": event.channel,
        "properties": event.properties,
        "traits": event.traits if event.type != "group" else next(iter(event.traits.values()), {}),
        "context": event.context,
        "groupId": event.properties.get("groupId"),
        "previousId": event.properties.get("previousId"),
    }
    worker.counts.clear()
    second = worker.ingest(json.dumps(again).encode(), SOURCE, 7, NOW)
    assert isinstance(second, Accepted)
    assert records.decode(second.value) == event
    assert second.key == result.key
    assert not set(worker.counts) - {"time_after_received", "identifiers"}


@given(
    st.binary(max_size=300)
    | st.text(alphabet='{}[]",:\\u0deabcN 1', max_size=80).map(str.encode)
    | st.tuples(
        st.sampled_from([track(properties={"a": "鞋😀"}), track(context={"a": [1]})]), st.integers(0, 99), st.binary(max_size=3)
    ).map(
        lambda cut: (
            (text := json.dumps(cut[0], ensure_ascii=False).encode())[: cut[1] % len(text)]
            + cut[2]
            + text[cut[1] % len(text) + 1 :]
        )
    ),
    st.sampled_from(["arrival", "event"]),
)
def test_any_bytes_give_an_event_or_a_dead_letter(raw: bytes, mode: str) -> None:
    result = INGESTORS[mode].ingest(raw, SOURCE, 7, NOW)
    if isinstance(result, Accepted):
        valid(result)
        return
    assert result.unfit.reason in set(REASONS) - {"unexpected"}
    letter = dead_letter(result.unfit, ORIGIN, None, raw, NOW, 1 << 20)
    assert replayed(letter, {"events"})[1] == raw


@given(EVENTS)
def test_the_same_record_gives_the_same_bytes(raw: dict[str, Any]) -> None:
    value = json.dumps(raw).encode()
    fresh = ingestor().ingest(value, SOURCE, 7, NOW)
    used = INGESTORS["arrival"].ingest(value, SOURCE, 7, NOW)
    if isinstance(fresh, Accepted):
        assert fresh == used
    else:
        assert isinstance(used, Refused)
        assert fresh.unfit.reason == used.unfit.reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (orjson.dumps(track(properties={"blob": "x" * 10_000_000})), "too_large"),
        (orjson.dumps(track(properties={"p": {str(n): n for n in range(1_000_000)}})), "too_large"),
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
