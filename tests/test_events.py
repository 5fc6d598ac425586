"""Raw events: what is decoded, what is repaired in the JSON itself, what is refused."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ingesting import million_keys

from rtcdp.errors import Unfit
from rtcdp.ingestion import cleaning
from rtcdp.ingestion.events import MAX_NESTING, MAX_RAW_BYTES, REASONS, RawEvent, decode, nesting, repair
from rtcdp.times import timestamps

DOCUMENT = Path(__file__).parent.parent / "docs" / "events.md"


def refused(raw: bytes | None) -> Unfit:
    with pytest.raises(Unfit) as caught:
        decode(raw, Counter())
    return caught.value


def test_both_spellings_of_names_are_read() -> None:
    event = decode(b'{"messageId":"a","user_id":7,"anonymousId":null,"sent_at":1.5,"more":{"a":[1]}}', Counter())
    assert (event.message_id, event.snake_user_id, event.anonymous_id, event.snake_sent_at) == ("a", 7, None, 1.5)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "null_value"),
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b'{"a":"' + b"x" * 10_000_000 + b'"}', "too_large"),
        (b'{"properties":%s}' % million_keys(), "too_large"),
        (b"[" * 100_000, "too_deep"),
        (b'{"properties":' + b'{"a":' * 200 + b"1" + b"}" * 201, "too_deep"),
        (b'{"userId":"\xff\xfe"}', "not_utf8"),
        ('{"userId":"é"}'.encode("latin-1"), "not_utf8"),
        (b"\x80\x00\x00\x01", "not_utf8"),
        (b'{"type":"track"', "malformed_json"),
        (b"<html>", "malformed_json"),
        (b'{"a":01}', "malformed_json"),
        (b"{'a':1}", "malformed_json"),
        (b'{"a":1}{"a":1}', "malformed_json"),
        (b"null", "not_an_object"),
        (b"[1,2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"userId":{"id":1}}', "wrong_type"),
        (b'{"properties":"price=3"}', "wrong_type"),
    ],
)
def test_what_cannot_be_read(raw: bytes | None, reason: str) -> None:
    assert refused(raw).reason == reason


def test_a_wrong_type_names_its_field() -> None:
    assert refused(b'{"context":3}').field == "context"


def test_size_is_looked_at_before_anything_else() -> None:
    assert refused(b"[" * (MAX_RAW_BYTES + 1)).reason == "too_large"
    assert decode(b'{"a":"' + b"x" * (MAX_RAW_BYTES - 8) + b'"}', Counter()) is not None


@pytest.mark.parametrize(
    ("text", "value", "fix"),
    [
        ("NaN", None, "not_a_number"),
        ("-Infinity", None, "not_a_number"),
        ("1e400", None, "not_a_number"),
        ("1" + "0" * 5000, None, "not_a_number"),
        (r'"cut \ud83d"', "cut \ufffd", "lone_surrogates"),
        (r'"\udc00\ud83d\ude00"', "\ufffd😀", "lone_surrogates"),
        ('"two\nlines"', "two lines", "raw_control_characters"),
    ],
)
def test_repairs(text: str, value: object, fix: str) -> None:
    fixes: Counter[str] = Counter()
    event = decode(b'{"properties":{"before":"NaN","it":%s,"after":-1.5e3}}' % text.encode(), fixes)
    assert event.properties == {"before": "NaN", "it": value, "after": -1500.0}
    assert fixes == {fix: 1}


def test_a_byte_order_mark_goes() -> None:
    fixes: Counter[str] = Counter()
    assert decode(b'\xef\xbb\xbf{"userId":"u"}', fixes).user_id == "u"
    assert fixes == {"byte_order_mark": 1}


def test_escaped_backslashes_are_no_surrogates() -> None:
    assert decode(rb'{"properties":{"a":"\\ud800","b":NaN}}', Counter()).properties == {"a": r"\ud800", "b": None}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_repair_leaves_valid_json_as_it_is(value: object) -> None:
    raw = orjson.dumps(value)
    fixes: Counter[str] = Counter()
    assert repair(raw, fixes) == raw
    assert not +fixes


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(JSON)
@example([[['[{\\"[[']], {"{": [{}]}])
def test_nesting_is_counted_outside_strings(value: object) -> None:
    assert nesting(orjson.dumps(value)) == _depth(value)


def test_nesting_of_hostile_text_is_linear() -> None:
    assert nesting(b'"' + b'\\"' * 250_000) == 0
    assert nesting(b'"' * 500_001) == 0
    assert nesting(b"[" * 500_000) == 500_000 > MAX_NESTING


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0deabcN 1', max_size=60).map(str.encode))
def test_any_bytes_are_an_event_or_unfit(raw: bytes) -> None:
    try:
        event = decode(raw, Counter())
    except Unfit as unfit:
        reason = unfit.reason
    else:
        assert isinstance(event, RawEvent)
        return
    assert reason in REASONS


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("2024-03-05T10:11:12.345Z", 1709633472345),
        ("2024-03-05T18:11:12.345+08:00", 1709633472345),
        ("2024-03-05T04:41:12.345-0530", 1709633472345),
        ("2024-03-05t10:11:12.345999z", 1709633472345),
        ("2024-03-05 10:11:12,345", 1709633472345),
        ("2024-03-05T10:11:12.345678901Z", 1709633472345),
        ("2024-03-05T10:11:12.345", 1709633472345),
        ("2024-03-05", 1709596800000),
        ("2016-12-31T23:59:60Z", 1483228799999),
        ("1969-12-31T23:59:59.999Z", -1),
        (1709633472, 1709633472000),
        (1709633472.345, 1709633472345),
        ("1709633472.345", 1709633472345),
        (1709633472345, 1709633472345),
        ("1709633472345", 1709633472345),
        (1709633472345678, 1709633472345),
        (1709633472345678901, 1709633472345),
        (0, 0),
        ("20240305", 20240305000),
        ("yesterday", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-03-05T25:00:00Z", None),
        ("", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        (10**30, None),
        ("٢٠٢٤-٠٣-٠٥", None),
    ],
)
def test_times(written: object, milliseconds: int | None) -> None:
    assert timestamps.parse(written) == milliseconds


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_rendered_times_are_read_again(milliseconds: int) -> None:
    assert timestamps.parse(timestamps.render(milliseconds)) == milliseconds


@given(
    st.text(max_size=40) | st.floats() | st.integers() | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d.*", fullmatch=True)
)
def test_any_value_is_a_time_or_none(value: object) -> None:
    moment = timestamps.parse(value)
    assert moment is None or isinstance(moment, int)


def _table(heading: str) -> dict[str, str]:
    section = DOCUMENT.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))


def test_the_document_names_every_reason_and_every_fix() -> None:
    assert _table("Dead letters") == REASONS
    assert _table("What is counted") == cleaning.FIXES


@pytest.mark.parametrize(
    "name",
    ["MAX_DEPTH", "MAX_KEYS", "MAX_KEY_LENGTH", "MAX_TEXT", "MAX_ITEMS", "MAX_NAME"],
)
def test_the_document_names_every_limit(name: str) -> None:
    assert f"`{name}` {getattr(cleaning, name)}" in DOCUMENT.read_text()


def test_every_reason_raised_is_known() -> None:
    source = Path(cleaning.__file__).parent
    used = set()
    for module in ("events", "ingestor", "tracking"):
        used |= set(re.findall(r'(?:Unfit|_act)\(\s*"(\w+)"', (source / f"{module}.py").read_text()))
    assert used - {"dropped"} <= set(REASONS)
    assert {"too_large", "no_identifier", "future"} <= used


def test_every_fix_counted_is_known() -> None:
    source = Path(cleaning.__file__).parent
    modules = ("events", "ingestor", "tracking", "cleaning", "sensitive", "identity")
    used = set()
    for module in modules:
        used |= set(re.findall(r'(?:fixes|counts)\["(\w+)"', (source / f"{module}.py").read_text()))
    assert used <= set(cleaning.FIXES)
    assert len(used) > 20
