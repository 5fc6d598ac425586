"""What the collector counts and measures, for Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rtcdp.monitoring.batched import BatchHistogram
from rtcdp.monitoring.metrics import DURATION_BOUNDS, SIZE_BOUNDS


class Counts(Collector):
    """Counts of one collector, in a registry of its own. For one thread; being read from another is harmless.

    gauges: read when asked for: name to (text, value).
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests: Tally[tuple[str, str]] = Tally()  # (call, status)
        self.refused: Tally[str] = Tally()  # requests by code
        self.events: Tally[str] = Tally()  # acknowledged events by source
        self.tenants: Tally[str] = Tally()  # acknowledged events by tenant
        self.dead: Tally[str] = Tally()  # dead letters by reason
        self.repairs: Tally[str] = Tally()  # mistakes in JSON that ingest will repair, by step
        self.bytes = 0
        self._gauges = gauges
        self.seconds = BatchHistogram(
            "rtcdp_collector_request_seconds", "From a request's head to its answer.", DURATION_BOUNDS, self.registry
        )
        self.batch = BatchHistogram("rtcdp_collector_batch_events", "Events per request.", SIZE_BOUNDS, self.registry)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Everything but the histograms."""
        requests = CounterMetricFamily("rtcdp_collector_requests", "Requests answered.", labels=["call", "status"])
        for labels, count in list(self.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        for name, text, label, tally in (
            ("refused", "Requests not taken, by the answer's code.", "code", self.refused),
            ("events", "Events acknowledged by Kafka, by source.", "source", self.events),
            ("tenant_events", "Events acknowledged by Kafka, by tenant.", "tenant", self.tenants),
            ("repairs", "Mistakes in JSON that ingest repairs, by step.", "step", self.repairs),
            ("events_dead", "Events that became dead letters, by reason.", "reason", self.dead),
        ):
            family = CounterMetricFamily(f"rtcdp_collector_{name}", text, labels=[label])
            for value, count in list(tally.items()):
                family.add_metric([value], count)
            yield family
        yield CounterMetricFamily("rtcdp_collector_body_bytes", "Bodies of requests, unpacked.", value=self.bytes)
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(f"rtcdp_collector_{name}", text, value=read())
