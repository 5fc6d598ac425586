"""Ticks wait for what was there and go to every partition; commands about a person become one record, in their order."""

from __future__ import annotations

from rtcdp.commands import TickCommand, encode
from rtcdp.errors import Unfit
from rtcdp.records import TICK_KEY, Consent, Tick, decode
from rtcdp.worker.command_queue import CommandQueue


class Recording:
    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, str, int, int | None]] = []

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
