"""A served deployment: a log, a projection of it, and the API in a thread, over real servers."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from confluent_kafka import Producer

from rtcdp.delivery.measures import Measures
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.monitoring.health import Health, HealthServer
from rtcdp.monitoring.metrics import now_ms
from rtcdp.queries.inspection import partition_of
from rtcdp.serving.api.main import Server
from rtcdp.serving.api.tokens import SCOPES, TokenFile, new_token
from rtcdp.serving.server import listen
from rtcdp.times.timestamps import rfc3339
from tests.projector.conftest import PARTITIONS, Log, Running
from tests.worker.conftest import wait_for

DEFINITIONS = """
consent: {purposes: {marketing: denied}}
features:
  orders: {count: Order Completed}
segments:
  buyers: {if: orders >= 1, description: Bought something}
  loyal: orders >= 3
tags:
  level: {value: "'gold' if orders >= 2 else 'new'", when: orders >= 1}
lifecycle:
  stages: [{regular: orders >= 2}, {new: "true"}]
triggers:
  thanks: {on: Order Completed, payload: {orders: orders}, channel: email, cap: {times: 2, per: 1d}, max_age: 2000d}
"""


class Reply:
    """What was answered."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks with one token."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address, token

    def request(self, path: str, body: Any = None, **headers: str) -> urllib.request.Request:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib.request.Request(self.address + path, data=data, headers=sent)

    def __call__(self, path: str, body: Any = None, **headers: str) -> Reply:
        try:
            with urllib.request.urlopen(self.request(path, body, **headers), timeout=15) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())


class Served:
    """The API in a thread, and what a deliverer would tell of itself. `client(*scopes)` asks with a token for these."""

    def __init__(self, log: Log, folder: Path) -> None:
        self.log = log
        self.deliverer = Measures(["crm", "chat", "bi"])
        self._told = HealthServer("127.0.0.1", 0, self.deliverer.registry, Health(60))
        self.settings = log.settings.model_copy(
            update={
                "api_tokens": folder / "tokens.json",
                "pseudonym_key": folder / "pseudonym.key",
                "deliver_metrics": (f"127.0.0.1:{self._told.port}",),
            }
        )
        extra, self.text = new_token("all", list(SCOPES), ["main", "eu"])
        self.server = Server(self.settings, extra=extra)
        self._bound = listen("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._bound.getsockname()[1]}"
        config = uvicorn.Config(self.server.app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [self._bound]})
        self._thread.start()
        wait_for(lambda: self._uvicorn.started, what="the API")

    @property
    def ask(self) -> Client:
        return Client(self.address, self.text)

    def client(self, *scopes: str, tenants: Sequence[str] = ("main",), name: str = "test") -> Client:
        """Asks with a token of its own."""
        _, text = TokenFile(self.settings.api_tokens).add(name, scopes, tenants)
        self.server.tokens.reload()
        return Client(self.address, text)

    def close(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._told.close()


def logged(served: Served, *buyers: tuple[str, str]) -> None:
    """Orders in the log alone, now: by tenant and user. Nothing folds them."""
    definitions, settings = served.log.definitions, served.settings
    producer = Producer({"bootstrap.servers": settings.bootstrap, "log_level": 0})
    for offset, (tenant, user) in enumerate(buyers):
        ingestor = Ingestor(definitions.tracking, definitions.identity, Source(f"of-{tenant}", tenant=tenant, time="event"))
        raw = {"type": "track", "event": "Order Completed", "userId": user, "messageId": f"b{offset}"}
        value = json.dumps(raw | {"timestamp": rfc3339(now_ms())}).encode()
        found = ingestor.ingest(value, f"of-{tenant}/0", offset, now_ms())
        assert isinstance(found, Accepted)
        producer.produce(settings.profile_events, found.value, found.key, partition_of(found.key, PARTITIONS))
    assert producer.flush(30) == 0


def deployment(kafka: str, redis_url: str, folder: Path) -> Iterator[Served]:
    """Three customers of a shop: ann with three orders, bob with one, cat with none."""
    (folder / "definitions").mkdir()
    log = Log(kafka, redis_url, folder / "definitions", DEFINITIONS)
    made = log.admin.create_topics(
        log.more_topics("commands", "events_dlq", "profile_events", "deliveries_dlq", "delivery_commands")
    )
    for future in made.values():
        future.result(30)
    log.traits("ann", "cat", email="Ann@Example.com", name="安")
    log.orders("ann", "ann", "ann", "bob")
    running = Running(log.settings).ready()
    served = Served(log, folder)
    wait_for(lambda: len(served.ask("/v1/profiles/user_id/ann/timeline").json["records"]) >= 7, what="the timeline")
    wait_for(lambda: served.ask("/v1/profiles/user_id/nobody").status == 404, what="a view that is filled")
    yield served
    served.close()
    running.stop()
    log.close()


@pytest.fixture(scope="module")
def served(kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A deployment of the module's own."""
    yield from deployment(kafka, redis_url, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def still(kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A deployment that several modules share: whoever changes it puts it back."""
    yield from deployment(kafka, redis_url, tmp_path_factory.mktemp("still"))
