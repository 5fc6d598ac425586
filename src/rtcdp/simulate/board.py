"""What the demo knows at a moment: counts, sizes of segments, latency, the last triggers. The screen draws it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import orjson
from prometheus_client.parser import text_string_to_metric_families

from rtcdp.simulate.oracle import Output

RATE_SECONDS = 60
LAST_TRIGGERS = 12


@dataclass(frozen=True)
class Gauges:
    """The worker's own figures. folded: events that the profile agent has taken; p50_ms, p99_ms: append to commit."""

    folded: int = 0
    profiles: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass
class Board:
    """The state of a demo. Filled by the threads of the traffic, read by the screen.

    total, sent:   records the shop has in all, and has sent.
    shop_time:     time of the last record sent (ms).
    outputs:       everything read from the topics of outputs.
    inside:        size of each segment, by following the changes.
    rates:         records sent in each of the last seconds.
    last_event_at: when the last output caused by an event was read (monotonic s).
    gauges:        what the worker's metrics said last.
    """

    total: int
    sent: int = 0
    shop_time: int = 0
    outputs: list[Output] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    triggers: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=LAST_TRIGGERS))
    rates: deque[int] = field(default_factory=lambda: deque([0] * RATE_SECONDS, maxlen=RATE_SECONDS))
    last_event_at: float = 0.0
    last_output_at: float = 0.0
    gauges: Gauges = Gauges()
    note: str = ""

    def take(self, output: Output) -> None:
        """Count one output."""
        self.outputs.append(output)
        self.counts[output.topic] += 1
        self.last_output_at = time.monotonic()
        if output.topic == "events-dlq":
            self.last_event_at = self.last_output_at
            return
        body = orjson.loads(output.value)
        if output.topic == "triggers":
            self.triggers.append(body)
            body = body["data"]
        elif body["kind"] == "entered":
            self.inside[body["name"]] += 1
        elif body["kind"] == "exited":
            self.inside[body["name"]] -= 1
        if body["cause"] == "event":
            self.last_event_at = self.last_output_at


def ready(port: int) -> bool:
    """Whether a worker says that it is ready for work."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def scrape(port: int) -> Gauges | None:
    """Read a worker's metrics; None while it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except (URLError, OSError):
        return None
    values: Counter[str] = Counter()
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "rtcdp_commit_latency_seconds_bucket":
                buckets[float(sample.labels["le"])] = sample.value
            elif sample.name == "rtcdp_profiles":
                values["profiles"] += int(sample.value)
            elif sample.name == "rtcdp_events_in_total" and sample.labels["agent"] == "profile":
                values["folded"] += int(sample.value)
    return Gauges(values["folded"], values["profiles"], _quantile(buckets, 0.5) * 1_000, _quantile(buckets, 0.99) * 1_000)


def _quantile(buckets: Mapping[float, float], share: float) -> float:
    """As Prometheus' histogram_quantile: linear within the bucket."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return 0.0
    rank, lower, below = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            return lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
