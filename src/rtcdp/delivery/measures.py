"""What the deliverer counts and measures. Labels are destinations and outlets of the loaded folder, and fixed words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rtcdp.delivery.attempts import Attempt
from rtcdp.delivery.deliveries import Delivery, Outcome, Reason
from rtcdp.monitoring.metrics import LATENCY_BOUNDS

OTHER = "other"


class Measures:
    """All metrics of a deliverer, in a registry of its own.

    destinations: names that may be a label; another one (of a delivery made before the folder changed) counts as `other`.
    inputs:       topics that are read.
    """

    def __init__(self, destinations: Iterable[str] = (), inputs: Iterable[str] = ()) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self._known = frozenset(destinations)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rtcdp_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rtcdp_{name}", text, labels, registry=registry)

        self._taken = counter("deliveries_taken", "Deliveries begun.", "destination")
        self._ended = counter("deliveries", "Deliveries ended, by outcome.", "destination", "outcome")
        self._attempts = counter("delivery_attempts", "Attempts, by what came of them.", "destination", "verdict")
        self._dead = counter("deliveries_dead", "Deliveries given up, by reason.", "destination", "reason")
        for destination in (*sorted(self._known), OTHER):  # from zero on, so that the first one is seen as a rise
            for reason in get_args(Reason):
                self._dead.labels(destination, reason)
        self._latency = Histogram(
            "rtcdp_delivery_latency_seconds",
            "From the append of the record to the end of its delivery, of those delivered.",
            ["destination"],
            buckets=LATENCY_BOUNDS,
            registry=registry,
        )
        self._pending = gauge("deliveries_pending", "Deliveries that wait or are under way.", "destination")
        self._held = gauge(
            "destination_held", "1: left alone for now (no sign of life, 429); 2: off (410); 0: neither.", "destination"
        )
        self._unreadable = counter("delivery_unreadable", "Records of inputs that could not be read.", "topic")
        for topic in inputs:
            self._unreadable.labels(topic)
        self._lag = gauge("delivery_lag_records", "Records of an input not yet taken.", "topic", "partition")
        self._reports = counter("delivery_reports", "Reports of tools, by what became of them.", "callback", "result")

    def taken(self, destination: str) -> None:
        """A delivery begins."""
        self._taken.labels(self._name(destination)).inc()

    def attempted(self, destination: str, attempt: Attempt) -> None:
        """An attempt has ended."""
        self._attempts.labels(self._name(destination), attempt.verdict.value).inc()

    def ended(self, delivery: Delivery, outcome: Outcome, now: int) -> None:
        """A delivery is over, at `now` (ms)."""
        name = self._name(delivery.destination)
        self._ended.labels(name, outcome.value).inc()
        if outcome is Outcome.DELIVERED:
            self._latency.labels(name).observe(max(0, now - delivery.made) / 1_000)

    def dead(self, destination: str, reason: str) -> None:
        """A delivery was given up."""
        self._dead.labels(self._name(destination), reason).inc()

    def unreadable(self, topic: str) -> None:
        """A record could not be read."""
        self._unreadable.labels(topic).inc()

    def lane(self, destination: str, pending: int, *, held: bool, disabled: bool) -> None:
        """How a destination's queue is."""
        self._pending.labels(destination).set(pending)
        self._held.labels(destination).set(2 if disabled else int(held))

    def lag(self, topic: str, partition: int, records: int) -> None:
        """How far an input's partition is behind its end."""
        self._lag.labels(topic, str(partition)).set(records)

    def reported(self, callback: str, result: str) -> None:
        """A tool reported something: `written`, `ignored`, `unsigned` or `unreadable`."""
        self._reports.labels(callback, result).inc()

    def _name(self, destination: str) -> str:
        return destination if destination in self._known else OTHER
