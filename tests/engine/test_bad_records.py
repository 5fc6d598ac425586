"""One partition. What cannot be folded or woken harms nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine.buyers import BUYERS, DAY, HOUR, MINUTE, event, names, order
from engine.harness import Partition, compiled
from engine.oracle import Happened, Ticked

from rtcdp import profile as profiles
from rtcdp.errors import RtcdpError


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
