"""A source that is not as it was: made again, shortened by its retention, or read by a worker that knows nothing of it."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from worker.conftest import Deploy, Deployment, wait_for

pytestmark = pytest.mark.faults


def event(number: int) -> dict[str, object]:
    return {"type": "track", "event": "Seen", "userId": f"u{number}", "messageId": f"m{number}"}


def users(shop: Deployment) -> set[str]:
    records = (
        json.loads(m.value() or b"") for m in shop.read(shop.settings.profile_events) if not (m.key() or b"").startswith(b"~")
    )
    return {record["user_id"] for record in records}


def worked(deploy: Deploy, events: int) -> Deployment:
    """A deployment that has taken so many events in, and was stopped."""
    shop = deploy(agents="ingest")
    worker = shop.worker().ready()
    shop.send(*map(event, range(events)))
    wait_for(lambda: len(users(shop)) == events, what="all events")
    assert worker.end() == 0
    return shop


def test_topic_made_again_is_read_from_its_beginning(deploy: Deploy) -> None:
    shop = worked(deploy, 20)
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    admin.delete_topics([shop.source])[shop.source].result(10)
    wait_for(lambda: shop.source not in admin.list_topics(timeout=5).topics, what="the topic gone")
    topic = NewTopic(shop.source, 2, 1, config={"message.timestamp.type": "LogAppendTime"})
    admin.create_topics([topic])[shop.source].result(10)
    shop.send(*map(event, range(100, 200)))  # more than had been done
    worker = shop.worker().ready()
    wait_for(lambda: len(users(shop)) == 120, what="every event of the new topic")
    assert worker.end() == 0


def test_events_that_retention_took_are_named_and_the_rest_is_read(deploy: Deploy) -> None:
    shop = worked(deploy, 20)
    shop.send(*map(event, range(100, 150)))
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    ends = {
        tp.partition: low.result(10)
        for tp, low in admin.delete_records([TopicPartition(shop.source, n, -1) for n in (0, 1)]).items()
    }
    assert len(ends) == 2
    shop.send(*map(event, range(200, 210)))
    worker = shop.worker().ready()
    wait_for(lambda: len(users(shop)) == 30, what="the events that are there")
    assert "are gone unread" in worker.log.read_text()
    assert worker.end() == 0


def test_lost_progress_repeats_and_loses_nothing(deploy: Deploy) -> None:
    shop = worked(deploy, 20)
    topic = shop.settings.ingest_progress
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    admin.delete_topics([topic])[topic].result(10)
    wait_for(lambda: topic not in admin.list_topics(timeout=5).topics, what="the topic gone")
    shop.send(*map(event, range(100, 110)))
    worker = shop.worker().ready()
    wait_for(lambda: len(users(shop)) == 30, what="the new events")
    assert "is not the topic it was" in worker.log.read_text()
    assert worker.end() == 0
