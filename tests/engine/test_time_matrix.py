"""Every kind of feature in every kind of time: what is put out is what the raw events say.

Expected is what `simulate.bruteforce` computes from all events. Late and future events and wrong clocks go through ingestion,
so that what counts as the time of occurrence is tested too.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import pytest
from engine.harness import Partition, compiled, settled
from engine.oracle import Happened, Spec, StepSpec, Ticked, TriggerSpec, run
from engine.test_features_oracle import conditions

from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.records import Event
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from rtcdp.simulate.bruteforce import FeatureSpec

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


STEPS = (StepSpec(("A",)), StepSpec(("B",)), StepSpec(("C",)))
GUARDED = (StepSpec(("A",)), StepSpec(("C",), excluded=True), StepSpec(("B",)))
FEATURES: dict[str, FeatureSpec] = {
    "count": FeatureSpec("count", ("A",)),
    "sum": FeatureSpec("sum", ("A", "B"), "n"),
    "first": FeatureSpec("first", ("*",), "c"),
    "last": FeatureSpec("last", ("*",), "c"),
    "first time": FeatureSpec("first_time", ("A",)),
    "last time": FeatureSpec("last_time", ("*",)),
    "most frequent": FeatureSpec("most_frequent", ("*",), "c"),
    "count within": FeatureSpec("count", ("*",), within=HOUR),
    "average within": FeatureSpec("avg", ("*",), "n", within=HOUR),
    "greatest within": FeatureSpec("max", ("*",), "n", within=HOUR),
    "unique within": FeatureSpec("unique", ("*",), "c", within=HOUR),
    "last time within": FeatureSpec("last_time", ("A",), within=HOUR),
    "most frequent within": FeatureSpec("most_frequent", ("*",), "c", within=HOUR),
    "sum before": FeatureSpec("sum", ("*",), "n", within=HOUR, offset=20 * MINUTE),
    "sum today": FeatureSpec("sum", ("*",), "n", during=("day", "America/New_York")),
    "count this month": FeatureSpec("count", ("*",), during=("month", "Europe/Berlin")),
    "sum since": FeatureSpec("sum", ("A",), "n", reset_on=("B",)),
    "count by key": FeatureSpec("count", ("*",), by="c", within=HOUR),
    "sequence": FeatureSpec("sequence", (), steps=STEPS),
    "sequence within": FeatureSpec("sequence", (), steps=GUARDED, within=HOUR, same="c"),
    "sessions": FeatureSpec("sessions", ("*",), gap=30 * MINUTE),
    "bounces": FeatureSpec("bounces", ("*",), gap=30 * MINUTE),
    "count in the session": FeatureSpec("count", ("*",), per_session=True, gap=30 * MINUTE),
    "dwell": FeatureSpec("dwell", ("A",), gap=30 * MINUTE),
    "balance": FeatureSpec("balance", ("A",), "n", spend=("B",), expire=HOUR),
}
# (minute of the timestamp, minute of receiving, event, minute by which the sender's clock is wrong)
Row = tuple[float, float, str, float]
SITUATIONS: dict[str, list[Row]] = {
    "on time": [(0, 0, "A", 0), (10, 10, "B", 0), (20, 20, "C", 0), (25, 25, "A", 0)],
    "late inside the window": [(0, 0, "A", 0), (40, 40, "C", 0), (20, 50, "B", 0)],
    "late across a fired wait": [(0, 0, "A", 0), (16, 16, "C", 0), (5, 20, "B", 0), (50, 50, "A", 0)],
    "late outside the window": [(0, 0, "A", 0), (100, 100, "B", 0), (5, 101, "A", 0), (-200, 102, "C", 0)],
    "out of order": [(30, 30, "C", 0), (20, 30, "B", 0), (10, 30, "A", 0), (15, 31, "B", 0)],
    "duplicate": [(0, 0, "A", 0), (0, 5, "A", 0), (7, 7, "B", 0), (0, 70, "A", 0)],
    "future": [(0, 0, "A", 0), (500, 10, "B", 0), (20, 20, "C", 0)],
    "a clock three days fast": [(0, 0, "A", 0), (10, 12, "B", 3 * 1440), (20, 20, "C", 0)],
    "a clock three days slow": [(0, 0, "A", 0), (10, 12, "B", -3 * 1440), (20, 20, "C", 0)],
    "at both edges": [(0, 0, "A", 0), (60, 60, "B", 0), (0, 60, "A", 0), (1 / MINUTE, 60, "A", 0), (30, 60, "C", 0)],
    "a moment before the edges": [(0, 0, "A", 0), (60 - 1 / MINUTE, 60 - 1 / MINUTE, "B", 0), (30 - 1 / MINUTE, 60, "C", 0)],
    "at one instant": [(5, 5, "C", 0), (5, 5, "B", 0), (5, 5, "A", 0), (5, 5, "B", 0)],
}
BEGINNINGS = {
    "any day": "2026-01-14T12:00:00",
    "clocks forward in New York": "2026-03-08T06:30:00",
    "clocks back in New York": "2026-11-01T05:30:00",
    "clocks forward in Berlin": "2026-03-31T21:50:00",
    "clocks back in Berlin": "2026-10-25T00:30:00",
    "leap day": "2024-02-29T22:45:00",
    "new year": "2025-12-31T22:50:00",
}


@cache
def definitions(name: str) -> tuple[Spec, Compiled]:
    spec = Spec(
        {"f": FEATURES[name]},
        {},
        conditions(FEATURES[name]),
        {"go": TriggerSpec(("event", "A"), after=15 * MINUTE, unless=("B",)), "came": TriggerSpec(("entered", "there"))},
    )
    return spec, compiled(spec)


def happened(base: int, rows: list[Row]) -> list[Happened]:
    """The rows as ingestion reads them; when they occurred is computed here once more."""
    ingestor = Ingestor(TrackingPlan(), IdentityPlan(), Source("t", time="event"))
    found = []
    for place, (minute, received, event, wrong) in enumerate(rows):
        timestamp, arrived = base + round((minute + wrong) * MINUTE), base + round(received * MINUTE)
        sent = arrived + round(wrong * MINUTE)
        properties = {"n": place + 1, "c": "xy"[place % 2]}
        raw = {"type": "track", "userId": "1", "event": event, "timestamp": timestamp, "receivedAt": arrived}
        raw |= {"messageId": "twice" if (minute, event) == (0, "A") else f"m{place}", "properties": properties}
        if wrong:
            raw["sentAt"] = sent
        accepted = ingestor.ingest(json.dumps(raw).encode(), "t/0", place, arrived)
        assert isinstance(accepted, Accepted), accepted
        read = msgspec.json.decode(accepted.value, type=Event)
        assert read.received == arrived
        assert read.occurred == min(arrived - (sent - timestamp) if wrong else timestamp, arrived)
        found.append(Happened("1", arrived, read.occurred, read.id, event, properties, simulated=True))
    return found


def compare(name: str, stream: list[Any]) -> None:
    spec, made = definitions(name)
    partition = Partition(made)
    for item in stream:
        partition.feed([item])
    assert not partition.letters
    assert settled(partition.outputs.get("1", [])) == settled(run(spec, stream).get("1", []))


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", FEATURES)
def test_features_by_how_events_come(name: str, situation: str) -> None:
    base = ms(BEGINNINGS["any day"])
    stream = happened(base, SITUATIONS[situation])
    compare(name, [*stream, Ticked(base + 3 * DAY, simulated=True)])


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("name", FEATURES)
def test_features_by_when_events_come(name: str, beginning: str) -> None:
    base = ms(BEGINNINGS[beginning])
    stream = happened(
        base, [(0, 0, "A", 0), (10, 10, "B", 0), (45, 45, "A", 0), (40, 50, "C", 0), (90, 90, "B", 0), (130, 130, "A", 0)]
    )
    compare(name, [*stream, Ticked(base + 40 * DAY, simulated=True)])


@pytest.mark.parametrize("year", [0, DAY, 4_102_444_800_000 - HOUR])
@pytest.mark.parametrize("name", FEATURES)
def test_features_at_the_ends_of_time(name: str, year: int) -> None:
    """The first instant of 1970, the day after, and 2100: what ingestion refuses, the engine still counts right."""
    events = [(0, "A"), (5, "B"), (10, "C"), (12, "A")]
    stream = [
        Happened("1", year + minute * MINUTE, year + minute * MINUTE, f"m{minute}", event, {"n": 2, "c": "x"}, simulated=True)
        for minute, event in events
    ]
    compare(name, [*stream, Ticked(year + 2 * DAY, simulated=True)])
