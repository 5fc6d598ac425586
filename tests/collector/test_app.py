"""What settings and keys make of an event, with a sender that only remembers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rtcdp.monitoring.spans import Spans
from rtcdp.serving.collector.app import Collector, Destination, application
from rtcdp.serving.collector.refusals import Refusal
from rtcdp.serving.collector.sender import Headers, Record
from rtcdp.serving.collector.write_keys import KeyFile, KeyRing
from rtcdp.settings.config import Settings


class Remembering:
    """Takes records as Kafka would, at once."""

    pending = pending_bytes = 0

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.headers: Headers = []
        self.away = False

    def start(self) -> None:
        """Nothing to start."""

    async def send(self, records: Sequence[Record], headers: Headers) -> None:
        if any(b"trip over" in record.value for record in records):
            raise ZeroDivisionError("a secret of ours")
        if self.away:
            raise Refusal("broker_away", "not now", retry_after=2)
        self.records += records
        self.headers = headers


class Scene:
    """A collector with these settings, and one key."""

    def __init__(
        self, folder: Path, *, own_time: bool = False, server: bool = False, spans: Spans | None = None, **settings: Any
    ) -> None:
        file = KeyFile(folder / "keys.json")
        _, self.key = file.add("web", "events", server=server)
        told = Settings.load({"collector_keys": file.path, **settings})
        self.sender = Remembering()
        self.collector = Collector(
            told,
            KeyRing(file.path, ["events"]),
            self.sender,  # type: ignore[arg-type]  # as much of one as is needed
            {"events": Destination("events", own_time=own_time)},
            dead_letters="dlq",
            letter_bytes=200_000,
            beat=lambda: None,
            spans=spans,
        )
        self.app = application(self.collector, told)

    def post(self, body: Any, call: str = "track", **headers: str) -> tuple[int, Any]:
        """Status and answer."""
        credentials = base64.b64encode(f"{self.key}:".encode())
        fields = [(b"authorization", b"Basic " + credentials), (b"user-agent", b"Phone/1")]
        fields += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": f"/v1/{call}", "root_path": "", "headers": fields}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.app({**scope, "client": ("203.0.113.77", 5), "scheme": "http"}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    def context(self, body: Any, **headers: str) -> Any:
        """The context that an event gets."""
        assert self.post(body, **headers)[0] == 200
        return json.loads(self.sender.records[-1].value).get("context")


EVENT = {"event": "A", "userId": "u1"}


def test_the_address_is_the_clients_also_behind_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    forwarded = "198.51.100.9, 203.0.113.50"
    trusting = Scene(tmp_path, collector_proxies="203.0.113.0/24")
    assert trusting.context(EVENT, x_forwarded_for=forwarded)["ip"] == "198.51.100.9"
    assert trusting.context(EVENT)["ip"] == "203.0.113.77"
    (tmp_path / "other").mkdir()
    assert Scene(tmp_path / "other").context(EVENT, x_forwarded_for=forwarded)["ip"] == "203.0.113.77"


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ({}, {"ip": "203.0.113.77", "userAgent": "Phone/1"}),
        ({"collector_ip": "cut"}, {"ip": "203.0.113.0", "userAgent": "Phone/1"}),
        ({"collector_ip": "drop"}, {"userAgent": "Phone/1"}),
        ({"collector_user_agent": "false"}, {"ip": "203.0.113.77"}),
        ({"collector_ip": "drop", "collector_user_agent": "false"}, None),
        ({"server": True}, None),
    ],
)
def test_settings_and_keys_say_what_is_taken_of_the_connection(tmp_path: Path, settings: Any, context: Any) -> None:
    assert Scene(tmp_path, **settings).context(EVENT) == context


def test_a_source_with_its_own_time_is_not_stamped(tmp_path: Path) -> None:
    scene = Scene(tmp_path, own_time=True)
    scene.post(EVENT | {"receivedAt": "2001-01-01T00:00:00Z"})
    assert json.loads(scene.sender.records[0].value)["receivedAt"] == "2001-01-01T00:00:00Z"


def test_records_say_their_source_and_their_trace(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    scene.post(EVENT, traceparent=trace)
    assert scene.sender.headers == [("rtcdp-source", b"web"), ("traceparent", trace.encode())]
    scene.post(EVENT, traceparent="00-nonsense")
    assert scene.sender.headers == [("rtcdp-source", b"web")]


def test_an_event_too_large_for_a_letter_leaves_its_beginning_and_its_hash(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    large = EVENT | {"type": "track", "properties": {"text": "x" * 600_000}}
    status, answer = scene.post({"batch": [large, EVENT | {"type": "track"}]}, "batch")
    assert (status, answer["accepted"], answer["errors"][0]["code"]) == (200, 1, "too_large")
    letter, event = scene.sender.records
    assert (letter.topic, event.topic) == ("dlq", "events")
    assert len(letter.value) < 200_000
    kept = json.loads(letter.value)
    assert (kept["truncated"], kept["length"]) == (True, len(json.dumps(large)))
    assert base64.b64decode(kept["original"]) == json.dumps(large).encode()[:65_536]


def test_many_bad_events_are_counted_and_some_described(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    status, answer = scene.post({"batch": [1] * 500}, "batch")
    assert (status, answer["refused"], len(answer["errors"])) == (400, 500, 100)
    assert len({record.key for record in scene.sender.records}) == 500  # each letter has an origin of its own


def test_an_error_of_ours_says_nothing_of_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    status, answer = scene.post(EVENT | {"x": "trip over"})
    assert (status, answer["code"]) == (500, "unexpected")
    assert "secret" not in json.dumps(answer)
    assert scene.post(EVENT)[0] == 200
    assert scene.collector.counts.refused["unexpected"] == 1


def test_what_was_not_taken_does_not_count_against_the_rate(tmp_path: Path) -> None:
    scene = Scene(tmp_path, collector_rate=1)
    batch = {"batch": [EVENT | {"type": "track"}] * 9}
    scene.sender.away = True
    assert [scene.post(batch, "batch")[0] for _ in range(5)] == [503] * 5
    scene.sender.away = False
    assert [scene.post(batch, "batch")[0] for _ in range(3)] == [200, 200, 429]  # ten at once, and a debt
