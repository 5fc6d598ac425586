"""One partition. Switches of definitions: what is kept, told, visited and warming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from engine.buyers import BUYERS, DAY, HOUR, MINUTE, names, order
from engine.harness import Partition, compiled, record
from engine.oracle import Happened, Ticked

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.aggregates import NEVER
from rtcdp.errors import RtcdpError
from rtcdp.folding import warming
from rtcdp.position import Came, SwitchPoint
from rtcdp.records import SWITCH_KEY, TICK_KEY, Switch, Tick


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


class Counting(dict[bytes, bytes]):
    """A state that counts how often all of it is looked at."""

    looks = 0

    def __iter__(self) -> Iterator[bytes]:
        self.looks += 1
        return super().__iter__()


@pytest.mark.parametrize("ahead", [True, False])
def test_who_has_to_pass_a_switch_is_listed_ahead_or_by_the_fold_with_the_same_result(*, ahead: bool) -> None:
    old = compiled(BUYERS)
    new = compiled(changed(segments={"many": "orders >= 2"}))
    partition = Partition(old, new)
    partition.feed([order(str(name), 1000 + name) for name in range(10)])
    runner = partition.runner
    state = runner.state = Counting(runner.state)
    assert runner.ahead([(9, b"main/user_id:1", b"{}")]) is None, "nothing is visited"
    batch = [(20, *switch(2, new.version, 2000)), (21, TICK_KEY, records.encode(Tick(time=2000, wake=4)))]
    look = runner.ahead(batch)
    assert look is not None
    if ahead:
        look()
        assert state.looks == 1
        assert runner.ahead(batch) is None, "once is enough"
        state.looks = 0
    partition.feed_records(batch)
    assert state.looks == (0 if ahead else 1)
    visit(partition, 2000, 21)
    assert state.looks == (0 if ahead else 1)
    assert {profiles.switch(value) for value in state.values()} == {2}
    assert runner.ahead([]) is None
    assert runner.ahead([(30, SWITCH_KEY, b"no switch")]) is None


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
    gap: bool,
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
