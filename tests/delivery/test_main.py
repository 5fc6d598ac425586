"""The deliverer as a process: killed in the middle of deliveries, ended in order, started badly."""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from rtcdp.delivery.inputs import check_cluster
from rtcdp.delivery.main import run
from rtcdp.servers.local_process import free_port
from tests.delivery.conftest import Deliver, Delivering, Receive, Receiver, trigger
from tests.worker.conftest import wait_for

COUNT = 200
YAML = """
destinations: {{crm: {{url: {url}/hook, concurrency: 8}}}}
subscriptions: {{carts: {{to: crm, triggers: cart}}}}
"""


def killed(deliver: Deliver, receive: Receive, **after: Any) -> tuple[Delivering, Receiver, set[str]]:
    """Triggers sent, the deliverer killed when the receiver has some of them, and started again with other settings.

    Returns also the ids of the deliveries whose end was written down by then.
    """
    receiver = receive(answer=lambda request: time.sleep(0.05) or (200, {}))
    shop = deliver(YAML.format(url=receiver.url), instance="one")
    shop.start()
    shop.send(*(trigger(n) for n in range(COUNT)))
    wait_for(lambda: len(receiver.requests) >= COUNT // 4, what="a quarter of the requests")
    shop.end(signal.SIGKILL)
    assert len(receiver.requests) < COUNT, "the kill came too late to show anything"
    ended = {event["messageId"].removesuffix("-delivered") for event in shop.outcomes()}
    shop.start(**after)
    return shop, receiver, ended


def test_kill_9_loses_nothing_and_repeats_with_equal_id_and_body(deliver: Deliver, receive: Receive) -> None:
    shop, receiver, ended = killed(deliver, receive)
    wait_for(lambda: len(set(receiver.ids())) == COUNT, what="every delivery")
    wait_for(lambda: len(shop.outcomes()) >= COUNT and not shop.pending(), what="every end")
    bodies = defaultdict(set)
    for request in receiver.requests:
        bodies[request.id].add(request.body)
    assert all(len(of_one) == 1 for of_one in bodies.values())
    again = {identity for identity, count in Counter(receiver.ids()).items() if count > 1}
    assert not again & ended, "what had ended before the kill was done again"
    assert sorted(event["messageId"] for event in shop.outcomes()) == sorted(f"id{n}_carts-delivered" for n in range(COUNT))
    began = time.monotonic()
    assert shop.end() == 0
    assert time.monotonic() - began < 10


@pytest.mark.faults
def test_control_without_the_state_a_kill_loses_deliveries(deliver: Deliver, receive: Receive) -> None:
    shop, receiver, _ = killed(deliver, receive, deliveries="none", app="other", deliver_from="latest")
    shop.admin.delete_topics(["none"])
    shop.send(trigger(999))
    wait_for(lambda: "id999_carts" in receiver.ids(), what="what came after")
    assert len(set(receiver.ids())) < COUNT


@pytest.mark.faults
def test_two_share_the_partitions_and_one_takes_over(deliver: Deliver, receive: Receive) -> None:
    receiver = receive(answer=lambda request: time.sleep(0.02) or (200, {}))
    shop = deliver(YAML.format(url=receiver.url))
    first = shop.start()
    shop.send(*(trigger(n) for n in range(COUNT)))
    second = shop.start(metrics_port=free_port())
    wait_for(lambda: len(receiver.requests) >= COUNT // 2, what="half of the requests")
    first.kill()
    wait_for(lambda: len(set(receiver.ids())) == COUNT, 40.0, "every delivery")
    wait_for(lambda: not shop.pending(), what="every end")
    assert len(shop.outcomes()) == COUNT
    assert second.poll() is None


def test_bad_starts_say_why_and_end_with_2(deliver: Deliver, capfd: pytest.CaptureFixture[str]) -> None:
    shop = deliver(YAML.format(url="https://crm.example.com"))
    assert run(shop.settings.model_copy(update={"destinations": None})) == 2
    assert "destinations: no folder" in capfd.readouterr().err
    (shop.folder / "destinations.yaml").write_text("destinations: {crm: {url: ftp://x}}")
    assert run(shop.settings) == 2
    assert "destinations.yaml:1:27: an address of the form https://HOST/PATH is expected" in capfd.readouterr().err


def test_partitions_must_be_equal(deliver: Deliver) -> None:
    from confluent_kafka.admin import NewTopic

    from rtcdp.errors import ClusterError

    shop = deliver(YAML.format(url="https://crm.example.com"))
    shop.admin.create_topics([NewTopic(shop.settings.deliveries, 3, 1, config={"cleanup.policy": "compact"})])[
        shop.settings.deliveries
    ].result(20)
    with pytest.raises(ClusterError, match=r"has 2 partitions and .* has 3"):
        check_cluster(shop.settings)


def test_how_long_things_are_kept_is_set_on_topics_that_are_there(deliver: Deliver) -> None:
    from confluent_kafka.admin import ConfigResource, NewTopic

    shop = deliver(YAML.format(url="https://crm.example.com"), keep_letters_hours=48, keep_commands_hours=0)
    names = (shop.settings.deliveries, shop.settings.deliveries_dlq, shop.settings.delivery_commands)
    for name, cleanup in zip(names, ("compact", "delete", "delete"), strict=True):
        shop.admin.create_topics([NewTopic(name, 2, 1, config={"cleanup.policy": cleanup})])[name].result(20)

    def kept() -> list[tuple[str | None, ...]]:
        asked = shop.admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in names])
        found = {one.name: {key: entry.value for key, entry in future.result(20).items()} for one, future in asked.items()}
        deliveries, letters, commands = (found[name] for name in names)
        return [
            (deliveries["max.compaction.lag.ms"], deliveries["segment.ms"]),
            (letters["retention.ms"], letters["segment.ms"]),
            (commands["retention.ms"],),
        ]

    wanted = [
        ("3600000", "600000"),
        (f"{48 * 3_600_000}", f"{12 * 3_600_000}"),
        (f"{7 * 86_400_000}",),  # nothing is said of it: as the broker has it
    ]
    for _ in range(2):
        check_cluster(shop.settings)
        wait_for(lambda: kept() == wanted, what="how long topics keep things")
