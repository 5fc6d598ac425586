"""One partition. Time in the log: who is woken by a tick."""

from __future__ import annotations

import json

from engine.buyers import BUYERS, DAY, MINUTE, names, order
from engine.harness import Partition, compiled
from engine.oracle import Ticked

from rtcdp import records
from rtcdp.records import TICK_KEY, Tick


def test_a_tick_wakes_the_first_of_those_due_by_time_and_key() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order(name, 1000 + late) for name, late in [("d", 0), ("b", 1), ("a", 1), ("c", 0), ("e", 9)]])
    partition.feed([order("d", 1000, "d2")])
    tick = records.encode(Tick(time=1000 + 10 * MINUTE + 5, wake=3))
    fold = partition.feed_records([(10, TICK_KEY, tick)])
    assert [json.loads(value)["data"]["profile"][-1] for _, value in fold.triggers] == ["c", "d", "a"]
    assert fold.counts["wakes"] == 3
    fold = partition.feed_records([(11, TICK_KEY, tick)])
    assert [json.loads(value)["data"]["profile"][-1] for _, value in fold.triggers] == ["b"]


def test_a_tick_also_wakes_those_touched_in_the_same_batch() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000)])
    partition.feed([order("2", 1000), order("1", 2000, "again"), Ticked(1000 + 10 * MINUTE)])
    assert ("trigger", "again", 1000 + 10 * MINUTE) in names(partition, "2")
    assert not [entry for entry in names(partition, "1") if entry[1] == "again"]  # its wait began anew


def test_one_tick_is_outstanding_at_a_time() -> None:
    partition = Partition(compiled(BUYERS))
    runner = partition.runner
    assert runner.next_tick(10**12) is None  # nobody is due
    partition.feed([order("1", 1000)])
    due = 1000 + 10 * MINUTE
    assert runner.next_tick(due - 1) is None
    tick = runner.next_tick(due)
    assert tick is not None
    assert records.decode(tick) == Tick(time=due, wake=1000)
    assert runner.next_tick(due) is None  # asked already
    partition.feed([order("2", 1001)])
    assert runner.next_tick(due) is None  # it has not come yet
    partition.feed_records([(5, TICK_KEY, tick)])
    assert names(partition)[-1] == ("trigger", "again", due)
    assert runner.next_tick(due) is None  # 2 is not due before the next millisecond
    assert runner.next_tick(due + 1) is not None


def test_a_tick_that_was_to_go_with_a_failed_batch_is_asked_for_again() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000)])
    due = 1000 + 10 * MINUTE
    assert partition.runner.next_tick(due) is not None
    partition.runner.discard(partition.runner.fold([]))
    assert partition.runner.next_tick(due) is not None


def test_time_goes_on_where_a_tick_could_not_wake_all() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order(str(name), 1000) for name in range(5)])
    until = 1000 + 3 * DAY
    partition.feed_records([(9, TICK_KEY, records.encode(Tick(time=until, wake=2, simulated=True, source="c/0", offset=0)))])
    tick = partition.runner.next_tick(0)
    assert tick is not None
    assert records.decode(tick) == Tick(time=until, wake=1000, simulated=True)
    partition.feed_records([(10, TICK_KEY, tick)])
    assert partition.runner.next_tick(0) is None
    assert all(("entered", "lapsed", 1000 + DAY + 1) in names(partition, str(name)) for name in range(5))


def test_a_tick_never_goes_back() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000), Ticked(1000 + 20 * MINUTE)])
    partition.feed([order("1", 1000 + 20 * MINUTE, "second")])
    partition.feed([Ticked(1000)])
    assert partition.runner.position.tick == 1000 + 20 * MINUTE


def test_a_tick_that_could_not_wake_all_is_gone_on_with_in_the_same_transaction() -> None:
    partition = Partition(compiled(BUYERS))
    runner = partition.runner
    partition.feed([order(str(name), 1000) for name in range(5)])
    due = 1000 + 10 * MINUTE
    tick = runner.next_tick(due, wakes=2)
    woken = []
    for offset in range(10, 14):
        if tick is None:
            break
        fold = runner.fold([(offset, TICK_KEY, tick)])
        tick = runner.tick_after(fold, due + offset, wakes=2)
        runner.adopt(fold)
        woken.append(fold.counts["wakes"])
        assert runner.next_tick(due) is None, "one is outstanding, or nobody is due"
        assert tick is None or records.decode(tick) == Tick(time=due + offset, wake=2)
    assert woken == [2, 2, 1]


def test_an_aborted_transaction_takes_the_tick_that_goes_on_with_it() -> None:
    partition = Partition(compiled(BUYERS))
    runner = partition.runner
    partition.feed([order(str(name), 1000) for name in range(3)])
    due = 1000 + 10 * MINUTE
    fold = runner.fold([(10, TICK_KEY, records.encode(Tick(time=due, wake=1)))])
    assert runner.tick_after(fold, due, wakes=1) is not None
    runner.discard(fold)
    fold = runner.fold([(10, TICK_KEY, records.encode(Tick(time=due, wake=1)))])
    runner.adopt(fold)
    assert runner.next_tick(due) is not None, "nothing went on with those left"


def test_simulated_time_stays_where_it_is_until_all_are_woken() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order(str(name), 1000) for name in range(3)])
    until = 1000 + 3 * DAY
    tick = records.encode(Tick(time=until, wake=2, simulated=True, source="c/0", offset=0))
    fold = partition.runner.fold([(9, TICK_KEY, tick)])
    following = partition.runner.tick_after(fold, until + 10 * DAY, wakes=2)
    assert following is not None
    assert records.decode(following) == Tick(time=until, wake=2, simulated=True)
