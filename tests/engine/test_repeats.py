"""One partition. Records that come again are dropped, and messages that were seen."""

from __future__ import annotations

from engine.buyers import BUYERS, DAY, HOUR, MINUTE, event, names, order
from engine.harness import Partition, compiled

from rtcdp import records
from rtcdp.records import TICK_KEY, Tick


def test_repeats_of_an_origin_are_dropped_per_source() -> None:
    partition = Partition(compiled(BUYERS))
    log = [
        event("1", 10, "a/0", 5, "x"),
        event("1", 11, "b/0", 2, "y"),
        event("1", 12, "a/0", 5, "x again"),  # a new owner of the source repeats the old one's
        event("1", 13, "a/0", 4, "older"),
        event("1", 14, "a/0", 6, "z"),
        event("1", 15, "b/0", 2, "y again"),
        event("1", 16, "a/1", 0, "of another partition"),
    ]
    fold = partition.feed_records([(place, *entry) for place, entry in enumerate(log)])
    assert fold.counts["repeats"] == 3
    assert partition.runner.position.origins == {"a/0": 6, "b/0": 2, "a/1": 0}
    assert partition.runner.position.offset == 6
    # what came before is remembered over batches
    again = partition.feed_records([(7 + place, *entry) for place, entry in enumerate(log)])
    assert again.counts["repeats"] == 7
    assert not again.state
    assert [item["new"] for item in partition.outputs["1"] if item["kind"] == "tag"] == [2, 3, 4]


def test_a_repeated_explicit_tick_is_dropped() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000)])
    tick = records.encode(Tick(time=1000 + 2 * DAY, wake=1000, simulated=True, source="commands/0", offset=3))
    assert partition.feed_records([(1, TICK_KEY, tick)]).changes
    fold = partition.feed_records([(2, TICK_KEY, tick)])
    assert fold.counts["repeats"] == 1
    assert not fold.counts["ticks"]


def test_a_message_id_seen_before_moves_only_the_time() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000, "m")])
    before = names(partition)
    partition.feed([order("1", 1000 + HOUR, "m")])
    assert names(partition)[len(before) :] == [("trigger", "again", 1000 + 10 * MINUTE), ("exited", "active", 1000 + HOUR)]
    partition.feed([order("1", 1000 + DAY, "m")])  # out of mind after 24 h
    assert names(partition)[-1] == ("entered", "active", 1000 + DAY)


def test_only_the_last_64_message_ids_are_remembered() -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000 + place, f"m{place}") for place in range(65)])
    partition.feed([order("1", 2000, "m1")])
    partition.feed([order("1", 2000, "m0")])
    assert [item["new"] for item in partition.outputs["1"] if item["kind"] == "tag"][-1] == 66
