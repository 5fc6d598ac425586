"""The real clickstream through real Kafka and a real worker: the same as the replay."""

from __future__ import annotations

import random
from collections.abc import Callable

import orjson
import pytest

from real_input import ecom
from real_input.conftest import Deployment, wait_for
from rtcdp import records
from rtcdp.commands import tick
from rtcdp.inspection import profile_at
from rtcdp.rules.definitions import Definitions
from rtcdp.simulate.oracle import Output, compare, memberships
from rtcdp.simulate.replay import replay_log
from rtcdp.simulate.sources import log_records, write_record
from rtcdp.simulate.traffic import read_topic

pytestmark = pytest.mark.timeout(150)


def settled(worker: Deployment, until: int) -> Callable[[], bool]:
    """Whether the last tick has reached every partition, and nothing is published any more."""
    published = [-1]

    def look() -> bool:
        log = read_topic(worker.settings.bootstrap, worker.settings.profile_events)
        ended = {
            record.partition
            for record in log
            if record.key == records.TICK_KEY.decode() and orjson.loads(record.value or "")["time"] == until
        }
        before, published[0] = published[0], len(worker.outputs())
        return len(ended) == worker.settings.partitions and published[0] == before > 0

    return look


def test_keyed_by_user_gives_what_the_replay_gives(
    worker: Deployment, rows: list[dict[str, str]], events: list[bytes], until: int, replayed: list[Output]
) -> None:
    worker.send(events, [row["user_id"].encode() for row in rows])
    tick(worker.settings, str(until))
    wait_for(settled(worker, until), 90, "the end of time")
    differences = compare(replayed, worker.outputs())
    assert differences.lost == 0, differences

    user = rows[0]["user_id"]
    shown = profile_at(worker.settings, f"user_id:{user}")
    assert shown is not None
    inside = {segment for profile, segment in memberships(replayed) if profile == f"main/user_id:{user}"}
    assert set(shown.segments) == inside
    assert shown.features["purchases"] == sum(row["event"] == "purchase" for row in rows if row["user_id"] == user)
    assert profile_at(worker.settings, "user_id:nobody") is None


def test_random_keys_give_the_same_memberships_and_what_the_log_says(
    worker: Deployment, events: list[bytes], until: int, replayed: list[Output], definitions: Definitions
) -> None:
    chance = random.Random(3)
    worker.send(events, [chance.randbytes(8) for _ in events])
    tick(worker.settings, str(until))
    wait_for(settled(worker, until), 90, "the end of time")
    found = worker.outputs()
    assert memberships(found) == memberships(replayed)

    recorded = read_topic(worker.settings.bootstrap, worker.settings.profile_events)
    assert any(record.value and ecom.ROWS and '"kind":"tick"' in record.value for record in recorded)
    lines = [write_record(record) for record in recorded]
    differences = compare(replay_log(log_records(lines), definitions), found)
    assert differences.lost == 0, differences
