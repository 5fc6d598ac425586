"""Rows 25 and 26: neighbours that are gone or slow. Nobody waits for them, and what they missed they get."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis

from faults.processes import wait_for
from faults.rig import Rig
from faults.soak import Samples
from faults.stage import Result, Stage, load, red
from rtcdp.servers.local_process import free_port
from rtcdp.servers.redis_server import RedisServer

OUTAGE_S = 15.0
EARLY = 200
"""People who do something before an outage and nothing after it."""
GROWTH_MIB = 150.0


def ready(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
    except OSError:
        return 0


def _watched(samples: Samples, seconds: float) -> None:
    """Let time go by."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        samples.take(time.monotonic())
        time.sleep(0.25)


def early(rig: Rig) -> dict[str, dict[str, Any]]:
    """People whose last event lies before everything that will happen; what they answer, by profile key."""
    early = [f"early{number}" for number in range(EARLY)]
    for user in early:
        rig.sender.send(rig.sender.event(user, "first", "Order Completed", {"amount": 250}), user)
        rig.sender.send(rig.sender.event(user, "last", "Probe", {}), user)
    rig.sender.producer.flush(60)
    keys = {f"main/user_id:{user}" for user in early}
    told: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        told.update({key: state for key, state in rig.topics.answers(EARLY, 5).items() if key in keys})
        return len(told) == EARLY

    wait_for(look, 90, "the answers of the early")
    rig.sender.users -= set(early)
    return told


def _differing(client: redis.Redis, rig: Rig, told: dict[str, dict[str, Any]]) -> list[str]:
    """Profiles whose views say something else than they themselves."""
    wrong = []
    for key, state in told.items():
        text: Any = client.get(f"{rig.settings.app}:profile:{key}")
        features = json.loads(text)["features"] if text else {}
        if any(features.get(name, 0) != state[name] for name in ("events", "orders", "spend")):
            wrong.append(key)
    return wrong


def _redis(stage: Stage, outcome: Result, *off: str) -> None:
    with RedisServer() as server, stage.rig(f"redis{''.join(off)}", redis=server.url) as rig:
        client, port = redis.Redis.from_url(server.url), free_port()
        with load(rig, rate=300, users=200):
            rig.up()
            views = rig.start("views", process="project", off=off, metrics_port=port)
            told = early(rig)
            wait_for(lambda: ready(port) == 200 and not _differing(client, rig, told), 60, "the views")
            samples = Samples(views.pid)
            samples.take(time.monotonic())
            for _ in range(1 if off else stage.count(4, 1)):
                server.stop(kill=True)
                rig.fault("Redis killed")
                _watched(samples, OUTAGE_S)
                rig.moving(30)  # no worker waits for it
                if ready(port) != 503:
                    outcome.fail("/readyz does not say that Redis is gone")
                server.start()  # empty
                if not off:
                    wait_for(lambda: ready(port) == 200, 60, "the views after Redis")
        rig.probe(60)
        told |= rig.topics.answers(len(rig.sender.users) + EARLY, 30)
        began = time.monotonic()
        while (wrong := _differing(client, rig, told)) and time.monotonic() - began < 30:
            time.sleep(0.2)
        _watched(samples, 1.0)
        rig.stop()
        outcome.add(rig.verdict(), rig)
        client.close()
    outcome.caught_up_s = max(outcome.caught_up_s, round(time.monotonic() - began, 3))
    if wrong:
        outcome.lost += len(wrong)
        outcome.fail(f"{len(wrong)} views of {len(told)} are not what their profiles are: {wrong[:3]}")
    grown = max(samples.memory) - samples.memory[0]
    outcome.note = f"{len(told)} views compared; memory of the projector at most {grown:+.0f} MiB"
    if grown > GROWTH_MIB:
        outcome.fail(f"its memory grew by {grown:.0f} MiB")


def row25(stage: Stage) -> Result:
    """backpressure: Redis gone, and back empty"""
    result = Result(25, "backpressure: Redis gone, and back empty", stage.seed)
    result.control = "the projector believes itself, not Redis, where it stands"
    _redis(stage, result)
    result.control_red = red(lambda outcome: _redis(stage, outcome, "standing"))
    return result


