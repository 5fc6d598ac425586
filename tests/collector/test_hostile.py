"""Senders that mean harm: none gets in, none learns anything, and everybody else is served meanwhile."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.collector.conftest import Collecting


def still_serves(collector: Collecting) -> bool:
    event = {"event": "A", "userId": "u1", "messageId": uuid.uuid4().hex}
    return collector.post("track", event).status == 200


def raw(collector: Collecting, text: bytes, seconds: float = 5) -> bytes:
    """What comes back for these bytes until the connection ends or nothing more comes."""
    with socket.create_connection(("127.0.0.1", collector.port), timeout=seconds) as connection:
        connection.sendall(text)
        found = b""
        try:
            while chunk := connection.recv(65_536):
                found += chunk
        except (TimeoutError, ConnectionError):
            return found
        return found


def test_any_bytes_are_answered_and_break_nothing(collector: Collecting) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=20)

    @settings(max_examples=60)
    @given(
        body=st.binary(max_size=80) | st.text(max_size=40).map(str.encode) | st.just(b"[" * 50_000),
        call=st.sampled_from(["track", "batch", "import", "p"]),
        packed=st.sampled_from(["", "gzip", "identity"]),
        signed=st.booleans(),
    )
    @example(body=b'{"batch":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}", call="batch", packed="", signed=True)
    def send(body: bytes, call: str, packed: str, *, signed: bool) -> None:
        headers = collector.basic() if signed else {}
        connection.request("POST", f"/v1/{call}", body, {**headers, "Content-Encoding": packed})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in {200, 400, 401}, (answer.status, body)
        assert json.loads(text)["success"] is (answer.status == 200) or answer.status == 200

    try:
        send()
    finally:
        connection.close()
    assert still_serves(collector)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/track/",
        "/v1/../../etc/passwd",
        "/v1/%2e%2e/%2e%2e/etc/passwd",
        "/v1/projects/../../../etc/passwd/settings",
        "/v1/projects/%2e%2e%2f%2e%2e%2fetc%2fpasswd/settings",
        "/v1/track%00",
        "/v1/track;x",
        "//v1/track",
        "/V1/track",
        "/metrics",
        "/docs",
        "/collector-keys.json",
    ],
)
def test_no_path_leads_anywhere_else(collector: Collecting, path: str) -> None:
    for method in ("GET", "POST"):
        answer = collector.ask(method, path, b'{"event":"A"}' if method == "POST" else None)
        assert answer.status in {401, 404, 405}, (method, path)
        assert b"root:" not in answer.body


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\r\n\r\n<script>", "a\0b"])
@pytest.mark.parametrize("name", ["X-Request-Id", "Origin", "Host", "Authorization", "traceparent"])
def test_no_head_gets_into_an_answer(collector: Collecting, name: str, value: str) -> None:
    body = b'{"event":"A","userId":"u"}'
    head = f"POST /v1/track HTTP/1.1\r\n{name}: {value}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    answer = raw(collector, head.encode("latin-1") + body)
    status = answer.partition(b"\r\n")[0]
    assert status.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 403"))
    assert b"x-evil" not in answer.lower().partition(b"\r\n\r\n")[0]
    assert b"<script>" not in answer


def test_a_settings_answer_says_no_host_that_is_none(collector: Collecting) -> None:
    path = f"/v1/projects/{collector.key}/settings"
    answer = collector.ask("GET", path, headers={"Host": 'evil"/><script>'})
    assert answer.json["integrations"]["Segment.io"]["apiHost"] == "localhost/v1"
    assert answer.headers["cache-control"] == "no-store"


def test_requests_cannot_be_smuggled(collector: Collecting) -> None:
    mark = uuid.uuid4().hex
    inner = f'POST /v1/track HTTP/1.1\r\nContent-Length: 9\r\n\r\n{{"e":"{mark}"}}'.encode()
    both = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    assert raw(collector, both).startswith(b"HTTP/1.1 400")
    twice = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"
    assert raw(collector, twice).startswith(b"HTTP/1.1 400")
    assert not any(mark in json.dumps(event) for event in collector.events())


def test_an_oversized_body_is_not_read_on_for_ever(collector: Collecting) -> None:
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % 65_536 + b"x" * 65_536 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", collector.port), timeout=5) as connection:
        connection.sendall(head)
        try:
            while sent < 200:
                connection.sendall(chunk)
                sent += 1
        except ConnectionError:
            pass
    assert sent < 200  # the limit is one such chunk: after some more the connection was closed
    assert still_serves(collector)


def test_a_zip_bomb_is_refused(collector: Collecting) -> None:
    bomb = gzip.compress(bytes(30_000_000))
    answer = collector.post("track", bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (413, "too_large")


def test_slow_senders_hold_up_nobody_and_are_sent_away(collector: Collecting) -> None:
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    connections = [socket.create_connection(("127.0.0.1", collector.port), timeout=10) for _ in range(100)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(head + b'{"event"' if number % 2 else head[:30])
        assert still_serves(collector)
        for connection in connections:  # patience is one second here
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
    finally:
        for connection in connections:
            connection.close()


def test_a_guessed_key_is_refused_before_its_body_is_read(collector: Collecting) -> None:
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWJjOg==\r\nContent-Length: 60000\r\n\r\n"
    assert raw(collector, head).startswith(b"HTTP/1.1 401 ")


def test_nobody_writes_into_another_tenant(collector: Collecting) -> None:
    event = {"event": "A", "userId": "u1", "messageId": uuid.uuid4().hex, "tenant": "other", "topic": "other"}
    assert collector.post("track", event, headers={"X-Tenant": "other"}).status == 200
    assert collector.event(event["messageId"])["tenant"] == "other"  # in this key's own topic: a field like any other
