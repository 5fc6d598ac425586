"""What the benchmarks measure is the same job: rtcdp's outputs equal those of the hand-written one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import clickstream, folding, job, peers, readme, streaming
from benchmarks.__main__ import RESULTS
from rtcdp.rules.loading.folder import load

EVENTS = 6_000


def test_rtcdp_finds_exactly_what_the_hand_written_job_finds() -> None:
    runner = folding.new_runner(load(folding.DEFINITIONS))
    users = [
        place % 4 if place % 2 else place % 200 for place in range(EVENTS)
    ]  # two with very many events, a hundred with few
    events = [{**event, "user_id": f"u{user}"} for user, event in zip(users, clickstream.events(EVENTS), strict=True)]
    rows = [(offset, *clickstream.as_log(event)) for offset, event in enumerate(events)]
    found: list[peers.Output] = []
    for start in range(0, EVENTS, 500):
        fold = runner.fold(rows[start : start + 500])
        runner.adopt(fold)
        assert fold.letters == []
        found += [output for _, value in fold.changes if (output := peers.decode_change(value)) and output[1] in job.COMPARED]
    assert len(found) == len(set(found))
    assert set(found) == streaming.reference(events, job.COMPARED)
    assert {segment for _, segment, _ in found} >= job.COMPARED - {"window_shopper"}  # too rare for so few


def test_definitions_have_the_twenty_segments() -> None:
    assert set(load(folding.DEFINITIONS).segments) == set(job.SEGMENTS)


def test_input_is_deterministic_and_in_order_up_to_its_jitter() -> None:
    first, second = (list(clickstream.events(1_000)) for _ in range(2))
    assert first == second
    latest = first[0]["ts"]
    for event in first:
        assert event["ts"] > latest - clickstream.JITTER_S
        latest = max(latest, event["ts"])


def test_raw_form_is_ingested_into_the_log_form() -> None:
    event = next(clickstream.events(1))
    definitions = load(folding.DEFINITIONS)
    ingestor = folding.Ingestor(definitions.tracking, definitions.identity, folding.Source("t", time="event"))
    accepted = ingestor.ingest(clickstream.as_raw(event)[1], "t/0", 0, clickstream.milliseconds(event))
    assert isinstance(accepted, folding.Accepted)
    key, value = clickstream.as_log(event)
    assert accepted.key == key
    decode = folding.compile_definitions(definitions).decode
    ingested, logged = decode(accepted.value), decode(value)
    for field in ("received", "occurred", "id", "event", "properties"):
        assert getattr(ingested, field) == getattr(logged, field), field


@pytest.mark.parametrize(("share", "partition"), [(0.25, 0)])
def test_the_hot_input_lies_in_one_partition(share: float, partition: int) -> None:
    hot = [event for event, _ in zip(streaming.hot(peers.PROFILE), range(500), strict=False)]
    keys = {clickstream.profile_key(event["user_id"]) for event in hot}
    assert {(streaming.murmur2(key) & 0x7FFFFFFF) % peers.PARTITIONS for key in keys} == {partition}
    assert len(keys) < clickstream.USERS * share


def test_the_readme_says_what_was_measured(tmp_path: Path) -> None:
    """`python -m benchmarks --table` mends it."""
    results = json.loads(RESULTS.read_text())
    copy = tmp_path / "README.md"
    copy.write_bytes(readme.README.read_bytes())
    assert not readme.write(results, copy)
    results["throughput"]["rtcdp"] *= 2
    results["latency"]["all_busy"]["runs"][0][0]["p50_ms"] = 999.0
    assert readme.write(results, copy)
    assert "999 ms" in copy.read_text("utf-8")
