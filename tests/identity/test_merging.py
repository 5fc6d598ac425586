"""What two profiles that become one still owed, and what was decided in different arms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine.harness import compiled
from identity.cluster import Cluster, anonymous, user

from rtcdp.folding.deciding import in_control
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.times import timestamps

HOUR = 3_600_000
DAY = 24 * HOUR
LATER = 10 * DAY


@pytest.fixture(scope="module")
def owing() -> Compiled:
    return compiled({
        "features": {"adds": {"count": "Add"}, "last": {"last_time": "Add"}},
        "segments": {"adders": "adds >= 1"},
        "triggers": {
            "cart": {"on": "Add", "after": "1h", "unless": "Order", "payload": {"adds": "adds", "new": "since(last) <= 1h"}},
            "capped": {"on": "Add", "after": "2h", "cap": {"times": 1, "per": "1d"}},
            "weekly": {"on": {"every": "Monday 09:00", "in": "adders", "zone": "UTC"}},
        },
    })  # fmt: skip


def sent(cluster: Cluster) -> list[tuple[str, int, dict[str, Any]]]:
    """Triggers of the user: name, when decided (ms), payload."""
    found = [json.loads(trigger)["data"] for trigger in cluster.triggers]
    return [(one["trigger"], at(one["decided"]), one.get("payload", {})) for one in found if one["profile"] == user("u")]


def at(text: str) -> int:
    found = timestamps.parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(("behind", "ahead"), [(anonymous("a"), user("u")), (user("u"), anonymous("a"))])
def test_what_one_owed_is_decided_at_its_instant_over_the_union(owing: Compiled, behind: str, ahead: str) -> None:
    cluster = Cluster(owing)
    cluster.send([behind], "Add", HOUR)
    cluster.send([ahead], "Later", LATER)
    cluster.send([user("u"), anonymous("a")], "identify", HOUR + 1)
    cluster.settle()
    monday = 4 * DAY + 9 * HOUR
    assert sent(cluster) == [
        ("cart", 2 * HOUR, {"adds": 1, "new": True}),
        ("capped", 3 * HOUR, {}),
        ("weekly", monday, {}),
    ]
    person = cluster.profile(user("u"))
    assert person is not None
    assert person.now == LATER
    assert list(person.schedules.values()) == [monday + 7 * DAY]


def test_the_union_calls_off_and_caps_what_one_owed(owing: Compiled) -> None:
    cluster = Cluster(owing)
    cluster.send([anonymous("a")], "Add", HOUR)
    cluster.send([user("u")], "Add", HOUR // 2)
    cluster.send([user("u")], "Order", HOUR * 9 // 8)
    cluster.send([user("u")], "Later", 4 * HOUR)
    cluster.send([user("u"), anonymous("a")], "identify", HOUR + 1)
    cluster.settle()
    assert [(name, when) for name, when, _ in sent(cluster)] == [("capped", 5 * HOUR // 2)]
    stopped = [one for one in map(json.loads, cluster.changes) if one["kind"] == "not_sent"]
    assert [(one["name"], one["reason"], at(one["at"])) for one in stopped] == [
        ("cart", "cancelled", HOUR * 9 // 8),
        ("cart", "cancelled", 4 * HOUR),
        ("capped", "cap", 3 * HOUR),
    ]


def test_what_the_one_ahead_decided_is_not_decided_again(owing: Compiled) -> None:
    cluster = Cluster(owing)
    for key in (anonymous("a"), user("u")):
        cluster.send([key], "Add", HOUR)
    cluster.send([user("u")], "Later", LATER)
    cluster.send([user("u"), anonymous("a")], "identify", LATER - DAY)
    cluster.settle()
    names = [name for name, _, _ in sent(cluster)]
    assert sorted(names) == ["capped", "cart", "weekly"]


def test_a_changed_arm_is_recorded_and_left_out_of_lift() -> None:
    held = compiled({"triggers": {"hello": {"on": "Hello", "holdout": "50%", "cap": {"times": 9, "per": "1d"}}}})
    unlike, alike = [
        next(name for name in map(str, range(99)) if in_control(anonymous(name), "hello", 0.5) is control)
        for control in (not in_control(user("u"), "hello", 0.5), in_control(user("u"), "hello", 0.5))
    ]
    own = "control" if in_control(user("u"), "hello", 0.5) else "treated"
    for name, arm in ((unlike, "changed"), (alike, own)):  # the second is the control
        cluster = Cluster(held)
        cluster.send([anonymous(name)], "Hello", HOUR)
        cluster.settle()
        cluster.send([user("u"), anonymous(name)], "identify", 2 * HOUR)
        cluster.settle()
        cluster.send([user("u")], "Hello", 3 * HOUR)
        cluster.settle()
        changes = [json.loads(change) for change in cluster.changes]
        said = [(one["by"], one["name"], one["arm"]) for one in changes if one.get("reason") == "arm"]
        assert said == ([("hello", anonymous(name), own)] if arm == "changed" else [])
        last = [one.get("arm") for one in changes if one["kind"] == "not_sent" and one["profile"] == user("u")]
        last += [data["arm"] for data in (json.loads(one)["data"] for one in cluster.triggers) if data["profile"] == user("u")]
        assert last == [arm]


@pytest.mark.parametrize("more", [{}, {"steps": [{"send": "tour"}]}])
def test_what_one_was_sent_once_the_other_still_owed_is_not_sent_again(more: dict[str, Any]) -> None:
    cluster = Cluster(compiled({"triggers": {"once": {"on": "Add", "after": "2h", "again": "once"} | more}}))
    cluster.send([user("u")], "Add", 0)
    cluster.send([anonymous("a")], "Add", HOUR)
    cluster.send([user("u")], "Later", 5 * HOUR // 2)
    cluster.send([user("u"), anonymous("a")], "identify", 5 * HOUR // 2 + 1)
    cluster.send([user("u")], "Later", 4 * HOUR)
    cluster.settle()
    assert [(name, when) for name, when, _ in sent(cluster)] == [("once", 2 * HOUR)]
    stopped = [one for one in map(json.loads, cluster.changes) if one["kind"] == "not_sent"]
    assert [(one["reason"], at(one["at"])) for one in stopped] == [("again", 3 * HOUR)]
