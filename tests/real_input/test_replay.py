"""The real clickstream through `rtcdp replay`: the engine's memberships are those of plain loops over the rows."""

from __future__ import annotations

import itertools
from collections import Counter

import orjson
import pytest

from real_input import ecom
from rtcdp.simulate.oracle import Output

WINDOWED = {"repeat_buyers", "browsers", "window_shoppers", "regulars", "hesitant", "in_trouble", "mobile_first"}


def changes(outputs: list[Output]) -> list[ecom.Change]:
    found = []
    for output in outputs:
        body = orjson.loads(output.value)
        if body.get("kind") in ("entered", "exited"):
            user = body["profile"].partition(":")[2]
            found.append(ecom.Change(user, ecom.milliseconds(body["at"].rstrip("Z")), body["name"], body["kind"]))
    return found


def test_the_file_is_the_one_the_tests_were_written_for(rows: list[dict[str, str]], events: list[bytes]) -> None:
    assert len(rows) == len(events) == ecom.ROWS
    assert orjson.loads(events[0])["messageId"] == "000000001"
    assert any(later["timestamp"] < earlier["timestamp"] for earlier, later in itertools.pairwise(rows))


def test_every_membership_change_is_that_of_a_recomputation(
    rows: list[dict[str, str]], until: int, replayed: list[Output]
) -> None:
    expected = ecom.expected_changes(rows, until)
    found = changes(replayed)
    assert Counter(found) == Counter(expected)
    turned = {change.segment for change in expected if change.kind == "exited"}
    assert turned >= WINDOWED, "every window empties in this data"


def test_changes_of_a_user_are_in_order_of_time(replayed: list[Output]) -> None:
    last: dict[str, int] = {}
    for change in changes(replayed):
        assert change.at >= last.get(change.user, 0)
        last[change.user] = change.at


def test_nothing_is_refused(replayed: list[Output]) -> None:
    assert {output.topic for output in replayed} == {"profile-changes", "triggers"}


@pytest.mark.parametrize("trigger", ["cart_left", "help", "win_back"])
def test_every_trigger_fires(trigger: str, replayed: list[Output]) -> None:
    names = {orjson.loads(output.value)["data"]["trigger"] for output in replayed if output.topic == "triggers"}
    assert trigger in names
