"""What is inside an event reaches no log of the projection or of the API: whole processes, at the most talkative level."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rtcdp.servers.local_process import LocalProcess, free_port
from rtcdp.serving.api.tokens import ROLES, TokenFile
from tests.projector.conftest import DEFINITIONS, Log
from tests.serving.api.conftest import Client
from tests.worker.conftest import wait_for
from tests.worker.test_canary import CANARY, logged

RECORD = f"user_id:{CANARY}"
Start = Callable[..., LocalProcess]


@pytest.fixture
def shop(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[Log]:
    """Records of a person whose every value is the canary, and records that nobody can read."""
    (tmp_path / "definitions").mkdir()
    personal = f"payload: {{orders: orders, text: properties.{CANARY}}}"
    log = Log(kafka, redis_url, tmp_path / "definitions", DEFINITIONS.replace("payload: {orders: orders}", personal))
    made = log.admin.create_topics(log.more_topics("commands", "events_dlq", "profile_events", "deliveries_dlq"))
    for future in made.values():
        future.result(30)
    log.traits(CANARY, email=f"{CANARY}@example.com", name=CANARY)
    log.send({"type": "track", "event": "Order Completed", "userId": CANARY, "properties": {CANARY: CANARY}})
    settings, word = log.settings, CANARY.encode()
    for topic in (settings.changelog, settings.profile_changes, settings.triggers, settings.events_dlq):
        log.raw(topic, b"main/user_id:broken-" + word, b'{"' + word)
        log.raw(topic, word + b"\xff", word)
    yield log
    log.close()


@pytest.fixture
def start(shop: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """`start("serve", NAME=value)` begins a process; its log is `NAME.log`."""
    settings = shop.settings
    names = ("bootstrap", "app", "redis", "commands", "events_dlq", "profile_events", "profile_changes", "triggers",
             "ingest_progress", "definitions_topic", "audit", "deliveries_dlq", "delivery_commands")  # fmt: skip
    told = {name: getattr(settings, name) for name in names} | {"sources": settings.sources[0].topic}
    told |= {"log_level": "debug", "log_format": "json", "state_dir": tmp_path, "api_tokens": tmp_path / "tokens.json"}
    for name, value in told.items():
        monkeypatch.setenv(f"RTCDP_{name.upper()}", str(value))
    with ExitStack() as stack:

        def begin(name: str, **more: object) -> LocalProcess:
            for setting, value in more.items():
                monkeypatch.setenv(f"RTCDP_{setting.upper()}", str(value))
            process = LocalProcess([sys.executable, "-m", "rtcdp.cli", name], tmp_path / f"{name}.log")
            stack.callback(process.stop, kill=True)
            port = more["metrics_port"]
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60, f"{name}: {process.last_words()}")
            return process

        yield begin


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.timeout(120)
def test_the_projection_and_the_api_log_nothing_of_a_person(shop: Log, start: Start, tmp_path: Path) -> None:
    _, token = TokenFile(tmp_path / "tokens.json").add(
        "all", list({scope for role in ROLES.values() for scope in role}), ["main"]
    )
    project = start("project", metrics_port=free_port())
    port = free_port()
    serve = start("serve", metrics_port=free_port(), api_port=port)
    ask = Client(f"http://127.0.0.1:{port}", token)
    profile = f"/v1/profiles/user_id/{CANARY}"
    wait_for(lambda: ask(profile).status == 200, what="the view")
    wait_for(lambda: "a profile cannot be read" in (tmp_path / "project.log").read_text(), what="the unreadable ones")
    assert CANARY in ask(profile).json["traits"]["name"]
    for path in ("now", "timeline", "consent", "why/buyers", f"why/{CANARY}", f"why/buyers?at={CANARY}", CANARY):
        assert ask(f"{profile}/{path}").status in {200, 400, 404, 503}, path
    wrong = (
        f"segments/{CANARY}/members",
        f"segments?tenant={CANARY}",
        CANARY,
        f"definitions/{CANARY}",
        f"audit?profile={RECORD}",
    )
    for path in (*wrong, "dead-letters", "segments/buyers/members?format=csv&columns=traits.name"):
        ask(f"/v1/{path}")
    ask(f"{profile}/correct", {"traits": {"name": CANARY}, "reason": CANARY})
    ask("/v1/definitions/check", {"files": {"a.yaml": f"segments: {{a: {CANARY} > '{CANARY}'"}})
    ask("/v1/definitions/backtest", {"files": {"a.yaml": f"segments: {{a: traits.name == '{CANARY}'}}"}})
    ask("/v1/dead-letters/replay", b'{"' + CANARY.encode())
    ask(profile, authorization=f"Bearer {CANARY}")
    with urllib.request.urlopen(ask.request("/v1/stream", Last_Event_ID="0.0-0.0"), timeout=15) as stream:
        assert any(CANARY.encode() in line for line in stream)
    for process in (serve, project):
        process.stop()
    for name in ("serve", "project"):
        text = logged(tmp_path / f"{name}.log")
        assert CANARY not in text, name
        assert token not in text
