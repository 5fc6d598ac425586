"""A worker whose broker answers no more ends by itself, with one line that says why; nobody has to notice a zombie."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rtcdp.servers.local_kafka import LocalKafka
from worker.conftest import Deployment, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def test_broker_that_stands_still_is_an_exit_within_a_minute(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    with LocalKafka() as broker:
        shop = Deployment(broker.bootstrap, tmp_path / "shop", instance="one")
        worker = shop.worker().ready()
        shop.send(*({"type": "track", "event": "Order Completed", "userId": f"u{n}", "messageId": f"m{n}"} for n in range(50)))
        wait_for(lambda: worker.metric('rtcdp_events_in_total{agent="profile"}') >= 50, what="50 events folded")
        os.kill(broker.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            assert worker.process is not None
            assert worker.process.wait(100) == 1
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        assert time.monotonic() - began < 75, "the limit is a minute, and this machine may be busy"
        assert worker.log.read_text().splitlines()[-1].startswith("rtcdp: Stalled: ")
