"""Proof of an erasure, by the bytes: on the broker's disk, in Redis, in what waits for delivery, in the logs, after a kill -9.

The control: the same search finds the canary where encryption is off, and everywhere before the erasure.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from rtcdp.control.commands import new_id
from rtcdp.privacy import erasure
from rtcdp.queries.inspection import profile_at
from rtcdp.sealing.parcels import shared_sealer, unpacked
from rtcdp.servers import brokers, local_kafka
from tests.delivery.conftest import Receiver, receive
from worker.conftest import Deploy, Deployment, wait_for
from worker.test_encryption import CANARY, encrypted, told

__all__ = ["receive"]  # a fixture
pytestmark = pytest.mark.faults

SHOP = """
features: {orders: {count: Order Completed}}
segments: {buyers: orders >= 1, here: orders >= 0}
triggers:
  thanks: {on: Order Completed, payload: {who: traits.email}}
"""
DESTINATIONS = """
destinations:
  slow: {url: URL/slow, secrets: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, retries: [10m]}
  crm: {url: URL/crm, secrets: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
subscriptions:
  thanks: {to: slow, triggers: "*"}
  gone: {to: crm, erasures: "*"}
"""


class Others:
    """The projection and the deliverer of a deployment, as processes. logs: what they wrote."""

    def __init__(self, shop: Deployment) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs: list[Path] = []
        config = shop.folder / "others.json"
        config.write_text(json.dumps(shop.settings.model_dump(mode="json", exclude_none=True)), "utf-8")
        for name in ("projector", "delivery"):
            program = (
                f"import json, sys; from rtcdp.settings.config import Settings; from rtcdp.{name}.main import run; "
                "sys.exit(run(Settings.load(json.load(open(sys.argv[1])))))"
            )
            self.logs.append(shop.folder / f"{name}.log")
            with self.logs[-1].open("wb") as log:
                self.processes.append(subprocess.Popen([sys.executable, "-c", program, str(config)], stdout=log, stderr=log))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def kafka_of_our_own() -> Iterator[local_kafka.LocalKafka]:
    with brokers.find("") as found:
        if not isinstance(found, local_kafka.LocalKafka):
            pytest.skip("the broker's disk is looked at: that needs one started here")
        yield found


def on_disk(broker: local_kafka.LocalKafka, *topics: str) -> list[str]:
    """Files of these topics in which the canary can be read."""
    folders = [folder for topic in topics for folder in (broker.directory / "data").glob(f"{topic}-[0-9]*")]
    assert folders
    return [str(file) for folder in folders for file in folder.glob("*.log") if CANARY.encode() in file.read_bytes()]


def in_redis(client: Any, app: str) -> list[str]:
    """Everything of the deployment in Redis that holds the canary: names, and values as Redis dumps them."""
    names = list(client.scan_iter(f"{app}:*", count=1_000))
    return [name.decode() for name in names if CANARY.encode() in name or CANARY.encode() in (client.dump(name) or b"")]


def waiting(shop: Deployment) -> list[Any]:
    """Deliveries of the person, as whoever has the keys can read them."""
    newest: dict[Any, Any] = {message.key(): message.value() for message in shop.read(shop.settings.deliveries)}
    opened = unpacked(list(newest.values()), shared_sealer(shop.settings))
    return [value for value in opened if value is not None and CANARY.encode() in value]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sealed", [True, False])
def test_nothing_of_an_erased_person_is_left(
    deploy: Deploy,
    kafka_of_our_own: local_kafka.LocalKafka,
    redis_url: str,
    receive: Callable[..., Receiver],
    tmp_path: Path,
    *,
    sealed: bool,
) -> None:
    receiver = receive(answer=lambda request: (503 if request.path == "/slow" else 200, {}))
    (tmp_path / "destinations").mkdir()
    (tmp_path / "destinations" / "all.yaml").write_text(DESTINATIONS.replace("URL", receiver.url), "utf-8")
    flags = {
        "redis": redis_url,
        "destinations": tmp_path / "destinations",
        "deliver_http": True,
        "deliver_networks": ("127.0.0.0/8",),
        **{name: f"p{tmp_path.name[-6:]}{sealed}-{name}" for name in ("deliveries", "deliveries_dlq", "delivery_commands")},
        **(encrypted(tmp_path / "keys") if sealed else {}),
    }
    shop = deploy(bootstrap=kafka_of_our_own.bootstrap, **flags)
    (shop.definitions / "shop.yaml").write_text(SHOP, "utf-8")
    worker = shop.worker().ready()
    others, client = Others(shop), redis.Redis.from_url(redis_url)
    try:
        told(shop)
        wait_for(lambda: in_redis(client, shop.name), 40, "the view")
        wait_for(lambda: waiting(shop), 40, "the delivery")
        began = time.monotonic()
        request = new_id()
        partitions = erasure.erase(shop.settings, f"anonymous_id:{CANARY}-a", erasure.command_of(request, by="dpo"))
        wait_for(lambda: erasure.receipt(shop.settings, request, partitions), what="the first mark")
        worker.end(signal.SIGKILL)
        again = shop.worker().ready()
        found = erasure.wait(shop.settings, request, partitions, 60)
        assert found is not None
        assert found.complete
        wait_for(lambda: not in_redis(client, shop.name), what="Redis without the person")
        wait_for(lambda: not waiting(shop), what="no delivery")
        asked = wait_for(lambda: [one for one in receiver.requests if one.path == "/crm"], what="the webhook")
        assert time.monotonic() - began < 60

        assert json.loads(asked[0].body)["type"] == "rtcdp.erased"
        assert f"main/user_id:{CANARY}-u" in json.loads(asked[0].body)["data"]["new"]
        assert asked[0].headers["webhook-signature"].startswith("v1,")
        logs = [one.read_text("utf-8") for one in (worker.log, again.log, *others.logs)]
        assert all(CANARY not in log for log in logs)
        assert all(profile_at(shop.settings, f"{name}:{CANARY}-{name[0]}") is None for name in ("user_id", "anonymous_id"))
        left = on_disk(kafka_of_our_own, shop.settings.profile_events, shop.settings.changelog, shop.settings.commands)
        assert bool(left) is not sealed, "on the broker's disk the person was never readable; without encryption it is"
        assert on_disk(kafka_of_our_own, shop.source), "what its readers need in the clear stays for its retention"
    finally:
        others.close()
        client.close()
