"""A version evaluated beside the live one: it changes nothing, its differences are recorded, and it takes over warm."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from engine.harness import Partition, compiled, record
from engine.oracle import Happened, Ticked

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.folding import warming
from rtcdp.folding.engine import Engine
from rtcdp.position import Came, SwitchPoint
from rtcdp.records import SWITCH_KEY, TICK_KEY, Switch
from rtcdp.rules.compiling.compiled import Compiled

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LIVE: dict[str, Any] = {
    "features": {"orders": {"count": "Order"}, "recent": {"count": "Order", "within": "1h"}, "last": {"last_time": "Order"}},
    "tags": {"number": "orders"},
    "segments": {"buyers": "orders >= 1", "busy": "recent >= 2", "lapsed": "since(last) > 10d"},
    "triggers": {"thanks": {"on": "Order", "cap": {"times": 1, "per": "1d"}}},
}
TRIAL: dict[str, Any] = {
    "features": {**LIVE["features"], "views": {"count": "View"}},
    "tags": LIVE["tags"],
    "segments": {"buyers": "orders >= 2", "busy": "recent >= 2", "lapsed": "since(last) > 5d", "viewers": "views >= 2"},
    "triggers": {"thanks": {"on": "Order"}},
}
TIME = 1_700_000_000_000


@pytest.fixture(scope="module")
def versions() -> tuple[Compiled, Compiled]:
    return compiled(LIVE), compiled(TRIAL)


def happens(place: int, name: str = "Order", profile: str = "1") -> Happened:
    at = TIME + place * MINUTE
    return Happened(profile, at, at, f"m{place}", name, {})


def switch(number: int, version: str, time: int, shadow: str = "") -> tuple[bytes, bytes]:
    return SWITCH_KEY, records.encode(Switch(number=number, version=version, time=time, shadow=shadow))


def visit(partition: Partition, time: int) -> None:
    """Ticks until nothing is due and every profile has been visited."""
    while (tick := partition.runner.next_tick(time)) is not None:
        partition.offset += 1
        partition.feed_records([(partition.offset, TICK_KEY, tick)])


def switched(partition: Partition, *arguments: Any) -> None:
    partition.offset += 1
    partition.feed_records([(partition.offset, *switch(*arguments))])


def beside(partition: Partition) -> list[tuple[str, str, str]]:
    """Differences in order: which version alone, what, of what."""
    found = sorted((json.loads(raw) for raw in partition.changes), key=lambda change: change["seq"])
    return [(change["by"], change["reason"], change["name"]) for change in found if change["kind"] == "shadow"]


def lived(partition: Partition) -> list[dict[str, Any]]:
    """What the live version put out, without what counts outputs."""
    found = [json.loads(raw) for raw in (*partition.changes, *partition.triggers)]
    kept = [
        {key: value for key, value in one.items() if key not in ("seq", "id")} for one in found if one.get("kind") != "shadow"
    ]
    return sorted(kept, key=json.dumps)


def test_what_it_does_differently_is_recorded(versions: tuple[Compiled, Compiled]) -> None:
    live, trial = versions
    partition = Partition(live, trial)
    partition.feed([happens(0), happens(1, "View")])
    switched(partition, 2, live.version, TIME + 2 * MINUTE, trial.version)
    visit(partition, TIME + 2 * MINUTE)
    assert beside(partition) == [("shadow", "exited", "buyers")], "at once: one order is not enough for the trial"
    partition.feed([happens(3)])
    assert beside(partition)[1:] == [
        ("live", "not_sent", "thanks"),
        ("shadow", "entered", "buyers"),
        ("shadow", "sent", "thanks"),
    ]
    partition.feed([happens(4, "View"), happens(5, "View")])
    assert beside(partition)[4:] == [("shadow", "entered", "viewers")], "it has kept views since it began"
    assert {fold for fold in ("2",) if fold in partition.outputs} == set()
    visit(partition, TIME + 6 * DAY)
    exits = [
        change for change in map(json.loads, partition.changes) if change["kind"] == "shadow" and change["name"] == "lapsed"
    ]
    assert [change["at"] for change in exits] == ["2023-11-19T22:16:20.001Z"], "at its own instant, though nothing arrives"
    assert {change["version"] for change in exits} == {trial.version}
    assert not [
        change for change in map(json.loads, partition.changes) if change["kind"] == "entered" and change["name"] == "viewers"
    ]


def test_the_live_version_knows_nothing_of_it(versions: tuple[Compiled, Compiled]) -> None:
    live, trial = versions
    stream = [happens(place, "Order" if place % 3 else "View", str(place % 4)) for place in range(2, 60)]
    with_it, without, batches = Partition(live, trial), Partition(live, trial), Partition(live, trial)
    for partition, shadow in ((with_it, trial.version), (without, ""), (batches, trial.version)):
        partition.feed([happens(0), happens(1)])
        switched(partition, 2, live.version, TIME + 2 * MINUTE, shadow)
    for item in stream:
        with_it.feed([item])
    without.feed(stream)
    batches.feed(stream)
    for partition in (with_it, without, batches):
        visit(partition, TIME + 3 * HOUR)
        partition.feed([Ticked(TIME + 20 * DAY, simulated=False)])
        visit(partition, TIME + 20 * DAY)
    assert lived(with_it) == lived(without)
    assert len(beside(with_it)) > 20, "control: it did something"
    assert Counter(beside(with_it)) == Counter(beside(batches))
    assert with_it.runner.state == batches.runner.state, "whatever the borders of batches"


def test_it_takes_over_warm_and_tells_only_real_differences(versions: tuple[Compiled, Compiled]) -> None:
    live, trial = versions
    partition = Partition(live, trial)
    partition.feed([happens(0), happens(0, profile="2"), happens(1, profile="2")])
    switched(partition, 2, live.version, TIME + 2 * MINUTE, trial.version)
    partition.feed([happens(3, "View"), happens(4, "View")])
    kept = len(partition.changes)
    switched(partition, 3, trial.version, TIME + 5 * MINUTE)
    visit(partition, TIME + 5 * MINUTE)
    changes = [json.loads(raw) for raw in partition.changes[kept:]]
    assert sorted(
        (change["kind"], change["name"], change["profile"][-1]) for change in changes if change["kind"] != "shadow"
    ) == [
        ("entered", "viewers", "1"),
        ("exited", "buyers", "1"),
    ]
    views = trial.features["views"].key
    profile = profiles.decode("main/user_id:1", partition.runner.state[b"main/user_id:1"])
    assert profile.slots[views] == 2
    assert profile.shadow is None
    assert partition.runner.position.came == {views: Came(2, TIME + 2 * MINUTE)}, "warming since it began beside"
    assert warming.of_profile(partition.runner.position.came, profile) == {views: Came(2, TIME + 2 * MINUTE)}
    assert partition.runner.position.switches == [SwitchPoint(3, trial.version, TIME + 5 * MINUTE)]


def test_it_ends_without_a_trace(versions: tuple[Compiled, Compiled]) -> None:
    live, trial = versions
    partition = Partition(live, trial)
    partition.feed([happens(0)])
    switched(partition, 2, live.version, TIME + MINUTE, trial.version)
    partition.feed([happens(2)])
    size = len(partition.runner.state[b"main/user_id:1"])
    kept = len(beside(partition))
    switched(partition, 3, live.version, TIME + 3 * MINUTE)
    visit(partition, TIME + 3 * MINUTE)
    partition.feed([happens(4)])
    assert beside(partition)[kept:] == []
    assert len(partition.runner.state[b"main/user_id:1"]) < size


def test_what_fails_beside_harms_nobody(versions: tuple[Compiled, Compiled], monkeypatch: pytest.MonkeyPatch) -> None:
    live, trial = versions
    partition = Partition(live, trial)
    partition.feed([happens(0)])
    switched(partition, 2, live.version, TIME + MINUTE, trial.version)
    visit(partition, TIME + MINUTE)
    broken = Engine(trial)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    broken.applies["Order"] = fail
    partition.runner._engines[trial.version] = broken
    fold = partition.feed([happens(2)])
    assert fold.counts["shadow_failed"] == 1
    assert not partition.letters
    assert [change["name"] for change in map(json.loads, partition.changes) if change["kind"] == "tag"] == ["number", "number"]


def test_a_switch_record_of_before_has_no_shadow(versions: tuple[Compiled, Compiled]) -> None:
    live, trial = versions
    partition = Partition(live, trial)
    partition.feed_records([record(happens(0), 0)])
    old = b'{"kind":"switch","number":2,"version":"%s","time":%d}' % (trial.version.encode(), TIME)
    partition.feed_records([(1, SWITCH_KEY, old)])
    assert partition.runner.position.switches[-1] == SwitchPoint(2, trial.version, TIME, "")
