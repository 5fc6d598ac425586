"""Dockerfile, Compose, Kubernetes: what they name exists, what they set is a setting, objects are of Kubernetes' schemas."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.main import get_command

from rtcdp.cli import app
from rtcdp.delivery.loading import load as load_destinations
from rtcdp.rules.loading.folder import load as load_definitions
from rtcdp.servers.local_process import free_port
from rtcdp.settings.config import Settings
from tests.worker.conftest import wait_for

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.33"
COMMANDS = set(get_command(app).commands)


def documents(path: Path) -> list[Any]:
    """As Kubernetes and Compose read YAML: the older one."""
    return list(yaml.load_all(path.read_text(), yaml.CSafeLoader))


def objects() -> list[Any]:
    return [one for path in sorted(KUBERNETES.glob("*.yaml")) if path.stem != "kustomization" for one in documents(path)]


def workloads() -> list[Any]:
    return [one for one in objects() if one["kind"] in ("StatefulSet", "Deployment")]


def settings_of(variables: dict[str, str], **more: Any) -> Settings:
    flags = {name.removeprefix("RTCDP_").lower(): value for name, value in variables.items() if name != "RTCDP_CONFIG"}
    return Settings.load({**more, **flags})


def _default(text: str) -> str:
    """A text of Compose where no variable is set."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


# ---- Docker


