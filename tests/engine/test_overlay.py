"""One partition. Nothing of a batch counts before it is adopted; position and profile in bytes."""

from __future__ import annotations

import gc

import msgspec
import pytest
from engine.buyers import BUYERS, DAY, HOUR, MINUTE, order
from engine.harness import TENANT, Partition, compiled, outputs, record
from engine.oracle import Happened, Ticked

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.folding.batch import Batch
from rtcdp.folding.engine import Engine
from rtcdp.folding.runner import PartitionRunner
from rtcdp.position import Position, SwitchPoint


def test_nothing_of_a_fold_counts_before_it_is_adopted() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000)])
    state, position = dict(partition.runner.state), positions.encode(partition.runner.position)
    first = partition.runner.fold([record(order("1", 2000), 1), record(order("2", 2000), 2)])
    assert dict(partition.runner.state) == state
    assert positions.encode(partition.runner.position) == position
    partition.runner.discard(first)
    second = partition.runner.fold([record(order("1", 2000), 1), record(order("2", 2000), 2)])
    assert (first.changes, first.triggers, first.state, first.position) == (
        second.changes,
        second.triggers,
        second.state,
        second.position,
    )


def test_a_batch_is_gone_with_its_end() -> None:
    """The collector of a worker hardly ever looks: what referred to itself would stay, with all outputs in it."""
    partition = Partition(compiled(BUYERS))
    gc.collect()
    gc.disable()
    try:
        partition.feed([order("1", 1000), order("2", 2000), Ticked(10**9)])
        assert not [one for one in gc.get_objects() if isinstance(one, Batch)]
    finally:
        gc.enable()


def test_a_discarded_batch_need_not_come_again() -> None:
    """The next owner may have folded it; here another batch follows."""
    partition, sound = Partition(compiled(BUYERS)), Partition(compiled(BUYERS))
    for one in (partition, sound):
        one.feed([order("1", 1000)])
    partition.runner.discard(partition.runner.fold([record(order("1", 2000), 1), record(Ticked(10**9), 2)]))
    for one in (partition, sound):
        one.feed([order("1", 1500), Ticked(10**9)])
    assert partition.outputs == sound.outputs
    assert dict(partition.runner.state) == dict(sound.runner.state)


def test_a_restart_from_the_state_and_the_position_goes_on_as_if_nothing_had_been() -> None:
    definitions = compiled(BUYERS)
    whole, first = Partition(definitions), Partition(definitions)
    log: list[Happened | Ticked] = [
        order("1", 1000),
        order("2", 2000),
        order("1", 5000, occurred=1500),
        Ticked(1000 + 11 * MINUTE),
    ]
    log += [order("2", HOUR), Ticked(3 * DAY)]
    whole.feed(log)
    for cut in range(1, len(log)):
        first = Partition(definitions)
        fold = first.feed(log[:cut])
        position = positions.decode(fold.position)
        assert position == first.runner.position
        second = Partition(definitions)
        second.runner = PartitionRunner(0, {}, position, second.registry)
        second.runner.restore(list(first.runner.state.items()))
        second.offset = cut - 1
        second.feed(log[cut:])
        assert outputs(first.changes + second.changes, first.triggers + second.triggers) == whole.outputs
        assert dict(second.runner.state) == dict(whole.runner.state)
        assert second.runner.timers.next() == whole.runner.timers.next()


def test_a_position_round_trips() -> None:
    position = Position(
        topic_id="t", offset=7, origins={"a/0": 3}, switches=[SwitchPoint(1, "v", 5)], tick=9, simulated=True, cursor=b"k"
    )
    assert positions.decode(positions.encode(position)) == position
    assert positions.decode(positions.encode(Position())) == Position()
    with pytest.raises(msgspec.MsgspecError):
        positions.decode(b"nonsense")


def test_a_profile_round_trips_with_numbers_beyond_64_bits() -> None:
    definitions = {
        "features": {"spend": {"sum": "properties.price", "of": "Order"}, "most": {"max": "properties.price", "of": "Order"}},
        "tags": {"t": {"value": "spend"}, "squared": {"value": "spend * spend"}, "m": {"value": "most"}},
    }
    partition = Partition(compiled(definitions))
    for place, price in enumerate([2**63, 10**30, -1e308, 1e308, 1e308, 1e308, 0.5, 0.25]):
        fold = partition.feed([Happened("1", 1000 + place, 1000, f"m{place}", "Order", {"price": price})])
        assert not fold.letters, fold.letters
        data = partition.runner.state[b"main/user_id:1"]
        assert profiles.encode(profiles.decode(TENANT + "1", data)) == data
        partition.runner.cache.clear()
    assert all(item.get("new") is not None for item in partition.outputs["1"] if item["name"] == "t")


def test_both_engines_are_there() -> None:
    definitions = compiled(BUYERS)
    assert Engine(definitions).generator is not None
    assert Engine(definitions, generated=False).generator is None
