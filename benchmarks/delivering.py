"""Deliveries per second to a receiver on this machine, beside the HTTP client alone against the same receiver.

Deliverer, receiver and Kafka share the machine. Every delivery is signed, is written to Kafka before it is attempted and after
it has ended, and its outcome is an event: three records each.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import uvloop
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.streaming import Failed, Process
from rtcdp.outputs import TriggerData, TriggerEvent, encode
from rtcdp.servers.local_process import free_port

CONCURRENCY = 64
PARTITIONS = 4
WAIT_S = 300.0
EVERY = 100
"""Of every so many requests the receiver keeps the time."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of a benchmark
DESTINATIONS = """
destinations: {{tool: {{url: "http://127.0.0.1:{port}/hook", secrets: {secret}, concurrency: {concurrency}}}}}
subscriptions: {{every: {{to: tool, triggers: "*"}}}}
"""


class _Answering(asyncio.Protocol):
    """The least that is an HTTP server: it counts requests and says 200."""

    times: list[float]
    count = 0
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        if head.startswith(b"GET"):
            body = json.dumps({"count": _Answering.count, "times": _Answering.times}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        _Answering.count += 1
        if _Answering.count % EVERY == 0:
            _Answering.times.append(time.time())
        return self.answer


def receive(port: int) -> None:
    """Serve until killed."""

    async def run() -> None:
        _Answering.times = []
        server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


@contextmanager
def _receiver() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", f"from benchmarks.delivering import receive; receive({port})"])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                _seen(port)
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield port
    finally:
        process.kill()
        process.wait()


def _seen(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return json.loads(answer.read())


def _rate(times: list[float]) -> float:
    """Requests per second between the first tenth and the end."""
    begin = len(times) // 10
    return (len(times) - 1 - begin) * EVERY / (times[-1] - times[begin])


def _trigger(number: int) -> bytes:
    at = "2026-01-01T00:00:00.000Z"
    profile = f"main/user_id:u{number}"
    data = TriggerData(
        profile=profile,
        trigger="abandoned_cart",
        cause="time",
        message_id=f"m{number}",
        occurred=at,
        received=at,
        due=at,
        decided=at,
        expires_at="2099-01-01T00:00:00.000Z",
        channel="push",
        version="0123456789abcdef",
        payload={"cart": 100.5, "category": "shoes"},
    )
    return encode(TriggerEvent(id=uuid.uuid4().hex, subject=profile, time=at, seq=number, data=data))


def client_alone(count: int) -> float:
    """Requests per second of the HTTP client by itself, with bodies and concurrency as the deliverer has them."""
    body = _trigger(1)

    async def run(port: int) -> None:
        left = iter(range(count))
        async with aiohttp.ClientSession() as client:

            async def work() -> None:
                for _ in left:
                    async with client.post(f"http://127.0.0.1:{port}/hook", data=body) as answer:
                        await answer.read()

            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    with _receiver() as port:
        uvloop.run(run(port))
        return _rate(_seen(port)["times"])


def deliver(bootstrap: str, count: int) -> dict[str, float]:
    """Deliver `count` triggers that wait in Kafka: deliveries per second, and CPU per delivery (us) of the deliverer."""
    name = f"b{uuid.uuid4().hex[:8]}"
    names = ("triggers", "profile_changes", "deliveries", "deliveries_dlq", "delivery_commands")
    topics = {role: f"{name}-{role}" for role in names}
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    for future in admin.create_topics([NewTopic(topics[role], PARTITIONS, 1) for role in names[:2]]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2_random", "log_level": 2})
    for number in range(count):
        producer.produce(topics["triggers"], _trigger(number), f"main/user_id:u{number}".encode())
        producer.poll(0)
    producer.flush()
    values = {"bootstrap": bootstrap, "app": name, "sources": f"{name}-events", "partitions": PARTITIONS, "metrics_port": -1,
              "deliver_http": True, "deliver_networks": "127.0.0.0/8", "log_level": "warning", **topics}  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder, _receiver() as port:
            text = DESTINATIONS.format(port=port, secret=SECRET, concurrency=CONCURRENCY)
            Path(folder, "tool.yaml").write_text(text)
            program = "import json, sys; from rtcdp.settings.config import Settings; from rtcdp.delivery.main import run; "
            program += "sys.exit(run(Settings.load(json.loads(sys.argv[1]))))"
            command = [sys.executable, "-c", program, json.dumps({**values, "destinations": folder})]
            process = subprocess.Popen(command)
            try:
                return _until(process, port, count)
            finally:
                process.terminate()
                process.wait(20)
    finally:
        admin.delete_topics([f"{name}-events", *topics.values()])


def _until(process: subprocess.Popen[bytes], port: int, count: int) -> dict[str, float]:
    watched = Process(process.pid)
    deadline = time.monotonic() + WAIT_S
    before: tuple[int, float] | None = None
    while (seen := _seen(port)["count"]) < count:
        if before is None and seen > count // 10:
            before = seen, watched.cpu_s()
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{seen} of {count} deliveries")
        time.sleep(0.1)
    begin, cpu = before or (0, 0.0)
    found = _seen(port)
    return {
        "per_s": _rate(found["times"]),
        "cpu_us": (watched.cpu_s() - cpu) / (found["count"] - begin) * 1e6,
        "repeated": found["count"] - count,
    }


def measure(bootstrap: str, count: int, rounds: int) -> dict[str, Any]:
    """Medians of rounds: per_s, cpu_us, client_per_s, ratio."""
    found = [{**deliver(bootstrap, count), "client_per_s": client_alone(count)} for _ in range(rounds)]
    return {
        **{name: median(one[name] for one in found) for name in ("per_s", "cpu_us", "client_per_s")},
        "ratio": median(one["per_s"] / one["client_per_s"] for one in found),
        "repeated": sum(one["repeated"] for one in found),
        "runs": found,
    }
