"""Rules, alerts, dashboard and pages are about metrics that exist, and about each other."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from ruamel.yaml import YAML

from rtcdp.delivery.measures import Measures as DeliveryMeasures
from rtcdp.monitoring.metrics import Metrics
from rtcdp.projector.measures import Measures as ProjectionMeasures
from rtcdp.serving.api.counts import Counts as ApiCounts
from rtcdp.serving.collector.counts import Counts as CollectorCounts

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGE = ROOT / "docs" / "monitoring.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
_NAME = re.compile(r"\b(?:rtcdp|process)[_:][a-zA-Z0-9_:]+")
_TEXT = re.compile(r'"[^"]*"')


def families() -> list[Any]:
    """Every metric of every process."""
    counted = (Metrics(), DeliveryMeasures(["d"]), ProjectionMeasures(), CollectorCounts({}), ApiCounts())
    registries = [one.registry for one in counted]
    return [family for registry in registries for family in registry.collect() if family.name.startswith("rtcdp_")]


def sample_names() -> set[str]:
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    return {family.name + suffix for family in [*families(), *own.collect()] for suffix in SUFFIXES[family.type]}


def read(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((PROMETHEUS / name).read_text())


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in read(name)["groups"] for rule in group["rules"]]


def dashboard() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "deploy" / "grafana" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unknown(query: str) -> set[str]:
    """Names in a query that are neither a metric nor recorded."""
    known = sample_names() | {rule["record"] for rule in rules("rules.yml")}
    return set(_NAME.findall(_TEXT.sub('""', query))) - known


def test_a_wrong_name_is_found() -> None:
    assert unknown('rate(rtcdp_events_in_totl{agent="rtcdp_x"}[5m]) > rtcdp:nothing') == {
        "rtcdp_events_in_totl",
        "rtcdp:nothing",
    }


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_rules_and_alerts_name_metrics_that_exist(name: str) -> None:
    for rule in rules(name):
        assert not unknown(rule["expr"]), rule


def test_the_dashboard_names_metrics_that_exist_and_is_the_generated_one() -> None:
    module = dashboard()
    queries = [query for row in module.ROWS.values() for panel in row for query in panel.queries.values()]
    assert len(queries) > 50
    for query in queries:
        assert not unknown(query), query
    assert module.FILE.read_text() == module.render(), "write it anew: python deploy/grafana/generate.py"


def test_every_metric_is_watched() -> None:
    """On the dashboard, in a rule or in an alert: what nobody looks at need not be measured."""
    module = dashboard()
    texts = [query for row in module.ROWS.values() for panel in row for query in panel.queries.values()]
    texts += [rule["expr"] for name in ("rules.yml", "alerts.yml") for rule in rules(name)]
    used = {name for text in texts for name in _NAME.findall(text)}
    missing = [one.name for one in families() if not any(one.name + suffix in used for suffix in SUFFIXES[one.type])]
    assert sorted(set(missing) - {"rtcdp_collector_batch_events"}) == []


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    alerts = {rule["alert"]: rule for rule in rules("alerts.yml")}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(alerts)
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert rule["expr"] in text, "the page shows another expression"
        assert all(part in text for part in (f"# {name}\n", "**Why it matters.**", "\n## Look\n", "\n## Do\n"))


def test_objectives_name_alerts_that_exist() -> None:
    linked = set(re.findall(r"runbooks/(\w+)\.md", PAGE.read_text()))
    assert linked <= {rule["alert"] for rule in rules("alerts.yml")}


def test_the_page_lists_every_metric() -> None:
    lines = []
    for family in sorted(families(), key=lambda one: one.name):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        lines.append((name, labels, family.documentation))
    text = PAGE.read_text()
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    for name, labels, about in lines:
        row = re.search(rf"^\| `{name}` \| (.*) \| (.*) \|$", table, re.MULTILINE)
        assert row is not None, f"| `{name}` | {', '.join(labels)} | {about} |"
        assert set(labels) <= set(re.findall(r"\w+", row[1]))
    assert len(table.splitlines()) == len(lines)


@pytest.mark.parametrize("command", [("check", "config", "prometheus.yml"), ("test", "rules", "tests.yml")])
def test_promtool_agrees(promtool: str, command: tuple[str, ...]) -> None:
    found = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
