"""Metrics: batch histograms count like plain ones, label sets stay bounded."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from rtcdp.monitoring.batched import BatchCounter, BatchHistogram
from rtcdp.monitoring.metrics import LATENCY_BOUNDS, OTHER, Metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@given(st.lists(st.lists(st.integers(0, 400_000), max_size=60), max_size=4))
def test_batches_count_like_single_values(batches: list[list[int]]) -> None:
    registry = CollectorRegistry()
    histogram = BatchHistogram("h", "text", LATENCY_BOUNDS, registry)
    expected = [0] * (len(LATENCY_BOUNDS) + 1)
    now = 1_700_000_000_000
    for batch in batches:
        histogram.observe_since([now - latency for latency in batch], now)
        for latency in batch:
            expected[bisect_left(LATENCY_BOUNDS, latency / 1_000)] += 1
    running = 0
    for bound, count in zip((*LATENCY_BOUNDS, "+Inf"), expected, strict=True):
        running += count
        assert registry.get_sample_value("h_bucket", {"le": str(bound)}) == running
    assert registry.get_sample_value("h_count") == sum(expected)
    total = registry.get_sample_value("h_sum")
    assert total == pytest.approx(sum(map(sum, batches)) / 1_000)


def test_a_time_in_the_future_is_no_latency() -> None:
    registry = CollectorRegistry()
    histogram = BatchHistogram("h", "text", (0.01, 0.1), registry)
    histogram.observe_since([1_000, 1_500, 990], 1_000)
    assert registry.get_sample_value("h_sum") == pytest.approx(0.010)
    assert registry.get_sample_value("h_bucket", {"le": "0.01"}) == 3


def test_quantile_interpolates_and_needs_values() -> None:
    histogram = BatchHistogram("h", "text", (0.01, 0.02, 0.1), CollectorRegistry())
    assert histogram.quantile(0.5) is None
    histogram.observe_since([0] * 50, 15)
    histogram.observe_since([0] * 50, 50)
    assert histogram.quantile(0.5) == pytest.approx(0.02)
    assert histogram.quantile(0.25) == pytest.approx(0.015)
    histogram.observe(7)
    assert histogram.quantile(1.0) == 0.1


def test_a_counter_counts_each_combination() -> None:
    registry = CollectorRegistry(auto_describe=True)
    plain, labelled = BatchCounter("p", "text", (), registry), BatchCounter("c", "text", ("a", "b"), registry)
    assert registry.get_sample_value("p_total") == 0
    assert registry.get_sample_value("c_total", {"a": "x", "b": "y"}) is None
    labelled.add(0, "x", "z")
    for _ in range(2):
        plain.add(3)
        labelled.add(2, "x", "y")
    assert registry.get_sample_value("p_total") == 6
    assert registry.get_sample_value("c_total", {"a": "x", "b": "y"}) == 4
    assert registry.get_sample_value("c_total", {"a": "x", "b": "z"}) == 0
    assert b'c_total{a="x",b="y"} 4.0' in generate_latest(registry)


def test_unknown_words_count_as_other() -> None:
    metrics = Metrics()
    metrics.dead("ingest", {"malformed_json": 2, "made up by a sender": 3})
    metrics.fixed({"text": 1, "who knows": 4})
    assert sample(metrics, "rtcdp_events_dead_total", stage="ingest", reason="malformed_json") == 2
    assert sample(metrics, "rtcdp_events_dead_total", stage="ingest", reason=OTHER) == 3
    assert sample(metrics, "rtcdp_cleaning_fixes_total", step="text") == 1
    assert sample(metrics, "rtcdp_cleaning_fixes_total", step=OTHER) == 4


def test_gauges_of_a_partition_end_with_its_ownership() -> None:
    metrics = Metrics()
    metrics.progress("profile-events", 2, lag=5, uncommitted=3)
    metrics.holds(2, profiles=10, timers=4, due=1, overdue_ms=1_500)
    assert sample(metrics, "rtcdp_timers_overdue_seconds", partition="2") == 1.5
    assert b'partition="2"' in generate_latest(metrics.registry)
    metrics.released("profile-events", 2)
    assert b'partition="2"' not in generate_latest(metrics.registry)
    metrics.released("profile-events", 3)


def test_two_processes_worth_of_metrics_in_one() -> None:
    first, second = Metrics(), Metrics()
    first.taken("ingest", 7)
    assert sample(first, "rtcdp_events_in_total", agent="ingest") == 7
    assert sample(second, "rtcdp_events_in_total", agent="ingest") is None
