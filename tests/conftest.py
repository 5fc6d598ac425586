"""Real servers for the tests, each started once per run, on first use.

RTCDP_TEST_BOOTSTRAP and RTCDP_TEST_REDIS name servers that run already. Where no Kafka can be started, or a program is missing,
the tests that need it are skipped loudly; with CI=true they fail.
"""

from __future__ import annotations

import os
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck, settings
from servers import Elsewhere, Missing, Servers

from rtcdp.servers import embedded_kafka

zoneinfo.reset_tzpath(to=())  # oracles read the pinned rules too: the machine's may be of another year

MakeTopic = Callable[..., str]

# `pytest --hypothesis-profile=thorough` looks much further than an everyday run. No deadlines: the machine may be busy.
settings.register_profile("everyday", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("everyday")

SERVERS = pytest.StashKey[Servers | Elsewhere]()
HERE = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Processes of pytest-xdist use the servers of the one that controls them."""
    given = getattr(config, "workerinput", {}).get("servers")
    config.stash[SERVERS] = Elsewhere(*given) if given else Servers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist where the servers are."""
    servers = node.config.stash[SERVERS]
    assert isinstance(servers, Servers)
    node.workerinput["servers"] = servers.listen()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what lies here."""
    session.config.stash[HERE] = _here(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run leaves nothing where it was started: files of tests belong into `tmp_path`."""
    left = _here(session.config) - session.config.stash[HERE]
    if left and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.get_terminal_writer().line(f"\nLEFT BEHIND by a test: {', '.join(sorted(left))}", red=True)


def _here(config: pytest.Config) -> set[str]:
    return {path.name for path in config.rootpath.iterdir() if not path.name.startswith(".")}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    config.stash[SERVERS].close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For pytest-xdist, which gives a file to one process: what waits for servers comes first, the rest fills up."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "kafka" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Kafka starts beside the tests that do not need it."""
    wanted = any("kafka" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        session.config.stash[SERVERS].prepare("kafka")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at the end, in red, what was not tested."""
    for reason in getattr(config.stash[SERVERS], "missing", ()):
        terminalreporter.write_sep("!", "NOT TESTED", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)


def _get(config: pytest.Config, name: str) -> str:
    """A server's address, a program's path; without it the test fails in CI and is skipped elsewhere."""
    try:
        return config.stash[SERVERS].get(name)
    except Missing as reason:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI does not pass without the real thing: {reason}", pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> str:
    """Bootstrap address of a real Apache Kafka, shared by the whole run: use topics of your own (`topic`)."""
    return _get(pytestconfig, "kafka")


@pytest.fixture(scope="session")
def limited_kafka(pytestconfig: pytest.Config) -> str:
    """Another address of the Kafka of `kafka`, for `servers.LIMITED_USER`, who has no permissions there."""
    return _get(pytestconfig, "limited")


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """URL of a real Redis, shared by the whole run: use keys of your own."""
    return _get(pytestconfig, "redis")


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> str:
    """Path of a real Chromium."""
    return _get(pytestconfig, "chromium")


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> str:
    """Path of Prometheus's checker of rules and alerts."""
    return _get(pytestconfig, "promtool")


@pytest.fixture
def embedded() -> Iterator[embedded_kafka.EmbeddedKafka]:
    """A mock broker of the test's own: `.bootstrap`, `.create_topic(name, partitions)`, `.broker_down()`, `.broker_up()`."""
    with embedded_kafka.EmbeddedKafka(quiet=True) as broker:
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
