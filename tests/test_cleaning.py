"""Cleaning: text, bounds, numbers, secrets, and the tracking plan."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtcdp.errors import Unfit
from rtcdp.ingestion import cleaning, sensitive, tracking
from rtcdp.ingestion.cleaning import FIXES, MAX_DEPTH, MAX_ITEMS, MAX_KEY_LENGTH, MAX_KEYS, MAX_TEXT, Inspector, clean_tree
from rtcdp.ingestion.events import decode
from rtcdp.rules.definitions import PlannedEvent, Property, TrackingPlan


def cleaned(tree: dict[str, Any], allowed: frozenset[str] = frozenset()) -> tuple[dict[str, Any], Counter[str]]:
    fixes: Counter[str] = Counter()
    return clean_tree(tree, allowed, fixes, "properties"), fixes


def nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"here": levels}
    for level in range(levels - 1, 0, -1):
        tree = {"here": level, "in": tree}
    return tree


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain ~", "plain ~"),
        ("e\u0301tude", "étude"),
        ("a\u0000b\u0007c\u007fd\u0085", "abcd"),
        ("two\nlines\tand\r\nmore", "two lines and  more"),
        ("商品浏览，🛒👩‍👩‍👧", "商品浏览，🛒👩‍👩‍👧"),
        ("مرحبا\u200f بالعالم", "مرحبا\u200f بالعالم"),
        ("שלום", "שלום"),
        ("\uac00", "\uac00"),
        ("\u1100\u1161", "\uac00"),
    ],
)
def test_text(text: str, clean: str) -> None:
    assert cleaned({"it": text})[0] == {"it": clean}
    assert cleaned({text: 1})[0] == {clean: 1}


def test_empty_and_equal_names() -> None:
    tree, fixes = cleaned({"": 1, "\u0000": 2, "e\u0301": 3, "é": 4, "a\u0001": 5, "a\u0002": 6})
    assert tree == {"é": 4, "a": 5}
    assert fixes["names_dropped"] == 4


def test_depth() -> None:
    assert cleaned(nested(MAX_DEPTH)) == (nested(MAX_DEPTH), {})
    tree, fixes = cleaned(nested(MAX_DEPTH + 3))
    assert fixes == {"depth_cut": 1}
    for _ in range(MAX_DEPTH - 1):
        tree = tree["in"]
    assert tree == {"here": MAX_DEPTH}


def test_lists_count_as_levels() -> None:
    tree: Any = "x"
    for _ in range(20):
        tree = [tree, 1]
    clean, fixes = cleaned({"list": tree})
    assert fixes == {"depth_cut": 1}
    assert json.dumps(clean).count("[") == MAX_DEPTH - 1


def test_the_same_names_stay_in_any_order() -> None:
    names = [f"name{number:04d}" for number in range(MAX_KEYS + 10)]
    forward, fixes = cleaned(dict.fromkeys(names, 1))
    backward, _ = cleaned(dict.fromkeys(reversed(names), 1))
    assert forward == backward == dict.fromkeys(names[:MAX_KEYS], 1)
    assert fixes == {"names_cut": 10}


def test_lengths() -> None:
    tree, fixes = cleaned({"t": "长" * (MAX_TEXT + 1), "l": [1] * (MAX_ITEMS + 1), "n" * (MAX_KEY_LENGTH + 1): 1})
    assert tree == {"t": "长" * MAX_TEXT, "l": [1] * MAX_ITEMS}
    assert fixes == {"texts_cut": 1, "lists_cut": 1, "names_dropped": 1}


def test_numbers_keep_every_digit() -> None:
    tree, fixes = cleaned({"a": 2**53 + 1, "b": 2**63 - 1, "c": 2**63, "d": [-(10**30)], "e": 1.5})
    assert tree == {"a": 2**53 + 1, "b": 2**63 - 1, "c": "9223372036854775808", "d": ["-1" + "0" * 30], "e": 1.5}
    assert fixes == {"numbers": 2}


CARDS = {
    "4111111111111111": "Visa",
    "4222222222222": "Visa, 13 digits",
    "5500005555555559": "Mastercard",
    "2223003122003222": "Mastercard, 2 series",
    "378282246310005": "American Express",
    "30569309025904": "Diners Club",
    "6011111111111117": "Discover",
    "3530111333300000": "JCB",
    "6200000000000005": "UnionPay",
    "6205500000000000004": "UnionPay, 19 digits",
}
NO_CARDS = {
    "4111111111111112": "wrong checksum",
    "1111111111111117": "no issuer",
    "1709633472345": "a time in ms",
    "4006381333931": "an EAN-13 that begins like a card",
    "123456789012": "too short",
    "41111111111111111111": "too long",
    "411111111111111": "15 digits of a Visa",
    "353879234252633": "an IMEI",
    "0.4111111111111111": "a fraction",
}


@pytest.mark.parametrize("number", CARDS)
def test_card_numbers(number: str) -> None:
    for text in (number, f"card:{number}.", f"卡号{number}，谢谢", f"https://x.cn/pay?pan={number}&y=1"):
        tree, fixes = cleaned({"it": text})
        assert tree == {"it": text.replace(number, "[removed]")}
        assert fixes == {"secret_card": 1}
    for value in (int(number), float(number) if int(number) < 2**53 else int(number)):
        assert cleaned({"it": value, "in": [{"deep": value}, value]}) == ({"in": [{}]}, {"secret_card": 3})


@pytest.mark.parametrize("number", NO_CARDS)
def test_no_card_numbers(number: str) -> None:
    assert cleaned({"it": f"no {number}"}) == ({"it": f"no {number}"}, {})
    if number.isdigit() and not number.startswith("0") and int(number) < 2**63:
        assert cleaned({"it": int(number)}) == ({"it": int(number)}, {})


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "４１１１１１１１１１１１１１１１",
        "3782 822463 10005",
        "3056 930902 5904",
        "6205 5000 0000 0000 004",
        "4111 1111 1111 1111 123",
    ],
)
def test_card_numbers_as_people_write_them(text: str) -> None:
    assert cleaned({"it": f"pay {text} 12/29"})[0] == {"it": "pay [removed] 12/29"}


@pytest.mark.parametrize(
    "text",
    [
        "call +4111 1111 1111 1111",
        "id a4111111111111111",
        "id 4111111111111111f",
        "order_4111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "2024-03-05 10:11:12.345",
        "4111 1111 1111",
        "http://x.cn/?utm_source=token&q=password",
    ],
)
def test_what_only_looks_like_a_secret(text: str) -> None:
    assert cleaned({"it": text}) == ({"it": text}, {})


@pytest.mark.parametrize(
    "number", ["11010519491231002X", "440308199901101512", "11010519491231002x", "１１０１０５１９４９１２３１００２Ｘ"]
)
def test_national_ids(number: str) -> None:
    assert cleaned({"it": f"身份证 {number}"}) == ({"it": "身份证 [removed]"}, {"secret_national_id": 1})


@pytest.mark.parametrize("number", ["110105194912310021", "990105194912310020", "110105194913310029", "11010519491231002"])
def test_no_national_ids(number: str) -> None:
    assert cleaned({"it": f"订单 {number}"}) == ({"it": f"订单 {number}"}, {})


def test_a_national_id_as_a_number() -> None:
    assert cleaned({"it": 440308199901101512}) == ({}, {"secret_national_id": 1})


SECRET_NAMES = [
    "password", "Password", "user_password", "PASS-WORD", "passwd", "pwd", "pin", "otp", "cvv", "CVC2", "api_key", "x-api-key",
    "accessToken", "refresh_token", "id_token", "token", "secret", "client_secret", "Authorization", "cookie", "card_number",
    "creditCardNumber", "cardNo", "ssn", "social_security_number", "idCard", "national_id", "passport_no", "密码", "身份证号",
]  # fmt: skip
PLAIN_NAMES = [
    "shipping", "pinned", "spin", "session_id", "tokens_left", "secretary", "passenger", "compass", "card_type", "cardinality",
    "ssnumber_of_x", "author", "keyboard", "key", "idea", "opinion", "pinyin", "cookies_accepted", "discard_notes",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: str) -> None:
    assert cleaned({"a": [{name: "hunter2", "b": 1}]}) == ({"a": [{"b": 1}]}, {"secret_field": 1})
    assert cleaned({name: {"deep": 1}}) == ({}, {"secret_field": 1})


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_plain_names(name: str) -> None:
    assert cleaned({name: "value"}) == ({name: "value"}, {})


def test_a_yes_or_no_is_no_secret() -> None:
    assert cleaned({"password": True, "has_password": False, "token": None})[1] == {}


def test_secret_parameters() -> None:
    url = "https://shop.cn/reset?lang=zh&token=eyJhbGciOi.abc&user_password=a%20b#top"
    tree, fixes = cleaned({"url": url})
    assert tree == {"url": "https://shop.cn/reset?lang=zh&token=&user_password=#top"}
    assert fixes == {"secret_parameter": 2}


@pytest.mark.parametrize("allowed", ["card", "payment.card", "properties.payment.card"])
def test_what_is_allowed_by_name_stays(allowed: str) -> None:
    tree = {"payment": {"card": "4111111111111111"}, "note": "4111111111111111"}
    assert cleaned(tree, frozenset({allowed})) == (
        {"payment": {"card": "4111111111111111"}, "note": "[removed]"},
        {"secret_card": 1},
    )


def test_hostile_texts_are_quick() -> None:
    # All of these were slow with a pattern that tries again at every letter.
    for text in ("a" * MAX_TEXT, "a_" * 2000, "1 " * 2000, "4111 " * 800, "token=" * 600, "=" * MAX_TEXT, "password" * 500):
        sensitive.clean_text(text, Counter())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.text(alphabet="e\u0301\u0000\n =&token4１1 -é😀\u00a0", max_size=40)
    | st.sampled_from([*CARDS, *map(int, CARDS), *map(float, CARDS), *NO_CARDS, "11010519491231002X", "pwd=x&a=1", 4.1e15])
)
NAMES = st.text(max_size=8) | st.sampled_from([*SECRET_NAMES, *PLAIN_NAMES, "é", "e\u0301", ""])
TREES = st.dictionaries(
    NAMES,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=25),
    max_size=6,
)


def check(value: Any, depth: int = 0) -> None:
    """Everything that holds of a cleaned tree."""
    if isinstance(value, dict):
        assert depth < MAX_DEPTH
        assert len(value) <= MAX_KEYS
        for name, item in value.items():
            assert 0 < len(name) <= MAX_KEY_LENGTH
            check(name)
            check(item, depth + 1)
    elif isinstance(value, list):
        assert depth < MAX_DEPTH
        assert len(value) <= MAX_ITEMS
        for item in value:
            check(item, depth + 1)
    elif isinstance(value, str):
        assert len(value) <= MAX_TEXT
        assert unicodedata.is_normalized("NFC", value)
        assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in value)
        assert "4111111111111111" not in value.split()
    elif isinstance(value, int):
        assert abs(value) < 2**63


@given(TREES)
@example(nested(20))
def test_a_cleaned_tree_is_within_bounds_and_stays_as_it_is(tree: dict[str, Any]) -> None:
    once, fixes = cleaned(tree)
    check(once)
    assert set(fixes) <= set(FIXES)
    twice, fixes = cleaned(once)
    assert twice == once
    assert not fixes


@given(tree=TREES, script=st.sampled_from(["ascii", "unicode"]))
@example(tree={"a": 4.1e15}, script="ascii")
@example(tree={"a": "4111\u00a01111\u00a01111\u00a01111"}, script="unicode")
@example(tree=nested(MAX_DEPTH), script="ascii")
@example(tree=nested(MAX_DEPTH + 1), script="ascii")
@example(tree={"a": "\x7f"}, script="unicode")
def test_what_the_inspector_calls_clean_is_clean(tree: dict[str, Any], script: str) -> None:
    text = json.dumps({"properties": tree}, ensure_ascii=script == "ascii", separators=(",", ":"))
    raw = text.encode("utf-8", "replace")
    properties = decode(raw, Counter()).properties
    assert isinstance(properties, dict)
    inspector = Inspector()
    if inspector.tree_clean(properties, values=not inspector.bytes_clean(raw)):
        assert cleaned(properties) == (properties, {})


def test_usual_events_are_clean_by_their_bytes() -> None:
    for event in (
        {"sku": "SKU-1", "price": 12.5, "at": "2024-03-05T10:11:12.345Z", "url": "https://x.cn/?utm_source=a"},
        {"名": "红色连衣裙，大码", "emoji": "🛒", "ar": "مرحبا"},
    ):
        raw = orjson.dumps({"properties": event})
        inspector = Inspector()
        assert inspector.bytes_clean(raw)
        assert inspector.tree_clean(event, values=False)
    assert not Inspector().bytes_clean(b'{"a":"4111-1111-1111-1111"}')
    assert not Inspector().tree_clean({"a": {"password": "x"}}, values=False)


# ---- the tracking plan ----

WRONG = object()


@pytest.mark.parametrize(
    ("value", "wanted", "corrected"),
    [
        ("12.50", "number", 12.5),
        (" 7 ", "number", 7),
        ("-1e3", "number", -1000.0),
        ("99999999999999999999", "number", 1e20),
        (3, "number", 3),
        ("1,299.00", "number", WRONG),
        ("12,5", "number", WRONG),
        ("1e999", "number", WRONG),
        ("０１", "number", WRONG),
        ("", "number", WRONG),
        (True, "number", WRONG),
        ("TRUE", "boolean", True),
        ("no", "boolean", False),
        (1, "boolean", True),
        (2, "boolean", WRONG),
        ("maybe", "boolean", WRONG),
        (12, "text", "12"),
        (1.5, "text", "1.5"),
        (False, "text", "false"),
        ([], "text", WRONG),
        ("1990-05-01", "time", "1990-05-01"),
        ("2024-03-05T10:11:12+08:00", "time", "2024-03-05T10:11:12+08:00"),
        (1709633472, "time", "2024-03-05T10:11:12.000Z"),
        ("1709633472345", "time", "2024-03-05T10:11:12.345Z"),
        ("tomorrow", "time", WRONG),
        (10**18 * 50, "time", "3554-06-09T16:53:20.000Z"),
        ([1], "list", [1]),
        ("a,b", "list", WRONG),
        ({"x": 1}, "any", {"x": 1}),
    ],
)
def test_corrections(value: Any, wanted: str, corrected: Any) -> None:
    found = tracking.correct_value(value, wanted)
    if corrected is WRONG:
        assert tracking.is_violation(found)
    else:
        assert (found, type(found)) == (corrected, type(corrected))
        assert tracking.correct_value(found, wanted) is found


def plan(violation: Any = "warn", unplanned: Any = "accept") -> TrackingPlan:
    rules = {
        "price": Property("price", "number", required=True),
        "item.count": Property("item.count", "number", default=1),
        "gift": Property("gift", "boolean"),
    }
    return TrackingPlan(
        events={"Order": PlannedEvent("Order", rules, violation)},
        traits={"vip": Property("vip", "boolean", required=True, default=False)},
        unplanned=unplanned,
    )


def test_a_planned_event_is_corrected_and_filled() -> None:
    given_properties = {"price": "12.5", "item": {"sku": "a"}}
    fixes: Counter[str] = Counter()
    found = tracking.apply_to_event(plan(), "Order", given_properties, fixes)
    assert found == {"price": 12.5, "item": {"sku": "a", "count": 1}}
    assert fixes == {"plan_corrected": 1, "plan_defaults": 1}
    assert given_properties == {"price": "12.5", "item": {"sku": "a"}}  # not changed in place


def test_violations() -> None:
    bad = {"gift": "maybe", "item": {"count": 2}}
    fixes: Counter[str] = Counter()
    assert tracking.apply_to_event(plan("warn"), "Order", bad, fixes) == bad
    assert fixes == {"plan_violations": 2}
    with pytest.raises(tracking.Dropped):
        tracking.apply_to_event(plan("drop"), "Order", bad, fixes)
    with pytest.raises(Unfit) as caught:
        tracking.apply_to_event(plan("dead-letter"), "Order", bad, fixes)
    assert (caught.value.reason, caught.value.field) == ("violation", "properties.gift")


def test_unplanned_events() -> None:
    fixes: Counter[str] = Counter()
    assert tracking.apply_to_event(plan(), "Other", {"a": 1}, fixes) == {"a": 1}
    assert not fixes
    assert tracking.apply_to_event(plan(unplanned="warn"), "Other", {"a": 1}, fixes) == {"a": 1}
    with pytest.raises(tracking.Dropped):
        tracking.apply_to_event(plan(unplanned="drop"), "Other", {}, fixes)
    with pytest.raises(Unfit, match="Other"):
        tracking.apply_to_event(plan(unplanned="dead-letter"), "Other", {}, fixes)
    assert fixes == {"plan_unplanned": 3}


def test_traits_are_corrected_but_never_filled() -> None:
    fixes: Counter[str] = Counter()
    assert tracking.apply_to_traits(plan(), {"vip": "yes"}, fixes) == {"vip": True}
    assert tracking.apply_to_traits(plan(), {"name": "x"}, fixes) == {"name": "x"}
    assert tracking.apply_to_traits(plan(), {"vip": None}, fixes) == {"vip": None}
    assert fixes == {"plan_corrected": 1}


def test_something_else_in_the_way_of_a_default() -> None:
    found = tracking.apply_to_event(plan(), "Order", {"price": 1, "item": "text"}, Counter())
    assert found == {"price": 1, "item": "text"}


def test_every_fix_has_a_name_that_fits_a_metric_label() -> None:
    assert all(name.replace("_", "").isalpha() and name.islower() for name in cleaning.FIXES)
