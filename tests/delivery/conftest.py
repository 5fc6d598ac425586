"""A receiver of webhooks, and deliverers over topics that nobody else uses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from forked import Forked
from prometheus_client import generate_latest

from rtcdp.delivery.inputs import check_cluster
from rtcdp.delivery.loading import load
from rtcdp.delivery.main import Deliverer
from rtcdp.dlq import messages
from rtcdp.servers.local_process import free_port
from rtcdp.settings.config import Settings
from tests.worker.conftest import wait_for

Answer = tuple[int, dict[str, str]]


@dataclass
class Request:
    """What the receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """An HTTP server that answers as `answer` says, and remembers."""

    answer: Callable[[Request], Answer] = lambda request: (200, {})
    requests: list[Request] = field(default_factory=list)
    content: bytes = b"{}"

    def start(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, body, time.time())
                receiver.requests.append(request)
                status, more = receiver.answer(request)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(receiver.content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.content)

            do_PUT = do_PATCH = do_POST  # noqa: N815 - the base class names them so

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that was killed is what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> list[str]:
        return [request.id for request in self.requests]


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """`receive(answer=...)` starts a receiver."""
    made: list[Receiver] = []

    def start(**options: Any) -> Receiver:
        made.append(Receiver(**options).start())
        return made[-1]

    yield start
    for receiver in made:
        receiver.stop()


def trigger(number: int, name: str = "cart", user: str | None = None, **data: Any) -> dict[str, Any]:
    """A record of `triggers`."""
    at = data.pop("at", "2026-01-01T00:00:00.000Z")
    expires = data.pop("expires_at", "2099-01-01T00:00:00.000Z")
    profile = f"main/user_id:{user or f'u{number}'}"
    times = dict.fromkeys(("occurred", "received", "due", "decided"), at)
    fields = {"profile": profile, "trigger": name, "cause": "event", "version": "v", "expires_at": expires, **times, **data}
    return {"specversion": "1.0", "id": f"id{number}", "source": "rtcdp", "type": "rtcdp.trigger", "subject": profile,
            "time": at, "datacontenttype": "application/json", "seq": number + 1, "data": fields}  # fmt: skip


def cancel(number: int, user: str, name: str = "", channel: str = "") -> dict[str, Any]:
    """A record of `triggers` that withdraws."""
    profile = f"main/user_id:{user}"
    data = {"profile": profile, "trigger": name, "channel": channel, "reason": "consent"}
    return {"id": f"c{number}", "type": "rtcdp.cancel", "subject": profile, "time": "2026-01-01T00:00:00.000Z",
            "seq": number, "data": data}  # fmt: skip


def change(number: int, kind: str = "entered", name: str = "buyers", **more: Any) -> dict[str, Any]:
    """A record of `profile-changes`."""
    return {"id": f"ch{number}", "kind": kind, "profile": f"main/user_id:u{number}", "name": name,
            "at": "2026-01-01T00:00:00.000Z", "cause": "event", "version": "v", "seq": number + 1, **more}  # fmt: skip


