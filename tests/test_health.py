"""Health: what is alive, what is ready, and the paths that say so."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from rtcdp.errors import SettingError
from rtcdp.monitoring.health import Health, HealthServer
from rtcdp.monitoring.metrics import Metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(60, clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    metrics = Metrics()
    metrics.taken("ingest", 3)
    server = HealthServer("127.0.0.1", 0, metrics.registry, health)
    yield server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_what_has_begun_must_move_or_end(health: Health, clock: Clock) -> None:
    health.begin("restore")
    clock.now = 50
    health.moved("restore")
    clock.now = 100
    assert health.stalled() == []
    clock.now = 111
    assert health.stalled() == ["restore has stood still for 61 s"]
    health.end("restore")
    health.moved("restore")
    assert health.stalled() == []


def test_the_loop_counts_from_its_first_beat(health: Health, clock: Clock) -> None:
    clock.now = 1_000
    assert health.stalled() == []
    health.beat()
    clock.now = 1_061
    assert "event loop" in health.stalled()[0]


def test_paths(server: HealthServer, health: Health, clock: Clock) -> None:
    assert get(server, "/healthz") == (200, "ok\n")
    health.missing("restore", "restoring 3 partitions")
    assert get(server, "/readyz") == (503, "restoring 3 partitions\n")
    assert get(server, "/healthz")[0] == 200
    health.reached("restore")
    assert get(server, "/readyz") == (200, "ok\n")
    health.begin("commit of profile-events/1")
    clock.now = 61
    assert get(server, "/healthz") == (503, "commit of profile-events/1 has stood still for 61 s\n")
    assert get(server, "/readyz")[0] == 503
    status, text = get(server, "/metrics")
    assert status == 200
    assert 'rtcdp_events_in_total{agent="ingest"} 3.0' in text
    assert get(server, "/")[0] == 404


def test_an_address_in_use_is_a_bad_setting(server: HealthServer, health: Health) -> None:
    with pytest.raises(SettingError, match=f"metrics_port.*{server.port}"):
        HealthServer("127.0.0.1", server.port, Metrics().registry, health)
