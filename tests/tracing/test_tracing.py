"""A trace from the collector's request to the webhook: what is handed on, which spans tell of it, nothing where it is off."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rtcdp.errors import SettingError
from rtcdp.monitoring import tracing
from rtcdp.monitoring.spans import MOST_LINKS, Spans
from rtcdp.monitoring.tracing import HEADER, parent_of
from rtcdp.settings.config import Settings
from tests.collector.test_app import Scene
from tests.delivery.conftest import Deliver, Receive, trigger
from tests.worker.conftest import Deploy, wait_for

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
EVENT = {"event": "Order Completed", "userId": "u1"}


class Seen:
    """Spans, and what they told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = Spans(provider)

    @property
    def told(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def seen() -> Seen:
    return Seen()


def trace_of(span: ReadableSpan) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def test_a_request_is_a_part_of_its_callers_trace(tmp_path: Path, seen: Seen) -> None:
    scene = Scene(tmp_path, spans=seen.spans)
    assert scene.post(EVENT, traceparent=PARENT)[0] == 200
    (span,) = seen.told
    assert (span.name, trace_of(span), f"{span.parent.span_id:016x}" if span.parent else "") == ("collect", TRACE, SPAN)
    handed = dict(scene.sender.headers)[HEADER].decode()
    assert handed == f"00-{TRACE}-{span.get_span_context().span_id:016x}-01"
    assert scene.post(EVENT)[0] == 200
    assert trace_of(seen.told[1]) != TRACE
    assert "u1" not in "".join(one.to_json() for one in seen.told)


def test_a_request_that_fails_says_so_and_not_why(tmp_path: Path, seen: Seen) -> None:
    scene = Scene(tmp_path, spans=seen.spans)
    assert scene.post({**EVENT, "properties": {"a": "trip over"}}, traceparent=PARENT)[0] == 500
    (span,) = seen.told
    assert (span.status.description, span.events) == ("ZeroDivisionError", ())


def test_without_it_the_callers_context_is_handed_on_as_it_came(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert scene.post(EVENT, traceparent=PARENT)[0] == 200
    assert dict(scene.sender.headers)[HEADER].decode() == PARENT


def test_where_it_is_off_nothing_is_made_or_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing.spans_of(Settings(), "worker") is None
    monkeypatch.setitem(sys.modules, "rtcdp.monitoring.spans", None)
    monkeypatch.delattr("rtcdp.monitoring.spans", raising=False)
    with pytest.raises(SettingError, match="rtcdp\\[otel\\]"):
        tracing.spans_of(Settings(otlp="http://localhost:4318"), "worker")
    with pytest.raises(SettingError, match="otlp"):
        Settings.load({"otlp": "localhost"})


@pytest.mark.parametrize(
    ("value", "good"),
    [(PARENT, True), (PARENT[:-2] + "00", False), (PARENT[:-2] + "zz", False), ("", False), (PARENT + "-more", False)],
)
def test_only_traces_that_are_recorded_cost_anything(value: str, *, good: bool) -> None:
    assert (parent_of([("other", b"x"), (HEADER, value.encode())]) is not None) == good
    assert parent_of([(HEADER, None)]) is parent_of(None) is None


def test_a_batch_links_to_the_traces_in_it(seen: Seen) -> None:
    parents = [f"00-{number:032x}-{SPAN}-01".encode() for number in range(1, MOST_LINKS + 9)]
    with seen.spans.batch("ingest", [parents[0], b"no trace context", *parents], {"rtcdp.records": 5}):
        pass
    (span,) = seen.told
    assert len(span.links) == MOST_LINKS
    assert f"{span.links[0].context.trace_id:032x}" == f"{1:032x}"
    assert span.parent is None


def test_an_output_belongs_to_the_event_that_caused_it() -> None:
    def event(identity: str) -> bytes:
        return json.dumps({"kind": "event", "id": identity, "event": "A", "received": 1, "at": 1}).encode()

    batch = [
        (7, b"main/user_id:a", event("m1")),
        (8, b"main/user_id:a", event("m2")),
        (9, b"main/user_id:b", event("m1")),
        (10, b"main/user_id:b", b"{"),
    ]
    headers = tracing.Carried(batch, {7: b"first", 8: b"second", 10: b"third"}).output
    assert headers is not None
    assert tracing.Carried(batch, {}).output is None
    change, of_trigger = b'{"message_id":"%s"}', b'{"data":{"message_id":"%s"}}'
    assert headers(b"main/user_id:a", change % b"m1") == [(HEADER, b"first")]
    assert headers(b"main/user_id:a", of_trigger % b"m2") == [(HEADER, b"second")]
    assert headers(b"main/user_id:a", of_trigger % b"m3") == headers(b"main/user_id:b", change % b"m1") == []


class Backend:
    """Takes OTLP over HTTP, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    request = ExportTraceServiceRequest.FromString(body)
                    backend.spans += [one for r in request.resource_spans for s in r.scope_spans for one in s.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


def test_a_worker_hands_the_trace_on(deploy: Deploy, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    shop = deploy(otlp=backend.url)
    worker = shop.worker().ready()
    raw = {"type": "track", "event": "Order Completed", "messageId": "m1", "userId": "traced"}
    shop.producer.produce(shop.source, json.dumps(raw).encode(), headers=[(HEADER, PARENT.encode())])
    shop.send({**raw, "messageId": "m2", "userId": "other"})
    both = {b"main/user_id:traced", b"main/user_id:other"}
    wait_for(lambda: {message.key() for message in shop.read(shop.settings.profile_changes)} >= both, what="both entries")
    for topic in (shop.settings.profile_events, shop.settings.profile_changes):
        found = {
            message.key(): dict(message.headers() or ()) for message in shop.read(topic) if b"user_id" in (message.key() or b"")
        }
        assert found[b"main/user_id:traced"] == {HEADER: PARENT.encode()}, topic
        assert found[b"main/user_id:other"] == {}, topic
    wait_for(lambda: {"ingest", "profile"} <= {span.name for span in backend.spans}, what="the spans")
    for span in backend.spans:
        assert [link.trace_id.hex() for link in span.links] == [TRACE]
        assert span.trace_id.hex() != TRACE
    assert worker.end() == 0


def test_an_event_that_is_passed_on_takes_its_trace_along(
    deploy: Deploy, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that has become a person's: what it does later arrives there by a record of its own."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    shop = deploy(otlp=backend.url)
    worker = shop.worker().ready()
    person = {"type": "identify", "messageId": "m0", "userId": "person", "anonymousId": "device", "traits": {"a": 1}}
    shop.send(person)
    wait_for(
        lambda: b"main/anonymous_id:device" in [one.key() for one in shop.read(shop.settings.profile_events)], what="the link"
    )
    later = {"type": "track", "event": "Order Completed", "messageId": "m1", "anonymousId": "device"}
    shop.producer.produce(shop.source, json.dumps(later).encode(), headers=[(HEADER, PARENT.encode())])
    changes = shop.settings.profile_changes
    wait_for(lambda: [one for one in shop.read(changes) if b'"message_id":"m1"' in (one.value() or b"")], what="the entry")
    for change in shop.read(changes):
        if b'"message_id":"m1"' in (change.value() or b""):
            assert (change.key(), dict(change.headers() or ())) == (b"main/user_id:person", {HEADER: PARENT.encode()})
        else:
            assert not change.headers()
    assert worker.end() == 0


def test_any_destination_is_a_part_of_the_trace(
    deliver: Deliver, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcdp.delivery.main.spans_of", lambda *_: seen.spans)
    lines = tmp_path / "out.ndjson"
    shop = deliver(f"destinations: {{bi: {{file: {lines}}}}}\nsubscriptions: {{carts: {{to: bi, triggers: cart}}}}").run()
    record = trigger(1)
    shop.producer.produce(
        shop.settings.triggers, json.dumps(record).encode(), record["subject"].encode(), headers=[(HEADER, PARENT.encode())]
    )
    shop.send(trigger(2))
    wait_for(lambda: seen.told, what="the span")
    (span,) = seen.told
    assert (span.name, trace_of(span), dict(span.attributes or {})["rtcdp.destination"]) == ("deliver", TRACE, "bi")


def test_a_webhook_is_a_part_of_the_trace(
    deliver: Deliver, receive: Receive, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcdp.delivery.main.spans_of", lambda *_: seen.spans)
    receiver = receive(answer=lambda request: (500 if len(receiver.requests) == 1 else 200, {}))
    shop = deliver(
        f"destinations: {{crm: {{url: {receiver.url}/hook, retries: [1ms]}}}}\n"
        "subscriptions: {carts: {to: crm, triggers: cart}}"
    ).run()  # fmt: skip
    record = trigger(1)
    shop.producer.produce(
        shop.settings.triggers, json.dumps(record).encode(), record["subject"].encode(), headers=[(HEADER, PARENT.encode())]
    )
    wait_for(lambda: len(receiver.requests) == 2, what="both attempts")
    wait_for(lambda: len(seen.told) == 2, what="both spans")
    handed = [request.headers[HEADER] for request in receiver.requests]
    assert handed == [f"00-{TRACE}-{span.get_span_context().span_id:016x}-01" for span in seen.told]
    assert [dict(span.attributes or {})["rtcdp.attempt"] for span in seen.told] == [1, 2]
    shop.send(trigger(2))
    wait_for(lambda: len(receiver.requests) == 3, what="the one without a trace")
    assert HEADER not in receiver.requests[2].headers
