"""What goes on between a takeover and the first turn: nothing of it may be lost, and nobody may be taken for a zombie."""

from __future__ import annotations

import threading
import time

import pytest

from worker.conftest import Deploy, Deployment, wait_for

pytestmark = pytest.mark.faults
FOLDED = 'rtcdp_events_in_total{agent="profile"}'


def orders(shop: Deployment, first: int, count: int) -> None:
    numbers = range(first, first + count)
    shop.send(*({"type": "track", "event": "Order Completed", "userId": f"u{n}", "messageId": f"m{n}"} for n in numbers))


def test_what_lies_ready_is_taken_however_long_faust_takes_to_go_on(deploy: Deploy) -> None:
    """Going on after a rebalance, Faust empties the queues of its streams: a turn in one would never end."""
    shop = deploy(partitions=8)
    one = shop.worker(without="promptness").ready()
    over, sent = threading.Event(), 0

    def send() -> None:
        nonlocal sent
        while not over.wait(0.02):
            orders(shop, sent, 50)
            sent += 50

    sending = threading.Thread(target=send)
    sending.start()
    two = shop.worker().ready()
    over.set()
    sending.join()
    wait_for(lambda: one.metric(FOLDED) + two.metric(FOLDED) >= sent, 20.0, "every event folded")


def test_a_worker_that_has_no_partition_waits(deploy: Deploy) -> None:
    shop = deploy(partitions=1, stall_s=5)
    one = shop.worker().ready()
    orders(shop, 0, 10)
    two = shop.worker()
    wait_for(lambda: two.get("/readyz")[0], what="an answer")
    time.sleep(15)
    for worker in (one, two):
        assert worker.process is not None
        assert worker.process.poll() is None, worker.log.read_text()[-600:]
