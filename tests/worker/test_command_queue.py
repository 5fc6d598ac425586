"""Ticks wait for what was there and go to every partition; commands about a person become one record, in their order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcdp.control.commands import TickCommand, encode
from rtcdp.errors import Unfit
from rtcdp.records import TICK_KEY, Consent, Correct, Tick, decode
from rtcdp.worker.ingest.command_queue import CommandQueue, people


class Recording:
    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, str, int, int | None]] = []
        self.skipped: list[tuple[str, int]] = []

    def skip(self, source: str, offset: int) -> None:
        self.skipped.append((source, offset))

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, *, source: str, offset: int, partition: int | None = None
    ) -> None:
        self.records.append((topic, key, value, source, offset, partition))


def bury(unfit: Unfit) -> None:
    raise AssertionError(unfit)


def test_a_tick_waits_for_the_ends_and_goes_to_every_partition() -> None:
    producer = Recording()
    ticks = CommandQueue("c/1", producer, "log", 3, frozenset({"s"}))
    ticks.take(7, None, encode(TickCommand(time=1_000, ends={"s/0": 5, "s/1": 0, "elsewhere/0": 99})), 0, bury)
    assert ticks.carry_out(lambda source: 4) == 0
    assert producer.records == []
    assert ticks.carry_out(lambda source: 5 if source == "s/0" else 0) == 1
    assert [(topic, key, partition) for topic, key, _, _, _, partition in producer.records] == [
        ("log", TICK_KEY, partition) for partition in range(3)
    ]
    tick = decode(producer.records[0][2] or b"")
    assert tick == Tick(time=1_000, wake=1_000, simulated=True, source="c/1", offset=7)
    assert len(ticks) == 0


def test_what_is_no_command_waits_for_its_turn() -> None:
    producer, buried = Recording(), list[Unfit]()
    ticks = CommandQueue("c/0", producer, "log", 1, frozenset({"s"}))
    ticks.take(0, None, encode(TickCommand(time=1, ends={"s/0": 5})), 0, bury)
    for offset, value in enumerate((b"{", b'{"kind": "vanish"}', None, b"[]"), 1):
        ticks.take(offset, None, value, 0, buried.append)
    ticks.carry_out(lambda source: 0)
    assert buried == []
    assert ticks.carry_out(lambda source: 5) == 5
    assert [unfit.reason for unfit in buried] == ["malformed_json", "unknown_command", "malformed_json", "unknown_command"]
    assert len(ticks) == 0


ANN = b"main/user_id:ann"


def test_a_command_about_a_person_becomes_one_record_behind_what_waits() -> None:
    producer = Recording()
    queue = CommandQueue("c/0", producer, "log", 3, frozenset({"s"}))
    queue.take(3, None, encode(TickCommand(time=1, ends={"s/0": 5})), 900, bury)
    asked = Consent(id="r1", by="ops", answers={"marketing": False}, at=5_000, received=9, source="x", offset=99, hops=12)
    queue.take(4, ANN, encode(asked), 1_000, bury)
    assert queue.carry_out(lambda source: 4) == 0, "what is behind a tick that waits, waits: origins do not go down"
    assert queue.carry_out(lambda source: 5) == 2
    topic, key, value, source, offset, partition = producer.records[-1]
    assert (topic, key, source, offset, partition) == ("log", ANN, "c/0", 4, None)
    expected = Consent(id="r1", by="ops", answers={"marketing": False}, at=1_000, received=1_000, source="c/0", offset=4)
    assert decode(value or b"") == expected, "time and origin are those of the record, whatever was written into it"


def test_where_all_time_is_simulated_a_command_moves_none() -> None:
    producer = Recording()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset(), arrival=False)
    queue.take(0, ANN, encode(Consent(id="r1", answers={"marketing": True}, at=7)), 1_000, bury)
    queue.carry_out(lambda source: 0)
    made = decode(producer.records[0][2] or b"")
    assert isinstance(made, Consent)
    assert (made.received, made.at, made.simulated) == (0, 7, True)


def test_a_command_for_nobody_or_too_large_is_refused() -> None:
    producer, buried = Recording(), list[Unfit]()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset(), room=300)
    value = encode(Consent(id="r1", answers={}))
    for offset, key in enumerate((None, b"", b"ann", b"main/user_id:a/b", b"\xff")):
        queue.take(offset, key, value, 1, buried.append)
    queue.take(9, ANN, encode(Consent(id="r1", reason="x" * 300, answers={})), 1, buried.append)
    queue.carry_out(lambda source: 0)
    assert [unfit.reason for unfit in buried] == ["bad_key"] * 5 + ["too_large"]
    assert producer.records == []


def test_a_full_producer_is_asked_again() -> None:
    class Full(Recording):
        full = True

        def produce(self, topic: str, key: bytes | None, value: bytes | None, **rest: object) -> None:  # type: ignore[override]  # of whatever else
            if self.full:
                raise BufferError
            self.records.append((topic, key, value, "", 0, None))

    producer = Full()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset())
    queue.take(0, ANN, encode(Consent(id="r1", answers={})), 1, bury)
    assert queue.carry_out(lambda source: 0) == 0
    producer.full = False
    assert queue.carry_out(lambda source: 0) == 1
    assert len(producer.records) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (b'{"kind": "correct", "id": "r", "traits": {"a": ' + b"[" * 100_000, "too_deep"),
        (b'{"kind": "correct", "id": "r", "traits": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", "too_deep"),
        (encode(TickCommand(time=10**30)), "unknown_command"),
        (encode(TickCommand(time=9 * 10**18)), "unknown_command"),
        (b'{"kind": "consent", "id": "r", "answers": {"a": true}, "until": 1' + b"0" * 30 + b"}", "unknown_command"),
        (b'{"kind": "consent", "id": "r", "answers": {"a": true}, "at": -1000000000000000000}', "unknown_command"),
        (b'{"kind": "erase", "id": "' + b"r" * 10_000 + b'"}', "unknown_command"),
    ],
)
def test_what_nothing_behind_it_could_bear_is_a_dead_letter(command: bytes, reason: str) -> None:
    producer, buried = Recording(), list[Unfit]()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset({"s"}))
    queue.take(0, ANN, command, 1_000, buried.append)
    assert queue.carry_out(lambda source: 0) == 1
    assert [unfit.reason for unfit in buried] == [reason]
    assert producer.records == []


def test_traits_set_by_hand_are_such_as_events_can_bring() -> None:
    producer = Recording()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset({"s"}))
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    asked = {"kind": "correct", "id": "r", "traits": {"card": 10**30, "deep": deep, "city": None}}
    queue.take(0, ANN, json.dumps(asked).encode(), 1_000, bury)
    queue.carry_out(lambda source: 0)
    made = decode(producer.records[0][2] or b"")
    assert isinstance(made, Correct)
    assert (made.traits["card"], made.traits["city"]) == (str(10**30), None)
    assert json.dumps(made.traits).count("[") < 10


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = ("id", "by", "at", "until", "answers", "traits", "without", "state", "people", "time", "ends", "of", "head")
_SHAPED = st.builds(
    lambda kind, fields: json.dumps({"kind": kind, "id": "r", **fields}).encode(),
    st.sampled_from(["consent", "correct", "split", "erase", "tick"]),
    st.dictionaries(st.sampled_from(_FIELDS), _JSON),
)


@given(st.none() | st.binary(max_size=40) | st.just(ANN), st.none() | st.binary() | _SHAPED)
def test_any_bytes_are_a_command_or_a_dead_letter(key: bytes | None, value: bytes | None) -> None:
    producer, buried = Recording(), list[Unfit]()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset({"s"}))
    queue.take(0, key, value, 1_000, buried.append)
    assert queue.carry_out(lambda source: 10**9) == 1
    assert len(producer.records) + len(buried) == 1
    for _, _, written, _, _, _ in producer.records:
        decode(written or b"")


def test_only_people_get_data_keys() -> None:
    """A key of more than 65,535 bytes cannot even be sealed under: encryption or not, it is a dead letter."""
    long = b"main/user_id:" + b"x" * 70_000
    assert people([None, b"", b"~tick", b"\xff", long, ANN, ANN]) == {ANN}
    producer, buried = Recording(), list[Unfit]()
    queue = CommandQueue("c/0", producer, "log", 1, frozenset({"s"}))
    queue.take(0, long, encode(Consent(id="r", answers={"marketing": True})), 1_000, buried.append)
    queue.carry_out(lambda source: 0)
    assert [unfit.reason for unfit in buried] == ["bad_key"]


def test_what_nobody_can_read_is_done_in_its_turn() -> None:
    producer = Recording()
    queue = CommandQueue("c/1", producer, "log", 1, frozenset({"s"}))
    queue.take(7, None, encode(TickCommand(time=1_000, ends={"s/0": 5})), 0, bury)
    queue.skip(8)
    assert queue.carry_out(lambda source: 4) == 0
    assert producer.skipped == []
    assert queue.carry_out(lambda source: 5) == 2
    assert producer.skipped == [("c/1", 8)]


def test_a_tick_that_names_an_end_which_is_not_there_holds_nobody_up() -> None:
    producer = Recording()
    queue = CommandQueue("c/1", producer, "log", 1, frozenset({"s"}))
    queue.take(7, None, encode(TickCommand(time=1_000, ends={"s/0": 500, "s/9": 1, "elsewhere/0": 99})), 0, bury)
    queue.take(8, None, encode(TickCommand(time=2_000, ends={"s/0": 600})), 0, bury)
    assert queue.held_until == 8
    assert queue.carry_out(lambda source: 40) == 0
    queue.bound({"s/0": 50}, 7)
    assert queue.carry_out(lambda source: 40) == 0, "what is there is still waited for"
    assert queue.carry_out(lambda source: 50 if source == "s/0" else 0) == 1
    assert queue.carry_out(lambda source: 50) == 0, "the second came after the ends were asked for"
    assert queue.carry_out(lambda source: 600) == 1
    assert queue.held_until == -1
