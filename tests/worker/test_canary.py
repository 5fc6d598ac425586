"""What is inside an event never reaches a log: the whole process, at the most talkative level, with every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path

from tests.worker.conftest import Deploy, wait_for

CANARY = "canary7f3a9c"
SPOILT = [
    json.dumps(
        {"type": "track", "event": CANARY, "userId": CANARY, "messageId": CANARY, "properties": {CANARY: CANARY}}
    ).encode(),
    json.dumps({"type": "identify", "userId": CANARY, "traits": {"email": f"{CANARY}@x.com", "phone": CANARY}}).encode(),
    b'{"type": "track", "event": "x", "userId": "' + CANARY.encode(),
    json.dumps({"type": CANARY, "userId": CANARY}).encode(),
    json.dumps({"type": "track", "event": "x", "userId": {"a": CANARY}}).encode(),
    json.dumps({"type": "track", "event": "x", "userId": "u", "timestamp": CANARY}).encode(),
    json.dumps([CANARY]).encode(),
    CANARY.encode() + b"\xff\xfe",
    json.dumps({"type": "track", "event": "x", "userId": "u", "properties": {"a": CANARY * 50_000}}).encode(),
]


def logged(path: Path) -> str:
    text = path.read_text(errors="replace")
    assert "settings:" in text, "the log itself is empty"
    return text


def test_a_worker_logs_nothing_of_its_events(deploy: Deploy) -> None:
    shop = deploy(log_level="debug", log_format="json")
    worker = shop.worker().ready()
    shop.send(*SPOILT)
    wait_for(lambda: len(shop.records(shop.settings.events_dlq)) >= 6, what="dead letters")
    wait_for(lambda: worker.metric('rtcdp_events_in_total{agent="profile"}') >= 2, what="the good ones folded")
    assert worker.end() == 0
    assert CANARY not in logged(worker.log)
    assert any(CANARY in json.dumps(letter) or letter["original"] for letter in shop.records(shop.settings.events_dlq))
