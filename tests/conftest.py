"""Real servers for the tests, each started once per run, on first use.

RTCDP_TEST_BOOTSTRAP and RTCDP_TEST_REDIS name servers that run already. Where no Kafka can be started, the tests that need one
are skipped loudly; with CI=true they fail.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck, settings

from rtcdp import brokers
from rtcdp.errors import ClusterError
from rtcdp.redis_server import RedisServer

MakeTopic = Callable[..., str]

# `pytest --hypothesis-profile=thorough` looks much further than an everyday run. No deadlines: the machine may be busy.
settings.register_profile("everyday", deadline=None)
settings.register_profile("thorough", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("everyday")

_missing: list[str] = []


def _unavailable(reason: str) -> None:
    """Fail in CI, skip elsewhere, and remember to shout at the end."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"CI does not pass without real servers: {reason}", pytrace=False)
    if reason not in _missing:
        _missing.append(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in red, what was not tested."""
    for reason in _missing:
        terminalreporter.write_sep("!", "NOT TESTED AGAINST A REAL SERVER", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of a real Apache Kafka, shared by the whole run: use topics of your own (`topic`)."""
    try:
        broker = brokers.find(os.environ.get("RTCDP_TEST_BOOTSTRAP", ""))
    except ClusterError as error:
        _unavailable(str(error))
        return
    with broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis, shared by the whole run: use keys of your own."""
    try:
        with RedisServer(os.environ.get("RTCDP_TEST_REDIS", "")) as server:
            yield server.url
    except ClusterError as error:
        _unavailable(str(error))


@pytest.fixture
def embedded() -> Iterator[brokers.EmbeddedKafka]:
    """A mock broker of the test's own: `.bootstrap`, `.create_topic(name, partitions)`, `.broker_down()`, `.broker_up()`."""
    with brokers.EmbeddedKafka(quiet=True) as broker:
        yield broker


@pytest.fixture
def topic(kafka: str) -> Iterator[MakeTopic]:
    """`topic(partitions=4, config={...}, name="t")` creates a topic on `kafka` and returns its name; deletes it at the end."""
    admin = AdminClient({"bootstrap.servers": kafka})
    made: list[str] = []

    def create(partitions: int = 4, config: Mapping[str, str] | None = None, name: str = "t") -> str:
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        admin.create_topics([NewTopic(unique, partitions, 1, config=dict(config or {}))])[unique].result(30)
        made.append(unique)
        return unique

    yield create
    if made:
        admin.delete_topics(made)  # nobody waits for it
