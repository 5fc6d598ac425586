"""A broker whose disk is full while a worker runs: the worker says so and ends, and goes on later without a loss."""

from __future__ import annotations

import resource
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest
from confluent_kafka import Producer

from rtcdp.servers.local_kafka import LocalKafka
from tests.worker.conftest import Deployment, deployments, wait_for

RULES = """
features:
  orders: {count: Order Completed}
triggers:
  thanks:
    on: Order Completed
    payload: {orders: orders}
"""
USERS = 20


class Customers:
    """Sends orders from a thread, never giving one up; each customer's orders in order."""

    def __init__(self, shop: Deployment) -> None:
        self.sent = 0
        self._topic = shop.source
        self._producer = Producer(
            {"bootstrap.servers": shop.settings.bootstrap, "enable.idempotence": True, "message.timeout.ms": 0, "log_level": 0}
        )
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(0.01):
            user, number = self.sent % USERS, self.sent
            event = {"type": "track", "event": "Order Completed", "userId": f"u{user}", "messageId": f"m{number}"}
            self._producer.produce(self._topic, orjson.dumps(event), str(user).encode())
            self._producer.poll(0)
            self.sent += 1

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        assert self._producer.flush(60) == 0


def thanks(shop: Deployment) -> dict[str, list[int]]:
    """Of each customer, which order they were thanked for, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in shop.records(shop.settings.triggers):
        found[record["data"]["profile"]].append(record["data"]["payload"]["orders"])
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path / "kafka", brief=True) as broker:
        yield broker


@pytest.fixture
def shop(broker: LocalKafka, tmp_path: Path) -> Iterator[Deployment]:
    for deploy in deployments(broker.bootstrap, tmp_path):
        shop = deploy(stall_s=8, instance="one")
        (shop.definitions / "shop.yaml").write_text(RULES, "utf-8")
        yield shop


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_broker_out_of_space(broker: LocalKafka, shop: Deployment) -> None:
    worker = shop.worker().ready()
    customers = Customers(shop)
    wait_for(lambda: thanks(shop), what="the first thanks")

    # No file of the broker can grow any more: what a full disk is to it. It ends itself.
    psutil.Process(broker.pid).rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    assert worker.process is not None
    assert worker.process.wait(60) == 1
    assert worker.log.read_text().splitlines()[-1].startswith("rtcdp: Stalled: ")
    assert psutil.Process(broker.pid).status() == psutil.STATUS_ZOMBIE

    broker.stop(kill=True)
    broker.start()
    worker = shop.worker().ready()
    before = sum(map(len, thanks(shop).values()))
    wait_for(lambda: sum(map(len, thanks(shop).values())) > before + USERS, what="more thanks")
    customers.stop()
    wait_for(lambda: sum(map(len, thanks(shop).values())) >= customers.sent, what="all thanks")
    each = {f"main/user_id:u{user}": len(range(user, customers.sent, USERS)) for user in range(USERS)}
    assert thanks(shop) == {user: list(range(1, count + 1)) for user, count in each.items()}
    assert worker.end() == 0
