"""What a projection counts and measures, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from rtcdp.monitoring.batched import BatchHistogram
from rtcdp.monitoring.metrics import LATENCY_BOUNDS


class Measures:
    """Counters and gauges of one process; every method is called once per batch."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.records = Counter("rtcdp_projection_records", "Records read, by topic role.", ["of"], registry=registry)
        self.views = Counter("rtcdp_projection_views", "Views written.", registry=registry)
        self.unreadable = Counter("rtcdp_projection_unreadable", "Profiles that could not be read.", registry=registry)
        self.opened = Counter(
            "rtcdp_projection_opened", "How often it began anew: after a start, or a loss.", registry=registry
        )
        self.lag = Gauge(
            "rtcdp_projection_lag_records",
            "Records of a partition not yet projected.",
            ["topic", "partition"],
            registry=registry,
        )
        self.complete = Gauge("rtcdp_projection_complete", "1 once every profile's view is there.", registry=registry)
        self.behind = Gauge(
            "rtcdp_projection_behind_seconds", "Age of the oldest state that the views may show.", registry=registry
        )
        self.delay = BatchHistogram(
            "rtcdp_projection_delay_seconds", "From the append of a record to its view.", LATENCY_BOUNDS, registry
        )
