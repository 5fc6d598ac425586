"""The collector beside a bare echo: the same server, the same framework, the same client, alternating.

    python -m benchmarks.collecting echo     the echo as a process; prints its port

Throughput: connections that each send the next event when the last is answered. Latency: events at a fixed rate, whatever
the answers do, measured from when each was due. Every answer of the collector stands behind Kafka's acknowledgement; at the end
what it acknowledged is counted in the topic.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import uvloop
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.streaming import Failed, Process
from rtcdp.serving.server import listen, serve

CONNECTIONS = 128
RATE = 500
BATCH = 100
PARTITIONS = 4
VISITORS = 1_000
START_S = 60.0
EVENT: dict[str, Any] = {
    "event": "Product Viewed",
    "timestamp": "2025-01-01T09:30:00.123Z",
    "sentAt": "2025-01-01T09:30:00.124Z",
    "properties": {"product_id": "p1", "price": 12.5, "currency": "CNY", "category": "shoes"},
    "context": {"library": {"name": "analytics.js", "version": "2.11.1"}, "page": {"path": "/p/1", "title": "Shoes"}},
}
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"


class Sender(asyncio.Protocol):
    """One connection. request: makes the next request's bytes. answered: told of every answer's status."""

    def __init__(self, answered: Callable[[Sender, int], None]) -> None:
        self._answered = answered
        self._read = b""
        self._transport: Any = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        self._transport = transport

    def send(self, request: bytes) -> None:
        """Send one request; the last must have been answered."""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Small answers with a Content-Length, as both servers give them."""
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        length = re.search(rb"content-length: (\d+)", self._read[:end])
        if length is None or len(self._read) < end + 4 + int(length[1]):
            return
        status = int(self._read[9:12])
        self._read = b""
        self._answered(self, status)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


class Target:
    """A server under load: its port, its process, and how a request looks."""

    def __init__(self, name: str, port: int, pid: int, key: str) -> None:
        self.name = name
        self.port = port
        self.process = Process(pid)
        self._head = (
            f"Host: 127.0.0.1:{port}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nContent-Type: text/plain\r\n"
            f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}\r\nContent-Length: "
        )

    def requests(self, batch: int) -> Iterator[bytes]:
        """Endless requests of `batch` events each (1: a call of one event), every event with an id of its own."""
        path = "batch" if batch > 1 else "track"
        run, count = uuid.uuid4().hex, 0
        while True:
            numbers = range(count, count + batch)
            events = [
                EVENT | {"type": "track", "messageId": f"{run}-{number}", "anonymousId": f"visitor-{number % VISITORS}"}
                for number in numbers
            ]
            count += batch
            body = json.dumps({"batch": events} if batch > 1 else events[0]).encode()
            yield f"POST /v1/{path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n".encode() + body


async def _connect(target: Target, connections: int, answered: Callable[[Sender, int], None]) -> list[Sender]:
    loop = asyncio.get_running_loop()
    made = [loop.create_connection(lambda: Sender(answered), "127.0.0.1", target.port) for _ in range(connections)]
    return [sender for _, sender in await asyncio.gather(*made)]


