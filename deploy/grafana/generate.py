# ruff: noqa: INP001 - a script by itself
"""Writes the dashboard: `python deploy/grafana/generate.py`. The rows below are all there is to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("rtcdp.json")
WIDTH, HEIGHT = 8, 7


class Panel(NamedTuple):
    """A chart. queries: legend to PromQL. unit: Grafana's name of it. kind: `timeseries` or `stat`."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""


def _quantiles(metric: str, *shares: float, by: str = "") -> dict[str, str]:
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    rate = f"rate({metric}_bucket[$__rate_interval])"
    return {f"p{share * 100:g}{legend}": f"histogram_quantile({share}, sum by ({labels}) ({rate}))" for share in shares}


def _rate(metric: str, by: str) -> dict[str, str]:
    return {f"{{{{{by}}}}}": f"sum by ({by}) (rate({metric}[$__rate_interval]))"}


ROWS: dict[str, list[Panel]] = {
    "Objectives": [
        Panel(
            "Events late by more than 1 s (objective 1 %)",
            {"5 min": "rtcdp:late:ratio5m", "1 h": "rtcdp:late:ratio1h", "6 h": "rtcdp:late:ratio6h"},
            "percentunit",
        ),
        Panel(
            "Requests the collector failed (objective 0.1 %)",
            {"5 min": "rtcdp:collector_failed:ratio5m", "1 h": "rtcdp:collector_failed:ratio1h"},
            "percentunit",
        ),
        Panel("Deliveries failed (objective 1 %)", {"{{destination}}": "rtcdp:delivery_failed:ratio1h"}, "percentunit"),
        Panel("Processes that answer", {"{{process}}": 'sum by (process) (up{job="rtcdp"})'}, kind="stat"),
        Panel("Profiles", {"profiles": "sum(rtcdp_profiles)"}, kind="stat"),
        Panel(
            "Definitions evaluated beside: differences a second, and profiles where they failed",
            {
                "differences": "sum(rate(rtcdp_shadow_differences_total[5m]))",
                "failed": "sum(rate(rtcdp_shadow_failed_total[5m]))",
            },
        ),
        Panel("Events folded", {"events/s": "rtcdp:events:rate5m"}, "ops", "stat"),
    ],
    "Stream": [
        Panel("Records in, by agent", _rate("rtcdp_events_in_total", "agent"), "ops"),
        Panel("Records out", _rate("rtcdp_records_out_total", "to"), "ops"),
        Panel("From append to commit", _quantiles("rtcdp_commit_latency_seconds", 0.5, 0.99), "s"),
        Panel("From append to fold", _quantiles("rtcdp_fold_latency_seconds", 0.5, 0.99), "s"),
        Panel("Records that wait", {"{{topic}}": "rtcdp:lag:records"}),
        Panel("Processed, not committed", {"{{topic}}": "sum by (topic) (rtcdp_uncommitted_records)"}),
        Panel("Dead letters by reason", _rate("rtcdp_events_dead_total", "reason"), "ops"),
        Panel("Repairs by step", _rate("rtcdp_cleaning_fixes_total", "step"), "ops"),
        Panel("Values that are no numbers, by feature", _rate("rtcdp_unfit_values_total", "feature"), "ops"),
        Panel("Share of dead letters", {"5 min": "rtcdp:dead:ratio5m"}, "percentunit"),
    ],
    "Worker": [
        Panel("Time to fold a batch", _quantiles("rtcdp_fold_seconds", 0.5, 0.99), "s"),
        Panel("Time to commit", _quantiles("rtcdp_commit_seconds", 0.5, 0.99), "s"),
        Panel("Time to ingest a batch", _quantiles("rtcdp_ingest_seconds", 0.5, 0.99), "s"),
        Panel("Records per fold", _quantiles("rtcdp_profile_batch_records", 0.5, 0.99)),
        Panel("Records per batch of ingest", _quantiles("rtcdp_ingest_batch_records", 0.5, 0.99)),
        Panel(
            "Time: behind the clock",
            {"watermark": "time() - max(rtcdp_watermark_seconds > 0)", "timers overdue": "max(rtcdp_timers_overdue_seconds)"},
            "s",
        ),
        Panel("Timers", {"waiting": "sum(rtcdp_timers)", "due": "sum(rtcdp_timers_due)"}),
        Panel(
            "Restoring",
            {
                "left {{instance}}": "sum by (instance) (rtcdp_restore_left_records)",
                "restored {{instance}}": "sum by (instance) (rtcdp_restored_profiles)",
            },
        ),
        Panel("Last restore", {"{{instance}}": "max by (instance) (rtcdp_restore_seconds)"}, "s"),
        Panel("Clock against Kafka's", {"{{instance}}": "rtcdp_clock_difference_seconds"}, "s"),
    ],
    "Collector": [
        Panel("Requests by status", _rate("rtcdp_collector_requests_total", "status"), "ops"),
        Panel("Events acknowledged by source", _rate("rtcdp_collector_events_total", "source"), "ops"),
        Panel("Time of a request", _quantiles("rtcdp_collector_request_seconds", 0.5, 0.99), "s"),
        Panel("Refused by code", _rate("rtcdp_collector_refused_total", "code"), "ops"),
        Panel("Dead letters by reason", _rate("rtcdp_collector_events_dead_total", "reason"), "ops"),
        Panel("Bytes in", {"bytes/s": "sum(rate(rtcdp_collector_body_bytes_total[$__rate_interval]))"}, "Bps"),
        Panel("Repairs by step", _rate("rtcdp_collector_repairs_total", "step"), "ops"),
    ],
    "Tenants": [
        Panel("Events that ingest took", _rate("rtcdp_tenant_events_total", "tenant"), "ops"),
        Panel("Events of the collector", _rate("rtcdp_collector_tenant_events_total", "tenant"), "ops"),
        Panel("Requests of the API", _rate("rtcdp_api_tenant_requests_total", "tenant"), "ops"),
    ],
    "Serving view": [
        Panel("Age of the view", {"{{instance}}": "rtcdp_projection_behind_seconds"}, "s"),
        Panel("From append to view", _quantiles("rtcdp_projection_delay_seconds", 0.5, 0.99), "s"),
        Panel("Records that wait", {"{{topic}}": "sum by (topic) (rtcdp_projection_lag_records)"}),
        Panel("Records read", _rate("rtcdp_projection_records_total", "of"), "ops"),
        Panel("Views written", {"views/s": "sum(rate(rtcdp_projection_views_total[$__rate_interval]))"}, "ops"),
        Panel(
            "Complete; begun anew; unreadable",
            {
                "complete": "max(rtcdp_projection_complete)",
                "begun": "sum(rtcdp_projection_opened_total)",
                "unreadable": "sum(rtcdp_projection_unreadable_total)",
            },
        ),
    ],
    "API": [
        Panel("Requests by operation", _rate("rtcdp_api_requests_total", "operation"), "ops"),
        Panel("Requests by status", _rate("rtcdp_api_requests_total", "status"), "ops"),
        Panel("Time to the answer", _quantiles("rtcdp_api_seconds", 0.5, 0.99), "s"),
        Panel("Live streams", {"open": "sum(rtcdp_api_streams)"}),
        Panel("Records to live streams", {"records/s": "sum(rate(rtcdp_api_stream_events_total[$__rate_interval]))"}, "ops"),
        Panel(
            "Streams ended for being slow", {"ended/s": "sum(rate(rtcdp_api_stream_overruns_total[$__rate_interval]))"}, "ops"
        ),
    ],
    "Delivery": [
        Panel("Ended by outcome", _rate("rtcdp_deliveries_total", "outcome"), "ops"),
        Panel("Begun by destination", _rate("rtcdp_deliveries_taken_total", "destination"), "ops"),
        Panel("Attempts by what came of them", _rate("rtcdp_delivery_attempts_total", "verdict"), "ops"),
        Panel("From append to delivered", _quantiles("rtcdp_delivery_latency_seconds", 0.5, 0.99, by="destination"), "s"),
        Panel("Waiting", {"{{destination}}": "sum by (destination) (rtcdp_deliveries_pending)"}),
        Panel("Held (1) or off (2)", {"{{destination}}": "max by (destination) (rtcdp_destination_held)"}),
        Panel("Given up", _rate("rtcdp_deliveries_dead_total", "reason"), "ops"),
        Panel("Late by more than 10 s", {"{{destination}}": "rtcdp:delivery_late:ratio1h"}, "percentunit"),
        Panel("Reports of tools", _rate("rtcdp_delivery_reports_total", "result"), "ops"),
        Panel("Records that wait", {"{{topic}}": "sum by (topic) (rtcdp_delivery_lag_records)"}),
        Panel("Unreadable", _rate("rtcdp_delivery_unreadable_total", "topic"), "ops"),
    ],
    "Processes": [
        Panel(
            "CPU", {"{{process}} {{instance}}": 'rate(process_cpu_seconds_total{job="rtcdp"}[$__rate_interval])'}, "percentunit"
        ),
        Panel("Memory", {"{{process}} {{instance}}": 'process_resident_memory_bytes{job="rtcdp"}'}, "bytes"),
        Panel("Open files", {"{{process}} {{instance}}": 'process_open_fds{job="rtcdp"}'}),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON (schema 39)."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _grid(0, y, 24, 1)})
        for place, panel in enumerate(row):
            panels.append(_panel(panel, _grid(place % 3 * WIDTH, y + 1 + place // 3 * HEIGHT, WIDTH, HEIGHT)))
        y += 1 + -(-len(row) // 3) * HEIGHT
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "rtcdp",
        "title": "rtcdp",
        "tags": ["rtcdp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, grid: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    targets = [
        {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": source}
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    options: dict[str, Any] = (
        {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
        if panel.kind == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    )
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": source,
        "gridPos": grid,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0 if panel.unit != "s" else None}, "overrides": []},
        "options": options,
    }


def render() -> str:
    """The text of the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(render())
