"""What tools report back, over HTTP, into a real Kafka."""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rtcdp.delivery import signing
from rtcdp.delivery.callbacks import LARGEST, CallbackServer
from rtcdp.delivery.loading import load
from rtcdp.delivery.measures import Measures
from rtcdp.dlq import messages
from tests.delivery.conftest import Deliver
from tests.delivery.test_signing import KEY, SECRET

YAML = f"""
callbacks:
  crm: {{secrets: whsec_{SECRET}}}
  mailer:
    token: s3cret-ünïcode
    event: "'bounced' if body.kind in ['hard', 'soft'] else body.kind"
    user_id: body.custom.user
    at: body.ts
    properties: {{link: "{{body.url}}", kind: "{{body.kind}}"}}
"""
REPORT = {"type": "opened", "profile": "main/user_id:u1", "delivery_id": "id1_carts", "timestamp": "2026-01-01T00:00:00Z"}
TOKEN = {"Authorization": "Bearer s3cret-ünïcode"}


def ask(shop: Any, *requests: tuple[str, bytes, dict[str, str]]) -> list[int]:
    async def run() -> list[int]:
        server = await CallbackServer.start(shop.settings, load(shop.settings.destinations), Measures())
        base = f"http://127.0.0.1:{server.port}/callbacks/"
        found = []
        try:
            async with aiohttp.ClientSession() as client:
                for name, body, headers in requests:
                    async with client.post(base + name, data=io.BytesIO(body), headers=headers) as answer:
                        found.append(answer.status)
        finally:
            await server.close()
        return found

    return asyncio.run(run())


def signed(body: bytes) -> dict[str, str]:
    return signing.standard([KEY], "r1", int(time.time()), body)


def test_reports_become_events_once_they_are_trusted(deliver: Deliver) -> None:
    shop = deliver(YAML, callbacks_port=0)
    topic = shop.settings.sources[0].topic
    from confluent_kafka.admin import NewTopic

    shop.admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
    body = json.dumps([REPORT, {**REPORT, "type": "seen"}, {**REPORT, "profile": "other/user_id:x"}]).encode()
    mailer = json.dumps({"kind": "hard", "custom": {"user": 42}, "ts": 1_767_225_600, "url": "https://x"}).encode()
    assert ask(
        shop,
        ("crm", body, signed(body)),
        ("crm", body, signed(body)),
        ("crm", body + b" ", signed(body)),
        ("crm", body, {}),
        ("crm", body, TOKEN),
        ("mailer", mailer, TOKEN),
        ("mailer", mailer, {"Authorization": "Bearer no"}),
        ("mailer", b"{no", TOKEN),
        ("mailer", b"x" * (LARGEST + 1), TOKEN),
        ("none", b"{}", TOKEN),
    ) == [204, 204, 401, 401, 401, 204, 401, 400, 413, 404]  # fmt: skip
    events = [json.loads(message.value() or b"") for message in messages(shop.settings, topic)]
    opened = [event for event in events if event["event"] == "Message Opened"]
    assert len({event["messageId"] for event in opened}) == 1, "a repeated report is the same event"
    assert opened[0]["userId"] == "u1"
    assert opened[0]["properties"] == {"callback": "crm", "delivery_id": "id1_carts"}
    assert opened[0]["timestamp"] == "2026-01-01T00:00:00.000Z"
    (bounced,) = [event for event in events if event["event"] == "Message Bounced"]
    assert bounced["userId"] == "42"
    assert bounced["properties"] == {"callback": "mailer", "link": "https://x", "kind": "hard"}
    assert bounced["timestamp"] == "2026-01-01T00:00:00.000Z"
    assert len(events) == len(opened) + 1


def test_503_while_there_is_no_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rtcdp.delivery import callbacks
    from rtcdp.settings.config import Settings

    monkeypatch.setattr(callbacks, "ACKNOWLEDGED_S", 0.2)
    (tmp_path / "d.yaml").write_text(YAML)

    class Shop:
        settings = Settings.load({"bootstrap": "127.0.0.1:1", "callbacks_port": 0, "destinations": str(tmp_path)})

    body = json.dumps(REPORT).encode()
    assert ask(Shop, ("crm", body, signed(body))) == [503]
