"""The package segment-analytics-python as its users have it: every call arrives, as the call it was."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import segment.analytics.client as segment

from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from tests.collector.conftest import Collecting, read_all

APPENDED = 1_900_000_000_000


def calls(client: segment.Client, user: str) -> None:
    client.identify(user, {"email": "li@example.com", "name": "李雷"})
    client.track(user, "Order Completed", {"total": 12.5, "at": datetime(2025, 1, 1, tzinfo=UTC)})
    client.page(user, "Docs", "Python", {"path": "/"})
    client.screen(user, "Home")
    client.group(user, "g1", {"plan": "pro"})
    client.alias("anonymous-1", user)
    client.track(user, "Emoji 🛒", {}, anonymous_id="a1", context={"ip": "203.0.113.9"})


@pytest.mark.parametrize("options", [{}, {"gzip": True}, {"sync_mode": True}, {"upload_size": 2}], ids=str)
def test_every_call_arrives(collector: Collecting, options: dict[str, Any]) -> None:
    user, failed = uuid.uuid4().hex, []
    client = segment.Client(
        collector.key, host=collector.url, upload_interval=0.05, on_error=lambda *error: failed.append(error), **options
    )
    calls(client, user)
    if not options.get("sync_mode"):  # there each call has been answered already, and the SDK's shutdown trips
        client.shutdown()
    assert not failed
    found = [event for event in collector.events() if event.get("userId") == user]
    assert sorted(event["type"] for event in found) == ["alias", "group", "identify", "page", "screen", "track", "track"]
    by_type = {event["type"]: event for event in found}
    assert by_type["identify"]["traits"]["name"] == "李雷"
    assert by_type["group"]["groupId"] == "g1"
    assert by_type["alias"]["previousId"] == "anonymous-1"
    assert {event["context"]["library"]["name"] for event in found} == {"analytics-python"}
    assert all(event["messageId"] and event["receivedAt"] and event["timestamp"] and event["sentAt"] for event in found)
    # and ingest can use them all
    ingestor = Ingestor(TrackingPlan(), IdentityPlan(), Source("t"))
    for value in read_all(collector.bootstrap, collector.topic):
        if user.encode() in value:
            assert isinstance(ingestor.ingest(value, "t/0", 0, APPENDED), Accepted)


def test_a_wrong_key_reaches_on_error_and_nothing_else(collector: Collecting) -> None:
    failed: list[Any] = []
    client = segment.Client(
        "wrong-wrong-wrong-wrong",
        host=collector.url,
        upload_interval=0.05,
        on_error=lambda error, batch: failed.append((error, batch)),
    )
    client.track("u1", "A")
    client.shutdown()
    ((error, batch),) = failed
    assert (error.status, error.code) == (401, "unknown_key")
    assert [event["event"] for event in batch] == ["A"]
