"""After a switch everybody is visited, in order, also those who came while the order was made, or in a batch done again."""

from __future__ import annotations

import random

from engine.buyers import BUYERS, names, order
from engine.harness import Partition, compiled, record

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding import visiting
from rtcdp.folding.runner import PartitionRunner
from rtcdp.folding.visiting import Order
from rtcdp.records import SWITCH_KEY, TICK_KEY, Switch, Tick

OLD = compiled(BUYERS)
NEW = compiled(BUYERS | {"segments": dict(BUYERS["segments"]) | {"loyal": "orders >= 1"}})
SWITCH = (SWITCH_KEY, records.encode(Switch(number=2, version=NEW.version, time=2000)))


def visited(partition: Partition, wake: int) -> None:
    """Ticks until everybody has passed the switch."""
    offset = 1_000
    while partition.runner.position.cursor is not None:
        partition.feed_records([(offset, TICK_KEY, records.encode(Tick(time=2000, wake=wake)))])
        offset += 1
    assert {profiles.switch(value) for value in partition.runner.state.values()} == {2}


def test_every_key_once_and_in_order() -> None:
    keys = [b"%06d" % number for number in range(2 * visiting.STEP + 7)]
    mixed = random.Random(1).sample(keys, len(keys))
    found = Order([*mixed, b"~mark"], b"~")
    list(found.steps())
    assert found.ready
    found.add(b"000000!")
    found.add(keys[3])
    assert list(found.after(b"")) == [keys[0], b"000000!", *keys[1:]]
    assert list(found.after(keys[-2])) == keys[-1:]
    found.add(b"9")
    assert list(found.after(keys[-2])) == keys[-1:], "a visit sees who was there when it began"
    found.begin_again()
    assert list(found.after(keys[-2])) == [keys[-1], b"9"]


def test_who_comes_while_the_order_is_made_is_visited_too() -> None:
    partition = Partition(OLD, NEW)
    partition.feed([order("5", 1000), order("1", 1000)])
    steps = partition.runner.order()
    next(steps)
    partition.feed([order("3", 1001)])
    list(steps)
    partition.feed([order("7", 1002)])
    partition.feed_records([(10, *SWITCH)])
    visited(partition, wake=1)
    assert all(("entered", "loyal", 2000) in names(partition, name) for name in "1357")


def test_who_comes_in_the_first_half_of_a_batch_that_was_aborted_is_visited_too() -> None:
    partition = Partition(OLD, NEW)
    partition.feed([order("5", 1000)])
    batch = [record(order("1", 1001), 5), (6, *SWITCH), (7, TICK_KEY, records.encode(Tick(time=2000, wake=1)))]
    partition.runner.discard(partition.runner.fold(batch))
    partition.feed_records(batch[:1])
    partition.feed_records(batch[1:])
    visited(partition, wake=1)
    assert all(("entered", "loyal", 2000) in names(partition, name) for name in "15")


def test_a_visit_goes_on_after_a_restart() -> None:
    partition = Partition(OLD, NEW)
    partition.feed([order(name, 1000) for name in "97531"])
    partition.feed_records([(10, *SWITCH), (11, TICK_KEY, records.encode(Tick(time=2000, wake=2)))])
    first = partition.runner
    runner = PartitionRunner(0, dict(first.state), first.position, partition.registry)
    runner.rebuild_timers()
    partition.runner = runner
    visited(partition, wake=2)
    assert all(("entered", "loyal", 2000) in names(partition, name) for name in "13579")