async def throughput(target: Target, seconds: float, batch: int = 1) -> dict[str, float]:
    """Events per second and CPU per event, with CONNECTIONS connections."""
    # Made before, so that the client's share of the machine is small.
    requests = list(islice(target.requests(batch), 4_000 if batch == 1 else 50))
    count, wrong, running = 0, 0, True

    def answered(sender: Sender, status: int) -> None:
        nonlocal count, wrong
        count += 1
        wrong += status != 200
        if running:
            sender.send(requests[count % len(requests)])

    senders = await _connect(target, CONNECTIONS if batch == 1 else CONNECTIONS // 8, answered)
    for place, sender in enumerate(senders):
        sender.send(requests[place % len(requests)])
    await asyncio.sleep(1)
    before, cpu, began = count, target.process.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    events, spent, took = (count - before) * batch, target.process.cpu_s() - cpu, time.perf_counter() - began
    running = False
    await asyncio.sleep(1)
    for sender in senders:
        sender.close()
    if wrong:
        raise Failed(f"{target.name}: {wrong} answers were not 200")
    return {"events_per_s": events / took, "cpu_us": spent / events * 1e6, "answered": count * batch}


async def latency(target: Target, seconds: float) -> dict[str, float]:
    """p50 and p99 (ms) at RATE requests per second, from when each was due to its answer."""
    idle: list[Sender] = []
    times: list[float] = []
    wrong = 0

    def answered(sender: Sender, status: int) -> None:
        nonlocal wrong
        wrong += status != 200
        times.append(time.perf_counter() - sender.due)
        idle.append(sender)

    senders = await _connect(target, CONNECTIONS, answered)
    idle.extend(senders)
    requests = target.requests(1)
    began, warm = time.perf_counter() + 0.1, RATE * 2
    for number in range(int(RATE * seconds) + warm):
        due = began + number / RATE
        while (now := time.perf_counter()) < due or not idle:  # noqa: ASYNC110 - it waits for the clock, not for an event
            await asyncio.sleep(max(0.0005, due - now))
        sender = idle.pop()
        sender.due = due
        sender.send(next(requests))
    await asyncio.sleep(2)
    for sender in senders:
        sender.close()
    if wrong:
        raise Failed(f"{target.name}: {wrong} answers were not 200")
    cut = quantiles(times[warm:], n=100)
    return {"p50_ms": cut[49] * 1e3, "p99_ms": cut[98] * 1e3, "answered": float(len(times))}


def measure(bootstrap: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Both servers under the same load, alternating.

    seconds: length of each run. Returns medians over the rounds, and ratios taken round by round.
    """
    topic = f"bench-collector-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [
        NewTopic(topic, PARTITIONS, 1, config={"message.timestamp.type": "LogAppendTime"}),
        NewTopic(f"{topic}-dlq", 1, 1),
    ]
    for future in admin.create_topics(topics).values():
        future.result(30)
    runs: list[dict[str, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="rtcdp-bench-") as folder,
        _echo() as echo,
        _collector(bootstrap, topic, Path(folder)) as collector,
    ):
        for _ in range(rounds):
            one = {}
            for target in (echo, collector):
                one[target.name] = uvloop.run(throughput(target, seconds))
                one[f"{target.name}_rate"] = uvloop.run(latency(target, seconds))
            one["collector_batch"] = uvloop.run(throughput(collector, seconds, BATCH))
            runs.append(one)
    acknowledged = sum(one[name]["answered"] for one in runs for name in one if name.startswith("collector"))

    def figure(name: str, value: str) -> float:
        return median(one[name][value] for one in runs)

    return {
        "echo": figure("echo", "events_per_s"),
        "collector": figure("collector", "events_per_s"),
        "ratio": median(one["collector"]["events_per_s"] / one["echo"]["events_per_s"] for one in runs),
        "cpu_us": {"echo": figure("echo", "cpu_us"), "collector": figure("collector", "cpu_us")},
        "batched": figure("collector_batch", "events_per_s"),
        "rate": RATE,
        "echo_ms": {value: figure("echo_rate", value) for value in ("p50_ms", "p99_ms")},
        "collector_ms": {value: figure("collector_rate", value) for value in ("p50_ms", "p99_ms")},
        "lost": max(0, int(acknowledged) - _records(bootstrap, topic)),
        "runs": runs,
    }


@contextmanager
def _collector(bootstrap: str, topic: str, folder: Path) -> Iterator[Target]:
    keys = ["--keys", str(folder / "keys.json"), "--sources", topic]
    rtcdp = [sys.executable, "-m", "rtcdp.cli", "collector"]
    key = subprocess.run(
        [*rtcdp, "keys", "add", "web", *keys, "--rate", "0"], capture_output=True, text=True, check=True
    ).stdout
    config = folder / "collector.toml"
    config.write_text(f'events_dlq = "{topic}-dlq"\n')
    command = [*rtcdp, *keys, "--config", str(config), "-b", bootstrap, "--port", "0", "--metrics-port", "-1"]
    log = folder / "collector.log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the collector did not start: {log.read_text()[-2_000:]}")
            time.sleep(0.05)
        yield Target("collector", int(found[1]), process.pid, key.strip())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _echo() -> Iterator[Target]:
    with subprocess.Popen([sys.executable, "-m", __name__, "echo"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Target("echo", int(process.stdout.readline()), process.pid, "x" * 32)
        finally:
            process.terminate()


def _records(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    try:
        ends = (consumer.get_watermark_offsets(TopicPartition(topic, number), 10) for number in range(PARTITIONS))
        return sum(end for _, end in ends)
    finally:
        consumer.close()


def serve_echo() -> None:
    """Answer every request with its own body."""

    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    bound = listen("127.0.0.1", 0)
    print(bound.getsockname()[1], flush=True)
    serve(Starlette(routes=[Route("/v1/{call}", echo, methods=["POST"])]), bound, stop_s=5)


if __name__ == "__main__":
    serve_echo()