def test_the_image_is_built_of_everything_that_the_package_needs() -> None:
    """Hatch puts files from outside of src into the wheel: without them the build in the image fails."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = {
        word.rstrip("/") for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()
    }
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for path in [*needed["force-include"], *needed["packages"]]:
        assert any(path == one or path.startswith(f"{one}/") for one in copied), path
    assert all((ROOT / one).exists() for one in copied)
    assert re.search(r"^USER 10001$", text, re.MULTILINE)


def test_compose_runs_commands_that_exist_with_settings_that_are_some() -> None:
    (compose,) = documents(ROOT / "docker-compose.yml")
    ours = {name: one for name, one in compose["services"].items() if one.get("image") == "rtcdp"}
    assert {"worker", "collector", "project", "serve", "deliver"} <= set(ours)
    for name, service in ours.items():
        assert service["command"] == [name]
        assert name in COMMANDS
        settings_of({key: _default(str(value)) for key, value in service["environment"].items()})
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name} is open to the network"
        for volume in service.get("volumes", []):
            source = _default(volume).split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists() or source == "./destinations", volume


def test_compose_is_of_its_schema() -> None:
    """Where processes, health checks and volumes are misspelt, Compose says so only when somebody starts it."""
    from compose_spec import PyCompose

    (compose,) = documents(ROOT / "docker-compose.yml")
    schema = PyCompose.from_json(_default(json.dumps(compose)))
    assert len(schema.service_names()) == len(compose["services"]) == 9
    compose["services"]["redis"]["healthchek"] = compose["services"]["redis"].pop("healthcheck")
    with pytest.raises(ValueError, match="healthchek"):
        PyCompose.from_json(_default(json.dumps(compose)))


def test_what_compose_waits_for_can_be_waited_for() -> None:
    (compose,) = documents(ROOT / "docker-compose.yml")
    services = compose["services"]
    for name, service in services.items():
        checked = "healthcheck" in service or service["image"] == "rtcdp"  # the image has one of its own
        assert checked, name
        assert service["restart"] == "unless-stopped", name
        for other in service.get("depends_on", ()):
            assert other in services
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len({port.split(":")[1] for port in published}) == len(published) == 6
    (grafana,) = documents(ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml")
    assert grafana["datasources"][0]["url"] == "http://prometheus:9090"
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    settings_of(dict(re.findall(r"(RTCDP_[A-Z_]+)=(\S+)", image)))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", image)) == set(extras)


def test_prometheus_knows_the_names_of_compose() -> None:
    (compose,) = documents(ROOT / "docker-compose.yml")
    (prometheus,) = documents(ROOT / "deploy" / "prometheus" / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    for group in job["static_configs"]:
        assert {target.partition(":")[0] for target in group["targets"]} <= set(compose["services"])


# ---- Kubernetes


@pytest.mark.parametrize("thing", objects(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_objects_are_of_kubernetes_schemas(thing: Any) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(thing, VERSION, strict=True)


def test_a_misspelt_field_is_found() -> None:
    import kubernetes_validate

    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectr": {"a": "b"}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.mark.parametrize("thing", workloads(), ids=lambda one: one["metadata"]["name"])
def test_workloads_run_what_exists_safely(thing: Any) -> None:
    name, spec = thing["metadata"]["name"], thing["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"] == [name]
    assert name in COMMANDS
    (settings,) = [one for one in objects() if one["kind"] == "ConfigMap"]
    file = tomllib.loads(settings["data"]["rtcdp.toml"])
    found = settings_of({one["name"]: one.get("value", "pod-0") for one in container["env"]}, **file)
    assert found.metrics_port == next(port["containerPort"] for port in container["ports"] if port["name"] == "metrics")
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["automountServiceAccountToken"] is False
    mounted, volumes = ({one["name"] for one in container["volumeMounts"]}, {one["name"] for one in spec["volumes"]})
    assert mounted == volumes
    if thing["kind"] == "StatefulSet":
        assert found.instance == "pod-0", "a stable name is what a StatefulSet is for"
        assert any(one["kind"] == "Service" and one["metadata"]["name"] == thing["spec"]["serviceName"] for one in objects())


def test_selectors_select_something() -> None:
    labels = {one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] for one in workloads()}
    for thing in objects():
        if thing["kind"] in ("Service", "PodDisruptionBudget"):
            selector = thing["spec"]["selector"]
            assert selector.get("matchLabels", selector)["app.kubernetes.io/component"] in labels


def test_the_base_names_all_its_files_and_they_can_be_used() -> None:
    (base,) = documents(KUBERNETES / "kustomization.yaml")
    assert set(base["resources"]) == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert all((KUBERNETES / file).exists() for one in base["configMapGenerator"] for file in one["files"])
    assert load_definitions(KUBERNETES / "definitions").triggers
    assert load_destinations(KUBERNETES / "destinations", secrets=False).subscriptions


# ---- one machine


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(["-d", "rules"], "shop.yaml:1:15"), (["--destinations", "outlets.yaml"], "outlets.yaml:2:28: unknown option 'changes'")],
)
def test_up_says_what_is_wrong_before_it_starts_anything(tmp_path: Path, wrong: list[str], said: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.yaml").write_text("segments: {a: ordrs >= 1}")
    (tmp_path / "outlets.yaml").write_text("destinations: {b: {file: o}}\nsubscriptions: {a: {to: b, changes: x, triggers: t}}")
    command = [sys.executable, "-m", "rtcdp.cli", "up", *wrong]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr
    assert not (tmp_path / ".rtcdp").exists()


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_up_runs_everything_and_ends_it_together(kafka: str, redis_url: str, tmp_path: Path) -> None:
    """The second half: one process that is killed ends all, with a word about it."""
    metrics, collector = free_port(), free_port()
    (tmp_path / "outlets.yaml").write_text(
        "destinations: {bi: {file: out.ndjson}}\nsubscriptions: {a: {to: bi, triggers: '*'}}"
    )
    variables = {
        "RTCDP_REDIS": redis_url,
        "RTCDP_METRICS_PORT": str(metrics),
        "RTCDP_COLLECTOR_PORT": str(collector),
        "RTCDP_COLLECTOR_KEYS": str(tmp_path / "keys.json"),
        "RTCDP_API_PORT": str(free_port()),
        "RTCDP_API_TOKENS": str(tmp_path / "tokens.json"),
        "RTCDP_STATE_DIR": str(tmp_path / "state"),
    }
    folders = ["-d", str(ROOT / "examples" / "shop"), "--destinations", str(tmp_path / "outlets.yaml")]
    command = [sys.executable, "-m", "rtcdp.cli", "up", *folders, "-b", kafka, "--app", f"up{metrics}"]
    for kill in (False, True):
        output = tmp_path / f"up-{kill}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            wait_for(lambda output=output: re.search("everything runs|ended|rtcdp:", output.read_text()), 120.0, "up")
            assert process.poll() is None, output.read_text()
            for place in range(5):
                with urllib.request.urlopen(f"http://127.0.0.1:{metrics + place}/readyz", timeout=5) as answer:
                    assert answer.status == 200
            began = time.monotonic()
            if kill:
                children = psutil.Process(process.pid).children()
                next(child for child in children if child.cmdline()[-1] == "deliver").kill()
            else:
                process.send_signal(signal.SIGTERM)
            assert process.wait(25) == (1 if kill else 0)
            assert time.monotonic() - began < 20
            assert ("deliver ended with code" in output.read_text()) == kill
        finally:
            process.kill()
            process.wait()
