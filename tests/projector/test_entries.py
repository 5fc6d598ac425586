"""From records of a changelog to views: names by the version a profile was folded under."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.profile import Profile, slot_key
from rtcdp.projector import entries
from rtcdp.projector.entries import ViewEntries, change_flow, trigger_flow
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load


def profile(user: str, switch: int) -> tuple[bytes, bytes]:
    made = Profile(f"main/user_id:{user}", switch)
    made.fresh = False
    made.now, made.segments = 1_000, {slot_key("segment:a"): 500, slot_key("segment:b"): 400}
    return made.key.encode(), profiles.encode(made)


@pytest.fixture
def versions(tmp_path: Path) -> dict[str, Compiled]:
    found = {}
    for name, text in {"v0": "segments: {a: traits.x == 1}", "v1": "segments: {a: traits.x == 1, b: traits.x == 2}"}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "d.yaml").write_text(text, "utf-8")
        found[name] = compile_definitions(load(folder))
    return found


FIRST = positions.encode(Position(switches=[SwitchPoint(0, "v0", 0)]))
SECOND = positions.encode(Position(switches=[SwitchPoint(0, "v0", 0), SwitchPoint(1, "v1", 5)]))


def test_each_profile_has_the_names_of_its_own_version(versions: dict[str, Compiled]) -> None:
    made = ViewEntries(versions.get)
    made.learn(SECOND)
    views, used = made.make([(1, *profile("ann", 0)), (2, *profile("bob", 1)), (3, POSITION_KEY, SECOND)])
    assert used == 3
    assert [(view[0], view[1], json.loads(view[3])) for view in views] == [
        ("main/user_id:ann", 1, [{"a": 500}, [], ""]),
        ("main/user_id:bob", 2, [{"a": 500, "b": 400}, [], ""]),
    ]
    assert json.loads(views[1][2])["segments"] == {"b": "1970-01-01T00:00:00.400Z", "a": "1970-01-01T00:00:00.500Z"}


def test_a_profile_ahead_of_its_position_waits_for_it(versions: dict[str, Compiled], monkeypatch: pytest.MonkeyPatch) -> None:
    made = ViewEntries(versions.get)
    made.learn(FIRST)
    batch = [(1, *profile("ann", 0)), (2, *profile("bob", 1)), (3, *profile("cat", 0))]
    views, used = made.make(batch)
    assert ([view[0] for view in views], used) == (["main/user_id:ann"], 1)
    views, used = made.make([*batch[1:], (4, POSITION_KEY, SECOND)])
    assert [view[0] for view in views] == ["main/user_id:bob", "main/user_id:cat"]
    assert used == 3

    monkeypatch.setattr(entries, "MOST_HELD", 3)  # what never comes is not waited for without end
    views, used = ViewEntries(versions.get).make(batch)
    assert (len(views), used) == (3, 3)
    assert json.loads(views[0][2])["segments"] == {}


def test_only_the_newest_record_of_a_key_counts_and_keeps_the_order(versions: dict[str, Compiled]) -> None:
    made = ViewEntries(versions.get)
    made.learn(FIRST)
    ann, bob = profile("ann", 0), profile("bob", 0)
    views, used = made.make([(1, *ann), (2, *bob), (3, *ann), (4, bob[0], None)])
    assert used == 4
    assert [(view[0], view[1], bool(view[2])) for view in views] == [
        ("main/user_id:ann", 3, True),
        ("main/user_id:bob", 4, False),
    ]


def test_what_cannot_be_read_is_counted_and_leaves_the_view(versions: dict[str, Compiled]) -> None:
    made = ViewEntries(versions.get)
    made.learn(FIRST)
    newer = bytes([99]) + profile("ann", 0)[1][1:]
    views, used = made.make([(1, b"main/user_id:ann", newer), (2, *profile("bob", 0))])
    assert (len(views), used, made.unreadable) == (1, 2, 1)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"kind":"entered"}', b"\xff"])
def test_outputs_that_are_none_are_left_out(value: bytes | None) -> None:
    assert change_flow(value) is None
    assert trigger_flow(value) is None
