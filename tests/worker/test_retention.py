"""How long topics keep what is in them: set on them at a worker's start, and what is taken in deleted where that is wanted."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from rtcdp.servers.preflight import preflight
from rtcdp.worker.ingest import clearing
from worker.conftest import Deploy, Deployment, wait_for

HOUR = 3_600_000


def options(shop: Deployment, topic: str) -> tuple[int, int]:
    """Retention and length of segments (ms)."""
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    (future,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    found = future.result(10)
    return int(found["retention.ms"].value), int(found["segment.ms"].value)


def test_retention_is_set_on_the_topics(deploy: Deploy) -> None:
    shop = deploy(keep_events_hours=24, keep_outputs_hours=1, keep_log_days=400)
    preflight(shop.settings.model_copy(update={"keep_events_hours": 0, "keep_outputs_hours": 0, "keep_log_days": 0}))
    before = {topic: options(shop, topic) for topic in (shop.source, shop.settings.triggers, shop.settings.events_dlq)}
    assert before[shop.source][0] == 72 * HOUR
    for _ in range(2):
        preflight(shop.settings)
        assert options(shop, shop.source) == (24 * HOUR, 6 * HOUR)
        assert options(shop, shop.settings.profile_changes) == options(shop, shop.settings.triggers) == (HOUR, HOUR // 4)
        assert options(shop, shop.settings.profile_events) == (9_600 * HOUR, 24 * HOUR)
        assert options(shop, shop.settings.events_dlq) == before[shop.settings.events_dlq], "nothing is said of it"


def first_offset(shop: Deployment) -> int:
    consumer = Consumer({"bootstrap.servers": shop.settings.bootstrap, "group.id": "look"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(shop.source, number), timeout=10)[0] for number in range(2))
    finally:
        consumer.close()


@pytest.mark.faults
def test_what_was_taken_in_is_deleted_and_a_restart_loses_nothing(deploy: Deploy) -> None:
    assert clearing.CLEAR_S <= 10
    shop, kept = deploy(delete_taken=True), deploy()
    events = [{"type": "track", "event": "Order Completed", "userId": f"u{n}", "messageId": f"m{n}"} for n in range(100)]
    for one in (shop, kept):
        worker = one.worker().ready()
        one.send(*events)
        if one is shop:
            wait_for(lambda: first_offset(shop) >= 100, 40, "the deletion")
        assert worker.end() == 0
        one.send({**events[0], "messageId": "late"})
        one.worker().ready()
        wait_for(lambda one=one: len(one.read(one.settings.profile_events)) >= 101, what="the last event")
        ids = [record.get("id") for record in one.records(one.settings.profile_events) if record["kind"] == "event"]
        assert sorted(ids) == sorted({*ids})
        assert len(ids) == 101
    assert first_offset(kept) == 0, "the control"