class Webhook:
    """A receiver. answer: called for each request: after how long (s) and with which status it is answered."""

    def __init__(self, answer: Callable[[int], tuple[float, int]]) -> None:
        self.answer = answer
        self.delivered: dict[str, set[str]] = {}
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = hook.take(self.headers["webhook-id"], body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that was killed is what is tested."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def take(self, identity: str, body: bytes) -> int:
        """One request; the status."""
        with self._lock:
            self.requests[identity] += 1
            count = sum(self.requests.values())
        wait, status = self.answer(count)
        time.sleep(wait)
        if status < 300:
            with self._lock:
                self.delivered.setdefault(identity, set()).add(hashlib.sha256(body).hexdigest())
        return status

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def webhook(answer: Callable[[int], tuple[float, int]]) -> Iterator[Webhook]:
    """A receiver for the block."""
    made = Webhook(answer)
    try:
        yield made
    finally:
        made.close()


def _sent(rig: Rig) -> set[str]:
    """Ids of the triggers that are to be delivered."""
    bodies = (json.loads(message.value() or b"") for message in rig.topics.read(rig.settings.triggers))
    return {body["id"] for body in bodies if body["data"]["trigger"] == "bought"}


def _slow(count: int) -> tuple[float, int]:
    """As a receiver that can hardly keep up: a second for each answer, and one in seven is a refusal for the moment."""
    return 1.0, 503 if count % 7 == 0 else 200


def _webhook(stage: Stage, outcome: Result, *off: str) -> None:
    yaml = (
        "destinations: {{crm: {{url: {url}, concurrency: 4, retries: [1s, 2s, 4s, 8s, 8s, 8s, 8s, 8s, 8s, 8s]}}}}\n"
        "subscriptions: {{bought: {{to: crm, triggers: bought, outcomes: false}}}}\n"
    )
    with webhook(_slow) as hook, stage.rig(f"webhook{''.join(off)}") as rig:
        folder = rig.folder / "destinations"
        folder.mkdir()
        (folder / "crm.yaml").write_text(yaml.format(url=hook.url), "utf-8")
        options: dict[str, Any] = {"destinations": str(folder), "deliver_http": True, "deliver_networks": "127.0.0.0/8"}
        with load(rig, rate=100, users=100):
            rig.up()
            delivering = rig.start("deliver", process="deliver", off=off, **options)
            wait_for(lambda: hook.delivered, 60, "the first delivery")
            samples = Samples(delivering.pid)
            for _ in range(1 if off else stage.count(3, 1)):
                _watched(samples, 12.0)
                rig.moving(30)  # no worker waits for it
                delivering.end(signal.SIGKILL)
                rig.fault("deliverer killed")
                delivering = rig.start("deliver", process="deliver", off=off, **options)
                samples = Samples(delivering.pid)
            _watched(samples, 5.0)
        behind = len(_sent(rig)) - len(hook.delivered)
        hook.answer = lambda _: (0.0, 200)  # it has recovered
        began = time.monotonic()
        rig.probe(60)
        wanted = _sent(rig)
        while (left := _missing(wanted, hook)) and time.monotonic() - began < (20 if off else 120):
            samples.take(time.monotonic())
            time.sleep(0.2)
        rig.stop()
        outcome.add(rig.verdict(), rig)
    outcome.caught_up_s = max(outcome.caught_up_s, round(time.monotonic() - began, 3))
    if left:
        outcome.lost += len(left)
        outcome.fail(f"{len(left)} of {len(wanted)} were never delivered")
    strange = {identity.partition("_")[0] for identity in hook.delivered} - wanted
    changed = sum(1 for bodies in hook.delivered.values() if len(bodies) > 1)
    if strange or changed:
        outcome.wrong += len(strange) + changed
        outcome.fail(f"{len(strange)} deliveries of nothing, {changed} with several bodies")
    grown = max(samples.memory) - samples.memory[0]
    outcome.note = (
        f"{len(wanted)} deliveries, {behind} of them behind when the receiver recovered, worked off in "
        f"{time.monotonic() - began:.0f} s; {sum(hook.requests.values())} requests; memory at most {grown:+.0f} MiB"
    )
    if grown > GROWTH_MIB:
        outcome.fail(f"its memory grew by {grown:.0f} MiB")


def _missing(wanted: set[str], hook: Webhook) -> set[str]:
    return wanted - {identity.partition("_")[0] for identity in list(hook.delivered)}


def row26(stage: Stage) -> Result:
    """backpressure: a slow webhook, and kill -9 of the deliverer"""
    result = Result(26, "backpressure: a slow webhook, and kill -9 of the deliverer", stage.seed)
    result.control = "an answer that asks for another attempt counts as the end"
    _webhook(stage, result)
    result.control_red = red(lambda outcome: _webhook(stage, outcome, "attempts"))
    return result
