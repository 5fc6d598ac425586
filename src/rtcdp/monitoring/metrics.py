"""What a process counts and measures, for Prometheus. Every method is called once per batch, never per event.

Label values come from fixed sets (a reason or step outside them counts as `other`) and from the partitions of the
cluster, so the number of series does not depend on the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns

from prometheus_client import CollectorRegistry, Gauge

from rtcdp.ingestion import cleaning, events
from rtcdp.monitoring.batched import BatchCounter, BatchHistogram

OTHER = "other"

# Words that may stand in `rtcdp_events_dead_total{reason=}`.
REASONS = frozenset(events.REASONS) | {
    "dropped",  # by the tracking plan: counted, no dead letter
    "unknown_command",
    "bad_key",  # of a command: its record's key is no profile key
    "undecodable_record",
    "missing_key",
    "fold_failed",
    OTHER,
}

# Upper bounds in seconds. Fine between 1 and 100 ms, where the aims for latency lie.
LATENCY_BOUNDS = (
    0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
DURATION_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
)  # fmt: skip
SIZE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0)


class Metrics:
    """All metrics of one process, in a registry of its own (several workers can live in one test process)."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)

        def counter(name: str, text: str, *labels: str) -> BatchCounter:
            return BatchCounter(f"rtcdp_{name}", text, labels, registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rtcdp_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, bounds: Sequence[float]) -> BatchHistogram:
            return BatchHistogram(f"rtcdp_{name}", text, bounds, registry)

        self._in = counter("events_in", "Records taken by an agent.", "agent")
        self._tenants = counter("tenant_events", "Raw events of a tenant that ingest has taken.", "tenant")
        self._out = counter("records_out", "Records written and acknowledged or committed, by topic role.", "to")
        self._dead = counter("events_dead", "Records refused, by stage and reason.", "stage", "reason")
        for stage in ("ingest", "profile"):  # from zero on, so that the first one is seen as a rise
            for reason in sorted(REASONS):
                self._dead.add(0, stage, reason)
        self._shadowed = counter("shadow_differences", "What definitions evaluated beside did differently.")
        self._shadow_failed = counter("shadow_failed", "Profiles for which definitions evaluated beside have failed.")
        self._unfit = counter("unfit_values", "Values that a feature should count and that are no numbers.", "feature")
        self._fixes = counter("cleaning_fixes", "What cleaning corrected or removed, by step.", "step")
        self.ingest_batch = histogram("ingest_batch_records", "Records per batch of ingest.", SIZE_BOUNDS)
        self.ingest_time = histogram("ingest_seconds", "Time to clean and produce one batch.", DURATION_BOUNDS)
        self.profile_batch = histogram("profile_batch_records", "Records per transaction.", SIZE_BOUNDS)
        self.fold_time = histogram("fold_seconds", "Time to fold one batch.", DURATION_BOUNDS)
        self.commit_time = histogram("commit_seconds", "Time from begin to the end of a commit.", DURATION_BOUNDS)
        self.fold_latency = histogram(
            "fold_latency_seconds", "From the append of the raw record to the end of its fold.", LATENCY_BOUNDS
        )
        self.commit_latency = histogram(
            "commit_latency_seconds", "From the append of the raw record to the commit of its outputs.", LATENCY_BOUNDS
        )
        self._lag = gauge("lag_records", "Records of a partition not yet processed.", "topic", "partition")
        self._open = gauge("uncommitted_records", "Processed minus committed.", "topic", "partition")
        self._profiles = gauge("profiles", "Profiles held.", "partition")
        self._timers = gauge("timers", "Profiles that wait for an instant.", "partition")
        self._timers_due = gauge("timers_due", "Profiles due at or before the watermark.", "partition")
        self._overdue = gauge("timers_overdue_seconds", "How long the earliest due profile has waited.", "partition")
        self._restored = gauge("restored_profiles", "Profiles restored by the last takeover.", "partition")
        self._restore_left = gauge("restore_left_records", "Changelog records still to be restored.", "partition")
        self._restore_time = gauge("restore_seconds", "Duration of the last restore.", "partition")
        self.watermark = gauge("watermark_seconds", "Low watermark of the sources (Unix time); 0: none.")
        self.clock_difference = gauge("clock_difference_seconds", "Broker's clock minus own, at the last progress.")

    def taken(self, agent: str, records: int) -> None:
        """`records` came in at `ingest` or `profile`."""
        self._in.add(records, agent)

    def of_tenant(self, tenant: str, records: int) -> None:
        """`records` raw events of a tenant's sources came in."""
        self._tenants.add(records, tenant)

    def shadowed(self, differences: int, failed: int) -> None:
        """Count what definitions evaluated beside the current ones did differently, and where they failed."""
        self._shadowed.add(differences)
        self._shadow_failed.add(failed)

    def unfit(self, counts: Mapping[str, int]) -> None:
        """Values that are no numbers, by the feature that should have counted them."""
        for feature, count in counts.items():
            self._unfit.add(count, feature)

    def written(self, counts: Mapping[str, int]) -> None:
        """What was acknowledged or committed, by topic role (`profile_events`, `profile_changes`, `triggers`...)."""
        for to, count in counts.items():
            self._out.add(count, to)

    def dead(self, stage: str, reasons: Mapping[str, int]) -> None:
        """Refused records by reason, at stage `ingest` or `profile`."""
        for reason, count in reasons.items():
            self._dead.add(count, stage, reason if reason in REASONS else OTHER)

    def fixed(self, steps: Mapping[str, int]) -> None:
        """What cleaning corrected since the last call, by step."""
        for step, count in steps.items():
            self._fixes.add(count, step if step in cleaning.FIXES else OTHER)

    def folded(self, appended: Sequence[int], now: int) -> None:
        """A batch's fold ended at `now` (ms); `appended` are its raw records' append times (ms)."""
        self.fold_latency.observe_since(appended, now)

    def committed(self, appended: Sequence[int], now: int) -> None:
        """A batch's commit ended at `now` (ms); `appended` as for `folded`."""
        self.commit_latency.observe_since(appended, now)

    def progress(self, topic: str, partition: int, *, lag: int | None, uncommitted: int) -> None:
        """How far a partition is: records behind its end (None: unknown, kept) and processed but not committed."""
        if lag is not None:
            self._lag.labels(topic, partition).set(lag)
        self._open.labels(topic, partition).set(uncommitted)

    def holds(self, partition: int, *, profiles: int, timers: int, due: int, overdue_ms: int) -> None:
        """What an owned partition of the profile stage holds; `overdue_ms`: age of the earliest due timer."""
        self._profiles.labels(partition).set(profiles)
        self._timers.labels(partition).set(timers)
        self._timers_due.labels(partition).set(due)
        self._overdue.labels(partition).set(overdue_ms / 1_000)

    def restoring(self, partition: int, *, profiles: int, left: int, seconds: float) -> None:
        """Progress of a takeover: profiles so far, changelog records left, time so far."""
        self._restored.labels(partition).set(profiles)
        self._restore_left.labels(partition).set(left)
        self._restore_time.labels(partition).set(seconds)

    def released(self, topic: str, partition: int) -> None:
        """The partition belongs to another now: its gauges go, or they would show its last values for ever."""
        for gauge in (self._lag, self._open):
            _forget(gauge, topic, str(partition))
        for gauge in (
            self._profiles, self._timers, self._timers_due, self._overdue, self._restored, self._restore_left,
            self._restore_time,
        ):  # fmt: skip
            _forget(gauge, str(partition))


def now_ms() -> int:
    """The clock, in ms since 1970 UTC: for measuring latency and for watermarks, never for a decision of the core."""
    return time_ns() // 1_000_000


def _forget(gauge: Gauge, *labels: str) -> None:
    try:
        gauge.remove(*labels)
    except KeyError:  # never set
        return
