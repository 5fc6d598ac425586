"""The real clickstream through real Kafka and a real worker: the same as the replay."""

from __future__ import annotations

import random

import pytest

from real_input import ecom
from real_input.conftest import Deployment, wait_for
from rtcdp import records
from rtcdp.control.commands import tick
from rtcdp.queries.inspection import profile_at
from rtcdp.queries.why import explanation_of
from rtcdp.rules.definitions import Definitions
from rtcdp.simulate.board import scrape
from rtcdp.simulate.oracle import Output, compare, memberships
from rtcdp.simulate.replay import replay_log
from rtcdp.simulate.sources import log_records, write_record
from rtcdp.simulate.traffic import read_topic

pytestmark = pytest.mark.timeout(150)


def at_the_end_of_time(worker: Deployment, until: int) -> list[Output]:
    """Let time run to its end; everything published once the tick has been folded in every partition."""
    tick(worker.settings, str(until))
    everything = ecom.ROWS + worker.settings.partitions

    def folded() -> bool:
        gauges = scrape(worker.settings.metrics_port)
        return gauges is not None and gauges.folded >= everything

    wait_for(folded, 90, "the end of time")
    return worker.outputs()


def test_keyed_by_user_gives_what_the_replay_gives(
    worker: Deployment, rows: list[dict[str, str]], events: list[bytes], until: int, replayed: list[Output]
) -> None:
    worker.send(events, [row["user_id"].encode() for row in rows])
    differences = compare(replayed, at_the_end_of_time(worker, until))
    assert differences.lost == 0, differences

    user = rows[0]["user_id"]
    shown = profile_at(worker.settings, f"user_id:{user}")
    assert shown is not None
    inside = {segment for profile, segment in memberships(replayed) if profile == f"main/user_id:{user}"}
    assert set(shown.segments) == inside
    assert shown.features["purchases"] == sum(row["event"] == "purchase" for row in rows if row["user_id"] == user)
    assert profile_at(worker.settings, "user_id:nobody") is None

    why = explanation_of(worker.settings, f"user_id:{user}", "buyers")
    assert why is not None
    assert why.value is ("buyers" in inside)
    assert explanation_of(worker.settings, "user_id:nobody", "buyers") is None


def test_random_keys_give_the_same_memberships_and_what_the_log_says(
    worker: Deployment, events: list[bytes], until: int, replayed: list[Output], definitions: Definitions
) -> None:
    chance = random.Random(3)
    worker.send(events, [chance.randbytes(8) for _ in events])
    found = at_the_end_of_time(worker, until)
    assert memberships(found) == memberships(replayed)

    recorded = read_topic(worker.settings.bootstrap, worker.settings.profile_events)
    assert sum(record.key == records.TICK_KEY.decode() for record in recorded) == worker.settings.partitions
    lines = [write_record(record) for record in recorded]
    differences = compare(replay_log(log_records(lines), definitions), found)
    assert differences.lost == 0, differences
