"""Whatever comes: a clean event or a dead letter; the same with and without short cuts; the same bytes for the same record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from ingesting import NOW, SOURCE, ingestor, track
from test_cleaning import SCALARS, TREES, check
from test_letters import ORIGIN

from rtcdp import records
from rtcdp.ingestion.cleaning import FIXES, MAX_NAME, Inspector, Tree, clean_text
from rtcdp.ingestion.events import REASONS
from rtcdp.ingestion.identity import parse_profile_key
from rtcdp.ingestion.ingestor import Accepted, Refused
from rtcdp.ingestion.letters import dead_letter, replayed
from rtcdp.times import timestamps

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
