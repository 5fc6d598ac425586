"""One partition: repeats, bad records, faults inside the engine, ticks, switches of definitions, and the overlay."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from engine.harness import TENANT, Partition, compiled, outputs, record
from engine.oracle import Happened, Ticked

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError
from rtcdp.folding import warming
from rtcdp.folding.engine import Engine
from rtcdp.folding.runner import PartitionRunner
from rtcdp.position import Came, Position, SwitchPoint
from rtcdp.records import SWITCH_KEY, TICK_KEY, Event, Switch, Tick

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BUYERS: dict[str, Any] = {
    "features": {"orders": {"count": "Order"}, "recent": {"count": "Order", "within": "1h"}, "last": {"last_time": "Order"}},
    "tags": {"bought": {"value": "orders", "when": "orders >= 2"}},
    "segments": {"buyers": "orders >= 1", "active": "recent >= 1", "lapsed": "since(last) > 1d", "new": "orders == 0"},
    "triggers": {"thanks": {"on": {"entered": "buyers"}}, "again": {"on": "Order", "after": "10m", "payload": {"n": "orders"}}},
}


def order(profile: str, received: int, name: str = "", **more: Any) -> Happened:
    return Happened(profile, received, more.pop("occurred", received), name or f"{profile}/{received}", "Order", {}, **more)


def event(profile: str, received: int, source: str, offset: int, name: str) -> tuple[bytes, bytes]:
    """A record of one source."""
    fields = Event(received=received, occurred=received, source=source, offset=offset, id=name, event="Order")
    return (TENANT + profile).encode(), records.encode(fields)


def names(partition: Partition, profile: str = "1") -> list[tuple[str, str, int]]:
    return [(item["kind"], item["name"], item["at"]) for item in partition.outputs.get(profile, [])]


# ---- repeats ---------------------------------------------------------------------------------------------------------


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


# ---- bad records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"main/user_id:1", b"{", "undecodable_record"),
        (b"main/user_id:1", b"", "undecodable_record"),
        (b"main/user_id:1", None, "undecodable_record"),
        (b"main/user_id:1", b"\xff\xfe", "undecodable_record"),
        (b"main/user_id:1", b'{"kind":"unheard"}', "undecodable_record"),
        (b"main/user_id:1", b'{"kind":"event"}', "undecodable_record"),
        (None, event("1", 10, "a/0", 0, "x")[1], "missing_key"),
        (None, None, "undecodable_record"),
    ],
)
def test_what_cannot_be_folded_is_a_dead_letter_and_nothing_else_changes(
    key: bytes | None, value: bytes | None, reason: str
) -> None:
    partition = Partition(compiled(BUYERS))
    log = [(0, *event("1", 10, "b/0", 0, "x")), (1, key, value), (2, *event("2", 11, "b/0", 1, "y"))]
    fold = partition.feed_records(log)
    assert fold.counts[f"dead:{reason}"] == len(fold.letters) == 1
    assert set(fold.state) == {b"main/user_id:1", b"main/user_id:2"}
    assert partition.runner.position.offset == 2
    letter = json.loads(fold.letters[0][1])
    assert letter["reason"] == reason
    assert letter["origin"] == {"topic": "profile-events", "topic_id": "", "partition": 0, "offset": 1}
    assert fold.letters[0][0] == b"profile-events/0/1"


def faulty() -> Partition:
    """A partition whose `orders` raise for a message id with "bad" in it, after the other features were updated."""
    partition = Partition(compiled(BUYERS), generated=False)
    engine = partition.runner.engine(partition.runner.current.version)
    leaf = engine.compiled.features["last"]
    plan = engine.compiled.plans["Order"]

    def update(profile: Any, event: Any) -> Any:
        touched = fine(profile, event)
        if "bad" in event.id:
            raise ZeroDivisionError(event.id)
        return touched

    fine = leaf.update
    plan.updates[plan.updates.index(fine)] = update
    return partition


def test_a_fold_that_raises_is_one_dead_letter_and_leaves_everybody_as_they_were() -> None:
    partition, sound = faulty(), Partition(compiled(BUYERS))
    log = [
        order("1", 1000),
        order("2", 1001),
        order("1", 1002, "bad"),
        order("3", 1003, "bad"),
        order("1", 1004),
        order("2", 1005),
    ]
    fold = partition.feed(log)
    sound.feed([log[0], log[1]])
    sound.offset = 3
    sound.feed(log[4:])
    assert fold.counts["dead:fold_failed"] == 2
    assert [json.loads(letter)["origin"]["offset"] for _, letter in fold.letters] == [2, 3]
    assert partition.outputs == sound.outputs
    assert dict(partition.runner.state) == dict(sound.runner.state)
    assert b"main/user_id:3" not in partition.runner.state  # never seen, so still to be entered where it belongs
    # and the profile whose first record failed begins as any other
    for one in (partition, sound):
        one.feed([Happened("3", 2000, 2000, "fine", "View", {})])
    assert names(partition, "3") == names(sound, "3") == [("entered", "new", 2000)]


def test_a_record_that_raises_still_lets_time_pass_before_it() -> None:
    partition, sound = faulty(), Partition(compiled(BUYERS))
    partition.feed([order("1", 1000), order("1", 1000 + 2 * HOUR, "bad")])
    sound.feed([order("1", 1000), Ticked(1000 + 2 * HOUR)])
    assert [item["name"] for item in partition.outputs["1"]] == [item["name"] for item in sound.outputs["1"]]


def test_a_profile_that_cannot_be_woken_is_put_off_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000), order("2", 1000)])
    engine = partition.runner.engine(partition.runner.current.version)
    broken, settle = True, engine._settle

    def raising(profile: Any, *rest: Any) -> None:
        if broken and profile.key.endswith(":1"):
            raise ZeroDivisionError(profile.key)
        settle(profile, *rest)

    monkeypatch.setattr(engine, "_settle", raising)
    now = 1000 + 2 * DAY
    before = partition.runner.state[b"main/user_id:1"]
    waits = []
    for attempt in range(13):
        fold = partition.feed([Ticked(now)])
        assert fold.counts["wakes_failed"] == 1
        assert not fold.letters
        wake = profiles.wake_at(partition.runner.state[b"main/user_id:1"])
        waits.append(wake - now)
        assert profiles.decode("x", partition.runner.state[b"main/user_id:1"]).failures == attempt + 1
        assert profiles.decode("x", before).slots == profiles.decode("x", partition.runner.state[b"main/user_id:1"]).slots
        now = wake
    assert waits == [min(DAY, MINUTE << attempt) for attempt in range(13)]
    assert ("exited", "active", 1000 + HOUR) in names(partition, "2")
    assert ("entered", "lapsed", 1000 + DAY + 1) in names(partition, "2")
    broken = False
    partition.feed([Ticked(now, simulated=True)])
    # what it missed comes with its own instants
    moved = [[entry for entry in names(partition, name) if entry[0] in ("entered", "exited")] for name in "12"]
    assert moved[0] == moved[1]
    assert len(moved[0]) == 4
    assert profiles.decode("x", partition.runner.state[b"main/user_id:1"]).failures == 0


def test_events_are_folded_while_a_profile_is_put_off_and_nothing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition(compiled(BUYERS))
    partition.feed([order("1", 1000)])
    engine = partition.runner.engine(partition.runner.current.version)
    settle = engine._settle

    def raising(*rest: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "_settle", raising)
    partition.feed([Ticked(1000 + HOUR, simulated=True)])
    fold = partition.feed([order("1", 1000 + HOUR + 1, "second", occurred=1001, simulated=True)])
    assert not fold.letters
    assert ("tag", "bought", 1000 + HOUR + 1) in names(partition)
    monkeypatch.setattr(engine, "_settle", settle)
    partition.feed([Ticked(1000 + 3 * HOUR, simulated=True)])
    members = {item["name"]: item["kind"] for item in partition.outputs["1"] if item["kind"] in ("entered", "exited")}
    assert members == {"buyers": "entered", "active": "exited"}
    assert any(item["kind"] == "trigger" and item["name"] == "again" for item in partition.outputs["1"])


def test_state_that_cannot_be_read_stops_the_worker() -> None:
    partition = Partition(compiled(BUYERS))
    partition.runner.state[b"main/user_id:1"] = b"\x63 of a newer release"
    with pytest.raises(RtcdpError, match="user_id:1"):
        partition.feed([order("2", 1000), order("1", 1000)])
    # and what the batch had changed is forgotten
    partition.runner.state.clear()
    partition.offset = -1
    partition.feed([order("2", 1000)])
    assert ("entered", "buyers", 1000) in names(partition, "2")


# ---- ticks -----------------------------------------------------------------------------------------------------------


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


# ---- switches --------------------------------------------------------------------------------------------------------


def switch(number: int, version: str, time: int) -> tuple[bytes, bytes]:
    return SWITCH_KEY, records.encode(Switch(number=number, version=version, time=time))


def changed(**sections: Any) -> dict[str, Any]:
    return {name: dict(BUYERS[name]) | sections.get(name, {}) for name in BUYERS}


def visit(partition: Partition, time: int, offset: int) -> None:
    """Ticks until every profile has passed the switch."""
    while (tick := partition.runner.next_tick(time)) is not None:
        offset += 1
        partition.feed_records([(offset, TICK_KEY, tick)])


def test_a_switch_keeps_what_did_not_change_and_tells_only_real_differences() -> None:
    old = compiled(BUYERS)
    written = changed(features={"spend": {"sum": "properties.price", "of": "Order"}}, segments={"many": "orders >= 2"})
    del written["segments"]["active"], written["tags"]["bought"]
    written["segments"]["buyers"] = "orders >= 2"
    new = compiled(written)
    partition = Partition(old, new)
    partition.feed([order("1", 1000), order("2", 1000), order("2", 1001)])
    before = {name: len(items) for name, items in partition.outputs.items()}
    partition.feed_records([(3, *switch(2, new.version, 2000))])
    visit(partition, 2000, 3)
    found = {
        name: sorted((item["kind"], item["name"]) for item in items[before[name] :])
        for name, items in partition.outputs.items()
    }
    assert found == {
        "1": [("exited", "active"), ("exited", "buyers")],
        "2": [("entered", "many"), ("exited", "active"), ("tag", "bought")],
    }
    for items in partition.outputs.values():
        for item in items:
            assert (item["at"] == 2000) == (item["cause"] == "definitions")
    partition.offset = 10
    partition.feed([order("1", 3000)])  # one order before the switch, one after
    assert ("entered", "buyers", 3000) in names(partition)
    assert partition.runner.position.switches == [SwitchPoint(2, new.version, 2000)]
    assert partition.runner.position.cursor is None


def test_a_switch_visits_all_profiles_in_slices_and_each_is_advanced_under_the_old_version_first() -> None:
    old = compiled(BUYERS)
    new = compiled(changed(segments={"loyal": "orders >= 1", "lapsed": "since(last) > 2d"}))
    partition = Partition(old, new)
    everybody = [str(name) for name in range(10, 17)]
    partition.feed([order(name, 1000 + place) for place, name in enumerate(everybody)])
    at = 1000 + DAY + HOUR
    partition.feed_records([(20, *switch(2, new.version, at))])
    seen: list[list[str]] = []
    for offset in range(21, 25):
        tick = records.encode(Tick(time=at, wake=3))
        fold = partition.feed_records([(offset, TICK_KEY, tick)])
        seen.append(sorted({json.loads(value)["profile"][-2:] for _, value in fold.changes if b"loyal" in value}))
        if partition.runner.position.cursor is None:
            break
    assert [name for part in seen for name in part] == everybody
    assert max(map(len, seen)) <= 6  # three that are due and three in order
    for place, name in enumerate(everybody):
        items = names(partition, name)
        assert ("entered", "lapsed", 1000 + place + DAY + 1) in items  # by the old version, at its instant
        assert ("exited", "lapsed", at) in items  # the new one waits for two days
        assert ("entered", "loyal", at) in items


def test_an_event_takes_its_profile_past_the_switch() -> None:
    old, new = compiled(BUYERS), compiled(changed(segments={"loyal": "orders >= 1"}))
    partition = Partition(old, new)
    partition.feed([order("1", 1000), order("2", 1000)])
    partition.feed_records([(2, *switch(2, new.version, 2000))])
    partition.offset = 2
    partition.feed([Happened("1", 3000, 3000, "v", "View", {})])
    assert ("entered", "loyal", 2000) in names(partition)
    assert ("entered", "loyal", 2000) not in names(partition, "2")
    partition.feed([order("3", 3000)])
    assert ("entered", "loyal", 3000) in names(partition, "3")


def test_switches_do_not_depend_on_the_borders_of_batches() -> None:
    old, new = compiled(BUYERS), compiled(changed(segments={"loyal": "orders >= 1"}, tags={"price": {"value": "orders + 1"}}))
    log = [record(item, place) for place, item in enumerate([order("1", 1000), order("2", 1000)])]
    log.append((2, *switch(2, new.version, 2000)))
    log += [record(item, 3 + place) for place, item in enumerate([order("1", 1500), Ticked(1_000_000), order("2", 2_000_000)])]
    log.append((6, *switch(3, old.version, 3_000_000)))
    log += [record(item, 7 + place) for place, item in enumerate([Ticked(3_000_000), order("1", 4_000_000)])]
    found = []
    for size in (1, 2, 3, len(log)):
        partition = Partition(old, new)
        for start in range(0, len(log), size):
            partition.feed_records(log[start : start + size])
        found.append((partition.outputs, dict(partition.runner.state), partition.runner.position))
    assert all(other == found[0] for other in found)
    assert found[0][2].switches == [SwitchPoint(3, old.version, 3_000_000)]


def test_a_switch_to_the_version_in_force_or_an_old_number_changes_nothing() -> None:
    old, new = compiled(BUYERS), compiled(changed(segments={"loyal": "orders >= 1"}))
    partition = Partition(old, new)
    partition.feed([order("1", 1000)])
    partition.feed_records([(1, *switch(2, old.version, 2000)), (2, *switch(1, new.version, 2000))])
    assert partition.runner.position.switches == [SwitchPoint(1, old.version, 0)]
    assert partition.runner.next_tick(0) is None


def test_an_unknown_version_stops_the_worker_and_nothing_counts() -> None:
    partition = Partition(compiled(BUYERS))
    with pytest.raises(RtcdpError, match="unheard"):
        partition.feed_records([record(order("1", 1000), 0), (1, *switch(2, "unheard", 2000))])
    assert not partition.runner.state
    partition.feed([order("1", 1000)])
    assert ("entered", "buyers", 1000) in names(partition)


def test_a_profile_that_cannot_pass_a_switch_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = compiled(BUYERS), compiled(changed(segments={"loyal": "orders >= 1"}))
    partition = Partition(old, new)
    partition.feed([order("1", 1000), order("2", 1000)])
    engine = partition.runner.engine(new.version)
    migrate, broken = engine.migrate, True

    def raising(profile: Any, *rest: Any, **more: Any) -> None:
        if broken and profile.key.endswith(":1"):
            raise ZeroDivisionError(profile.key)
        migrate(profile, *rest, **more)

    monkeypatch.setattr(engine, "migrate", raising)
    partition.feed_records([(2, *switch(2, new.version, 2000))])
    visit(partition, 2000, 2)
    assert ("entered", "loyal", 2000) in names(partition, "2")
    assert ("entered", "loyal", 2000) not in names(partition)
    broken = False
    partition.offset = 10
    partition.feed([Ticked(2000 + MINUTE)])
    assert [entry[:2] for entry in names(partition)][-1] == ("entered", "loyal")


WINDOW = {"features": {"views": {"count": "View", "within": "1h"}}, "segments": {"keen": "views >= 2"}}


@pytest.mark.parametrize(
    ("first", "second", "gap"),
    [
        (WINDOW, WINDOW | {"segments": {"keen": "views >= 1"}}, False),
        (WINDOW, WINDOW | {"tags": {"shown": {"value": "views"}}}, False),
        (WINDOW | {"tags": {"shown": {"value": "views"}}}, WINDOW, False),
        (WINDOW, WINDOW | {"segments": {"keen": "views >= 3"}}, True),  # it remembers no more than two
    ],
)
def test_a_window_that_is_read_differently_after_a_switch_goes_on(
    first: dict[str, Any],
    second: dict[str, Any],
    gap: bool,  # noqa: FBT001
) -> None:
    old, new = compiled(first), compiled(second)
    partition = Partition(old, new)
    views: list[Happened | Ticked] = [Happened("1", 1000 + place, 1000 + place, f"v{place}", "View", {}) for place in range(6)]
    partition.feed(views)
    partition.feed_records([(6, *switch(2, new.version, 2000))])
    partition.offset = 6
    fold = partition.feed([Happened("1", 2000 + place, 2000 + place, f"w{place}", "View", {}) for place in range(6)])
    assert not fold.letters
    partition.feed([Ticked(2 * HOUR * 10)])
    assert not fold.letters
    members = [item["kind"] for item in partition.outputs["1"] if item["name"] == "keen"]
    assert members == ["entered", "exited"] * (2 if gap else 1)
    profile = profiles.decode("x", partition.runner.state[b"main/user_id:1"])
    assert profile.wake_at == NEVER


def test_what_waits_survives_a_switch_with_another_payload() -> None:
    def definitions(**trigger: Any) -> Any:
        return compiled(
            {
                "features": {"orders": {"count": "Order"}},
                "triggers": {"cart": {"on": "Added", "after": "1h"} | trigger},
            }
        )

    old = definitions(payload={"a": "properties.a", "b": "properties.b"}, unless={"event": "Order", "same": "properties.a"})
    new = definitions(payload={"b": "properties.b", "c": "properties.c", "n": "orders"}, unless={"event": "Order"})
    added = Happened("1", 1000, 1000, "m", "Added", {"a": 1, "b": 2, "c": 3})
    partition = Partition(old, new)
    partition.feed([Happened("1", 900, 900, "o", "Order", {"a": 1}), added])
    partition.feed_records([(2, *switch(2, new.version, 2000))])
    partition.offset = 2
    partition.feed([Ticked(1000 + HOUR)])
    assert partition.outputs["1"][-1]["payload"] == {"b": 2, "c": None, "n": 1}
    # and what cancels is what the new version says
    partition = Partition(old, new)
    partition.feed([Happened("1", 900, 900, "o", "Order", {"a": 1}), added])
    partition.feed_records([(2, *switch(2, new.version, 2000))])
    partition.offset = 2
    fold = partition.feed([Happened("1", 3000, 3000, "p", "Order", {"a": 7}), Ticked(1000 + HOUR)])
    assert not fold.letters
    assert [item.get("reason") for item in partition.outputs["1"]] == ["cancelled"]
    # back to the first, which tells carts apart
    partition = Partition(new, old)
    partition.feed([Happened("1", 900, 900, "o", "Order", {"a": 1}), added])
    partition.feed_records([(2, *switch(2, old.version, 2000))])
    partition.offset = 2
    fold = partition.feed([Happened("1", 3000, 3000, "p", "Order", {"a": 7}), added, Ticked(1000 + HOUR)])
    assert not fold.letters
    assert partition.outputs["1"][-1]["payload"] == {"a": None, "b": 2}


def test_a_trigger_that_is_no_longer_defined_is_withdrawn() -> None:
    old = compiled(BUYERS)
    without = changed()
    del without["triggers"]["again"]
    new = compiled(without)
    partition = Partition(old, new)
    partition.feed([order("1", 1000)])
    partition.feed_records([(1, *switch(2, new.version, 2000))])
    visit(partition, 2000, 1)
    assert partition.outputs["1"][-1] | {"id": "", "seq": 0} == {
        "kind": "not_sent",
        "name": "again",
        "reason": "withdrawn",
        "at": 2000,
        "cause": "definitions",
        "message_id": "",
        "id": "",
        "seq": 0,
    }


# ---- overlay and position ---------------------------------------------------------------------------------------------


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


def test_what_came_with_a_switch_is_warming_for_those_who_were_there_before() -> None:
    old = compiled(BUYERS)
    new = compiled(changed(features={"adds": {"count": "Add"}, "adds_1h": {"count": "Add", "within": "1h"}}))
    third = compiled(changed(features={"adds": {"count": "Add"}, "views": {"count": "View"}}))
    partition = Partition(old, new, third)
    partition.feed([order("1", 1000)])
    partition.feed_records([(2, *switch(2, new.version, 2000))])
    visit(partition, 2000, 2)
    partition.offset = 10
    partition.feed([order("2", 3000)])
    came = partition.runner.position.came
    assert came == {new.features[name].key: Came(2, 2000) for name in ("adds", "adds_1h")}
    profile = {name: profiles.decode(name, partition.runner.state[f"main/user_id:{name}".encode()]) for name in ("1", "2")}
    assert warming.of_profile(came, profile["1"]) == came
    assert warming.of_profile(came, profile["2"]) == {}, "control: it began under the new version"
    partition.feed_records([(20, *switch(3, third.version, 2000 + 60 * MINUTE))])
    adds, views = third.features["adds"].key, third.features["views"].key
    assert partition.runner.position.came == {adds: Came(2, 2000), views: Came(3, 2000 + 60 * MINUTE)}


def test_a_count_that_is_asked_further_than_it_was_kept_is_warming() -> None:
    def asked(count: int) -> Any:
        return compiled({"features": {"n": {"count": "A", "within": "1d"}}, "segments": {"s": f"n >= {count}"}})

    few, many = asked(2), asked(5)
    point = SwitchPoint(2, many.version, 2000)
    assert warming.after({}, few, many, point) == {many.features["n"].key: Came(2, 2000, kept=2)}
    assert warming.after({}, many, few, point) == {}, "control: fewer are remembered already"
    full = SwitchPoint(3, few.version, 2000 + 24 * 60 * MINUTE)
    assert warming.after({many.features["n"].key: Came(2, 2000, kept=2)}, many, few, full) == {}, "its window is full"