class Inside:
    """A deliverer in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.failed: list[BaseException] = []
        self._deliverer: Deliverer | None = None
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)
        self._thread.start()

    @property
    def deliverer(self) -> Deliverer:
        assert self._deliverer is not None
        return self._deliverer

    def ready(self) -> bool:
        assert not self.failed, self.failed
        return self._deliverer is not None and not self._deliverer.health.unready()

    def stop(self) -> None:
        self.deliverer.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert not self.failed

    def _run(self, settings: Settings) -> None:
        async def main() -> None:
            outlets = load(settings.destinations or Path())
            self._deliverer = Deliverer(settings, outlets, check_cluster(settings), fatal=self.failed.append)
            await self._deliverer.run()

        try:
            asyncio.run(main())
        except Exception as error:  # noqa: BLE001 - the test is to see it
            self.failed.append(error)


class Delivering:
    """Topics, settings and deliverers of one test."""

    def __init__(self, bootstrap: str, folder: Path, destinations: str, **flags: Any) -> None:
        self.folder = folder
        self.name = f"d{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        names = ("commands", "events_dlq", "profile_events", "profile_changes", "triggers", "ingest_progress", "audit",
                 "definitions_topic", "deliveries", "deliveries_dlq", "delivery_commands")  # fmt: skip
        (folder / "destinations.yaml").write_text(destinations, "utf-8")
        values = {
            "bootstrap": bootstrap,
            "app": self.name,
            "sources": f"{self.name}-events",
            "partitions": 2,
            "metrics_port": self.port,
            "destinations": str(folder / "destinations.yaml"),
            "deliver_http": True,
            "deliver_networks": "127.0.0.0/8",
            **{name: f"{self.name}-{name}" for name in names},
            **flags,
        }
        self.settings = Settings.load(values)
        self._values = values
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        wanted = [NewTopic(topic, 2, 1) for topic in (self.settings.triggers, self.settings.profile_changes)]
        for future in self.admin.create_topics(wanted).values():
            future.result(30)
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "partitioner": "murmur2_random"})
        self.processes: list[Forked] = []
        self.log = folder / "deliver.log"
        self.inside: Inside | None = None

    def run(self) -> Delivering:
        """A deliverer inside this process: it starts faster than one of its own."""
        self.inside = Inside(self.settings)
        wait_for(self.inside.ready, 40.0, "readiness")
        return self

    def start(self, **flags: Any) -> Forked:
        config = self.folder / f"settings-{len(self.processes)}.json"
        values = {**self._values, **flags}
        self.port = values["metrics_port"]
        config.write_text(json.dumps(values), "utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RTCDP_")}
        process = Forked("rtcdp.delivery.main", config, self.log, environment)
        self.processes.append(process)
        self.ready()
        return process

    def ready(self) -> Delivering:
        def look() -> bool:
            assert self.processes[-1].poll() is None, self.log.read_text()
            return self.get("/readyz")[0] == 200

        wait_for(look, 40.0, "readiness")
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Sum of the samples whose line begins so."""
        if self.inside is not None:
            page = generate_latest(self.inside.deliverer.measures.registry).decode()
        else:
            page = self.get("/metrics")[1]
        lines = [line for line in page.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def send(self, *records: Any, topic: str | None = None) -> None:
        for record in records:
            value = record if isinstance(record, bytes) else json.dumps(record).encode()
            key = None if isinstance(record, bytes) else (record.get("profile") or record["subject"]).encode()
            self.producer.produce(topic or self.settings.triggers, value, key)
        assert self.producer.flush(20) == 0

    def records(self, topic: str) -> list[Any]:
        return [json.loads(message.value() or b"null") for message in messages(self.settings, topic)]

    def pending(self) -> dict[str, Any]:
        """What the topic `deliveries` says is not done yet."""
        found = {message.key(): message.value() for message in messages(self.settings, self.settings.deliveries)}
        return {key.decode(): json.loads(value) for key, value in found.items() if value and not key.startswith(b"~")}

    def outcomes(self) -> list[dict[str, Any]]:
        return self.records(self.settings.sources[0].topic)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.processes[-1].send_signal(how)
        return self.processes[-1].wait(20)

    def close(self) -> None:
        if self.inside is not None:
            self.inside.stop()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.admin.delete_topics([self.settings.sources[0].topic, *self.settings.own_topics().values()])


Receive = Callable[..., Receiver]
Deliver = Callable[..., Delivering]


@pytest.fixture
def deliver(kafka: str, tmp_path: Path) -> Iterator[Deliver]:
    """`deliver(yaml, **flags)` makes a deployment; `.start()` starts a deliverer as a process of its own."""
    made: list[Delivering] = []

    def make(destinations: str, **flags: Any) -> Delivering:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Delivering(kafka, folder, destinations, **flags))
        return made[-1]

    yield make
    for one in made:
        one.close()
