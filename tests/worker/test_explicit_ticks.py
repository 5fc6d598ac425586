"""Explicit ticks wait for what was there, keep their order, and go to every partition."""

from __future__ import annotations

from rtcdp.commands import TickCommand, encode
from rtcdp.errors import Unfit
from rtcdp.records import TICK_KEY, Tick, decode
from rtcdp.worker.explicit_ticks import ExplicitTicks


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
    ticks = ExplicitTicks("c/1", producer, "log", 3, frozenset({"s"}))
    ticks.take(7, encode(TickCommand(time=1_000, ends={"s/0": 5, "s/1": 0, "elsewhere/0": 99})), bury)
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
    ticks = ExplicitTicks("c/0", producer, "log", 1, frozenset({"s"}))
    ticks.take(0, encode(TickCommand(time=1, ends={"s/0": 5})), bury)
    for offset, value in enumerate((b"{", b'{"kind": "erase"}', None, b"[]"), 1):
        ticks.take(offset, value, buried.append)
    ticks.carry_out(lambda source: 0)
    assert buried == []
    assert ticks.carry_out(lambda source: 5) == 1
    assert [unfit.reason for unfit in buried] == ["malformed_json", "unknown_command", "malformed_json", "unknown_command"]
    assert len(ticks) == 0
