"""What the API counts and measures, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from rtcdp.monitoring.batched import BatchHistogram
from rtcdp.monitoring.metrics import LATENCY_BOUNDS


class Counts:
    """Counters of one process. Label values come from the API's own operations and their statuses."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "rtcdp_api_requests", "Requests answered, by operation and status.", ["operation", "status"], registry=registry
        )
        self._tenants = Counter("rtcdp_api_tenant_requests", "Requests about a tenant.", ["tenant"], registry=registry)
        self._seconds = BatchHistogram(
            "rtcdp_api_seconds", "From a request to the beginning of its answer.", LATENCY_BOUNDS, registry
        )
        self.streams = Gauge("rtcdp_api_streams", "Live streams that are open.", registry=registry)
        self.events = Counter("rtcdp_api_stream_events", "Records sent to live streams.", registry=registry)
        self.overruns = Counter("rtcdp_api_stream_overruns", "Streams ended because they read too slowly.", registry=registry)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(operation, str(status)).inc()
        self._seconds.observe(seconds)

    def of_tenant(self, tenant: str) -> None:
        """One request is about this tenant."""
        self._tenants.labels(tenant).inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when asked for."""
        Gauge(f"rtcdp_api_{name}", text, registry=self.registry).set_function(value)
