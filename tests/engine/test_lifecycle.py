"""The lifecycle: one stage, how long it is kept, what time alone does; and the end of profiles."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Engine, Partition, record
from engine.reactions import T, event, partition, tick, told

from rtcdp.records import Event, Switch, encode

H = 3600
D = 24 * H
STAGES = [{"gone": "since(last_seen) > 60d"}, {"asleep": "since(last_seen) > 14d"}, {"loyal": "n >= 2"}, {"new": "true"}]


def stages(found: Partition, profile: str = "1") -> list[tuple[Any, Any, float]]:
    return [(*pair, at) for _, pair, at in told(found, "stage", profile=profile)]


@pytest.mark.parametrize("generated", [True, False])
def test_a_profile_is_in_one_stage_and_time_alone_moves_it_at_the_instant(generated: bool) -> None:
    found = partition(lifecycle={"stages": STAGES})
    if not generated:
        found.runner._engines.update({name: Engine(version, generated=False) for name, version in found.registry.items()})
    found.feed([event("A", 0), event("Order", 5), event("Order", 6), tick(100 * D, simulated=True)])
    assert stages(found) == [
        (None, "new", 0),
        ("new", "loyal", 6),
        ("loyal", "asleep", 14 * D + 6.001),
        ("asleep", "gone", 60 * D + 6.001),
    ]
    causes = [(item["cause"], item["message_id"]) for item in found.outputs["1"] if item["kind"] == "stage"]
    assert causes == [("event", "A0/0"), ("event", "Order6/6"), ("time", ""), ("time", "")]
    found.feed([event("A", 100 * D)])
    assert stages(found)[-1] == ("gone", "loyal", 100 * D)


@pytest.mark.parametrize(
    ("stays", "stream", "expected"),
    [
        # a stage is kept, and left at the instant at which that is over, for what is wanted by then
        (
            {"new": "10s"},
            [event("Order", 0), event("Order", 1)],
            [(None, "new", 0), ("new", "loyal", 10), ("loyal", "new", 20)],
        ),
        (
            {"new": "10s"},
            [event("Order", 0), event("Order", 12)],
            [(None, "new", 0), ("new", "loyal", 12), ("loyal", "new", 20)],
        ),
        (
            {"loyal": "10s"},
            [event("Order", 0), event("Order", 1)],
            [(None, "new", 0), ("new", "loyal", 1), ("loyal", "new", 20)],
        ),
        (
            {"loyal": "25s"},
            [event("Order", 0), event("Order", 1)],
            [(None, "new", 0), ("new", "loyal", 1), ("loyal", "new", 26)],
        ),
        # wanted again meanwhile: nothing happens
        (
            {"loyal": "25s"},
            [event("Order", at) for at in (0, 1, 21, 22)],
            [(None, "new", 0), ("new", "loyal", 1), ("loyal", "new", 41)],
        ),
        # changed twice meanwhile
        (
            {"loyal": "40s"},
            [event("Order", 0), event("Order", 1), event("Stop", 2)],
            [(None, "new", 0), ("new", "loyal", 1), ("loyal", "off", 41)],
        ),
    ],
)
def test_stages_are_kept(stays: dict[str, str], stream: Any, expected: Any) -> None:
    conditions = {"off": "stops >= 1", "loyal": "n >= 2", "new": "true"}
    written = [
        {name: {"if": condition} | ({"stay": stays[name]} if name in stays else {})} for name, condition in conditions.items()
    ]
    features = {"n": {"count": "Order", "within": "20s"}, "stops": {"count": "Stop"}}
    whole, single = (partition(features=features, lifecycle={"stages": written}) for _ in range(2))
    whole.feed([*stream, tick(99)])
    for item in [*stream, tick(99)]:
        single.feed([item])
    assert stages(whole) == stages(single) == expected


def test_segments_and_tags_read_the_stage_and_the_stage_reads_segments() -> None:
    segments = {"often": "n >= 2", "quiet": "stage == 'asleep'", "lively": "not quiet and stage in ['often', 'new']"}
    lifecycle = {"stages": [{"asleep": "since(last_seen) > 10s"}, {"often": "often"}, {"new": "true"}], "stay": "0s"}
    found = partition(segments=segments, lifecycle=lifecycle, tags={"shown": "stage + '!'"})
    found.feed([event("Order", 0), event("Order", 1), tick(99)])
    items = [(item["kind"], item["name"], item.get("new"), (item["at"] - T) / 1000) for item in found.outputs["1"]]
    assert sorted(items[:4]) == [
        ("entered", "keen", True, 0),
        ("entered", "lively", True, 0),
        ("stage", "stage", "new", 0),
        ("tag", "shown", "new!", 0),
    ]
    assert items[4:] == [
        ("entered", "often", True, 1),
        ("stage", "stage", "often", 1),
        ("tag", "shown", "often!", 1),
        ("stage", "stage", "asleep", 11.001),
        ("tag", "shown", "asleep!", 11.001),
        ("entered", "quiet", True, 11.001),
        ("exited", "lively", None, 11.001),
    ]


def test_other_definitions_have_other_stages() -> None:
    old, new, none = partition(lifecycle={"stages": STAGES}), partition(lifecycle={"stages": [{"here": "true"}]}), partition()
    both = Partition(*(version for one in (old, new, none) for version in one.registry.values()))
    both.feed([event("A", 0)])
    for number, one in enumerate((new, none), 2):
        both.offset += 1
        switch = Switch(number=number, version=next(iter(one.registry)), time=T + number * 1000)
        both.feed_records([(both.offset, b"~tick", encode(switch))])
        both.feed([tick(number + 0.5)])
    assert stages(both) == [(None, "new", 0), ("new", "here", 2), ("here", None, 3)]


# ---- the end -----------------------------------------------------------------------------------------------------------


def expiring(**sections: Any) -> Partition:
    return partition(expire={"anonymous": "2d", "known": "5d"}, **sections)


def test_a_profile_ends_and_nothing_of_it_is_kept() -> None:
    triggers = {"t": {"on": "A", "after": "9d"}, "bye": {"on": {"exited": "keen"}}}
    found = expiring(triggers=triggers, tags={"orders": "n"}, lifecycle={"stages": [{"new": "true"}]})
    found.feed([event("Order", 0), event("A", 1)])
    key = b"main/user_id:1"
    assert key in found.runner.state
    found.feed([tick(5 * D + 0.999)])
    assert key in found.runner.state
    fold = found.feed([tick(5 * D + 1)])
    assert fold.state == {key: None}
    assert key not in found.runner.state
    ends = [
        (item["kind"], item["name"], item.get("reason")) for item in found.outputs["1"] if item["at"] == T + (5 * D + 1) * 1000
    ]
    assert ends == [
        ("tag", "orders", None),
        ("exited", "keen", None),
        ("stage", "stage", None),
        ("not_sent", "t", "expired"),
    ]
    assert found.runner.timers.next() > T + 999 * D * 1000


def test_who_comes_back_begins_anew_in_the_same_batch_and_in_another() -> None:
    stream = [event("Order", 0), tick(6 * D), event("Order", 6 * D - 1, 6 * D + 5), event("Order", 20 * D), tick(30 * D)]
    whole, single = expiring(tags={"orders": "n"}), expiring(tags={"orders": "n"})
    whole.feed(stream)
    for item in stream:
        single.feed([item])
    assert whole.outputs == single.outputs
    assert dict(whole.runner.state) == dict(single.runner.state) == {}
    tags = [(item.get("old"), item.get("new"), (item["at"] - T) / 1000) for item in whole.outputs["1"] if item["kind"] == "tag"]
    assert tags == [
        (None, 1, 0), (1, None, 5 * D),
        (None, 1, 6 * D + 5), (1, None, 11 * D - 1),
        (None, 1, 20 * D), (1, None, 25 * D),
    ]  # fmt: skip
    seqs = [item["seq"] for item in whole.outputs["1"]]
    assert seqs == sorted(set(seqs))


def test_devices_end_earlier_and_late_events_do_not_bring_an_end_back() -> None:
    found = expiring()
    device = event("Order", 0, profile="x")
    records = [(0, b"main/anonymous_id:x", _encoded(device)), (1, b"main/user_id:x", _encoded(device, 1))]
    found.feed_records(records)
    found.offset = 1
    fold = found.feed([tick(2 * D), tick(3 * D)])
    assert fold.state.get(b"main/anonymous_id:x", b"") is None
    assert b"main/user_id:x" in found.runner.state
    # an event that is older than that already: the profile ends in the next instant
    found.feed([event("Order", -9 * D, 4 * D, profile="2")])
    assert b"main/user_id:2" in found.runner.state
    found.feed([tick(4 * D + 1)])
    assert b"main/user_id:2" not in found.runner.state


def _told_of(at: float) -> bytes:
    """An event of what the person did not do."""
    one = Event(
        received=T + round(at * 1000), occurred=T + round(at * 1000), source="outcomes/0", offset=round(at), id=str(at),
        event="Message Delivered", context={"active": False},
    )  # fmt: skip
    return encode(one)


def test_what_the_person_did_not_do_keeps_nobody_awake() -> None:
    lifecycle = {"stages": [{"asleep": "since(last_seen) > 1d"}, {"new": "true"}], "stay": "0s"}
    found = expiring(lifecycle=lifecycle, tags={"visits": "sessions"})
    found.feed([event("Order", 0)])
    found.feed_records([(1, b"main/user_id:1", _told_of(12 * 3600))])
    found.offset = 2
    found.feed([tick(9 * D)])
    assert stages(found) == [(None, "new", 0), ("new", "asleep", D + 0.001), ("asleep", None, 5 * D)]
    assert [item["new"] for item in found.outputs["1"] if item["kind"] == "tag" and "new" in item] == [1]
    assert not found.runner.state


def test_who_was_only_told_of_ends_too() -> None:
    found = expiring()
    found.feed_records([(0, b"main/user_id:1", _told_of(0))])
    found.offset = 1
    found.feed([tick(5 * D)])
    assert not found.runner.state


def _encoded(item: Any, offset: int = 0) -> bytes:
    return record(item, offset)[2]


def test_without_expire_nothing_ends() -> None:
    found = partition()
    found.feed([event("Order", 0), tick(9999 * D)])
    assert len(found.runner.state) == 1
