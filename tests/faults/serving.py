"""Row 27: the API while its Redis is gone, stands still, and comes back empty: answers are right, or say why not."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

from faults.neighbours import early, ready
from faults.processes import wait_for
from faults.rig import Rig
from faults.stage import Result, Stage, load, red
from rtcdp.servers.local_process import free_port
from rtcdp.servers.redis_server import RedisServer
from rtcdp.serving.api.tokens import SCOPES, TokenFile

OUTAGE_S = 8.0
PATIENCE_S = 7.5
"""How long an answer may take, also one that says that there is none (s): a reader's timeout, and the machine's load."""
EVERY_S = 0.02


class Asker:
    """Asks for one profile after the other, and judges every answer.

    told: what these profiles have said of themselves, by profile key.
    """

    def __init__(self, address: str, token: str, told: dict[str, dict[str, Any]]) -> None:
        self._address, self._token, self._told = address, token, told
        self.answers: Counter[int] = Counter()
        self.slowest = 0.0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while True:
            for key, state in self._told.items():
                if self._over.wait(EVERY_S):
                    return
                self._judge(key, state)

    def _judge(self, key: str, state: dict[str, Any]) -> None:
        began = time.monotonic()
        status, headers, body = self.ask(f"/v1/profiles/{key.partition('/')[2].replace(':', '/')}")
        seconds = time.monotonic() - began
        self.answers[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status == 200:
            features = json.loads(body)["features"]
            if any(features.get(name, 0) != state[name] for name in ("events", "orders", "spend")):
                self.wrong.append(f"{key} is told to be {features}")
        elif status != 503 or "retry-after" not in headers or not json.loads(body).get("detail"):
            self.wrong.append(f"{status} {body[:200]!r}")
        if seconds > PATIENCE_S:
            self.wrong.append(f"{status} after {seconds:.1f} s")

    def ask(self, path: str) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer; status 0 where there was none."""
        request = urllib.request.Request(self._address + path, headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()
        except OSError as error:
            return 0, {}, str(error).encode()


def _outage(rig: Rig, server: RedisServer, kind: str, port: int, outcome: Result) -> None:
    """Redis dies and comes back empty, or stands still; readiness says so, and comes back by itself."""
    if kind == "killed":
        server.stop(kill=True)
    else:
        os.kill(server.pid, signal.SIGSTOP)
    rig.fault(f"Redis {kind}")
    began = time.monotonic()
    wait_for(lambda: ready(port) == 503, 30, "the API to say that it is not ready")
    time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - began)))
    if ready(port) != 503:
        outcome.fail(f"/readyz does not say that Redis is {kind}")
    if kind == "killed":
        server.start()
    else:
        os.kill(server.pid, signal.SIGCONT)


def _serve(stage: Stage, outcome: Result, *off: str) -> None:
    with RedisServer() as server, stage.rig(f"serve{''.join(off)}", redis=server.url) as rig:
        port, health = free_port(), free_port()
        tokens = rig.folder / "tokens.json"
        _, token = TokenFile(tokens).add("row 27", list(SCOPES), ["main"])
        with load(rig, rate=200, users=100):
            rig.up()
            rig.start("views", process="project")
            options = {"api_port": port, "api_tokens": str(tokens), "metrics_port": health}
            api = rig.start("api", process="serve", off=off, **options)
            told = early(rig)
            wait_for(lambda: ready(health) == 200, 90, "the API")
            asker = Asker(f"http://127.0.0.1:{port}", token, told)
            try:
                wait_for(lambda: asker.answers[200] >= len(told) or asker.wrong, 90, "every view once")
                for number in range(1 if off else stage.count(6, 2)):
                    _outage(rig, server, ("killed", "stopped")[number % 2], health, outcome)
                    before = asker.answers[200]
                    wait_for(lambda: ready(health) == 200, 90, "the API after Redis")
                    wait_for(lambda before=before: asker.answers[200] >= before + len(told), 90, "every view again")
            finally:
                asker.stop()
            if asker.ask("/v1/openapi.json")[0] != 200 or api.code is not None:
                outcome.fail("the API has not lived through it")
        outcome.caught_up_s = max(outcome.caught_up_s, round(rig.probe(60), 3))
        rig.stop()
        outcome.add(rig.verdict(), rig)
    if asker.wrong:
        outcome.wrong += len(asker.wrong)
        outcome.fail(f"{len(asker.wrong)} answers are neither right nor say why there is none: {asker.wrong[:3]}")
    counts = ", ".join(f"{count:,} times {status}" for status, count in sorted(asker.answers.items()))
    outcome.note = f"answers: {counts}; the slowest after {asker.slowest:.1f} s"


def row27(stage: Stage) -> Result:
    """the API while Redis is gone or stands still"""
    result = Result(27, "`rtcdp serve` while Redis is gone, stands still, and comes back empty", stage.seed)
    result.control = "what is not in the view yet counts as not there"
    _serve(stage, result)
    result.control_red = red(lambda outcome: _serve(stage, outcome, "filling"))
    return result
