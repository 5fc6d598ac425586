"""The projection on a real Kafka and a real Redis: what it holds, and that nothing that happens to Redis makes it wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import redis

from rtcdp.projector.main import run
from rtcdp.projector.projection import STEP
from rtcdp.servers.local_process import free_port
from rtcdp.servers.redis_server import RedisServer
from rtcdp.settings.config import Settings
from rtcdp.sinks.redis import Lost
from rtcdp.sinks.redis_keys import Keys
from tests.projector.conftest import Log, Project, Running, digest
from tests.worker.conftest import wait_for


def view(running: Running, user: str) -> dict[str, Any]:
    text = running.client.get(f"{running.settings.app}:profile:main/user_id:{user}")
    return json.loads(text) if text else {}


def members(running: Running, segment: str) -> list[str]:
    return [key.partition(":")[2] for key in running.client.zrange(f"{running.settings.app}:segment:main:{segment}", 0, -1)]


def has_orders(running: Running, user: str, orders: int) -> None:
    wait_for(lambda: view(running, user).get("features", {}).get("orders") == orders, what=f"{orders} orders of {user}")


def test_profiles_segments_identifiers_and_what_happened(log: Log, project: Project) -> None:
    log.traits("ann", "bob", email="Ann@Example.com", 名="安")
    log.orders("ann", "bob")
    running = project(log.settings).ready()
    log.orders("ann", "ann")
    has_orders(running, "ann", 3)
    ann = view(running, "ann")
    assert ann["segments"] == {"buyers": "2025-05-01T10:00:00.000Z", "loyal": "2025-05-01T10:00:00.000Z"}
    assert ann["tags"] == {"level": "gold"}
    assert ann["traits"]["名"] == "安"
    assert ann["version"] == log.definitions.version
    assert members(running, "buyers") == ["ann", "bob"]
    assert members(running, "loyal") == ["ann"]
    client, app = running.client, log.settings.app
    assert client.zrange(f"{app}:id:main/email:ann@example.com", 0, -1) == ["main/user_id:ann", "main/user_id:bob"]

    recent = wait_for(lambda: len(found := client.zrange(f"{app}:recent:main/user_id:ann", 0, -1)) == 7 and found, what="seven")
    kinds = [json.loads(text).get("kind", "sent") for text in recent]
    assert sorted(kinds) == ["entered", "entered", "not_sent", "sent", "sent", "tag", "tag"]
    flow = client.hgetall(Keys(app).flow("main", 3_600_000, 1_746_093_600_000))
    assert flow == {
        "entered|buyers": "2",
        "entered|loyal": "1",
        "identity||alias": "1",
        "identity||detached": "1",
        "sent|thanks": "3",
        "not_sent|thanks|cap": "1",
        "tag|level": "3",
    }


def test_what_ends_leaves_every_place(log: Log, project: Project) -> None:
    log.traits("ann", "bob", email="ann@example.com")
    log.orders("ann", "bob")
    running = project(log.settings).ready()
    has_orders(running, "ann", 1)
    assert members(running, "buyers") == ["ann", "bob"]
    log.commit([], gone=("main/user_id:ann",))
    wait_for(lambda: not view(running, "ann"), what="the end of a profile")
    assert members(running, "buyers") == ["bob"]
    assert running.client.zrange(f"{log.settings.app}:id:main/email:ann@example.com", 0, -1) == ["main/user_id:bob"]
    assert not [
        name for name in running.client.scan_iter(match=f"{log.settings.app}:*ann*") if not name.endswith("example.com")
    ]


def test_aborted_transactions_are_never_seen(log: Log, project: Project) -> None:
    log.orders("ann")
    found = list(log.replay.feed(b'{"type":"track","event":"Order Completed","userId":"eve","messageId":"x"}'))
    log.commit(found, abort=True)
    log.orders("bob")  # eve's profile is in the engine's state, and goes out only with this
    running = project(log.settings).ready()
    has_orders(running, "bob", 1)
    offsets = [view(running, user)["offset"] for user in ("ann", "bob")]
    assert all(offset >= 0 for offset in offsets)
    assert running.client.hget(Keys(log.settings.app).flow("main", 3_600_000, 1_746_093_600_000), "entered|buyers") == "2"


def test_flushed_restarted_killed_leads_to_the_same_state(log: Log, project: Project, own_redis: RedisServer) -> None:
    users = [f"u{number}" for number in range(3 * STEP)]
    log.orders(*users)
    running = project(log.settings, redis=own_redis.url).ready()
    app = log.settings.app
    wait_for(lambda: running.client.zcard(f"{app}:segment:main:buyers") == len(users))
    wait_for(lambda: running.client.hlen(f"{app}:positions") == 6, what="positions of three topics")
    expected = digest(own_redis.url, app)
    assert expected[1] > 3 * len(users)

    def same() -> bool:
        try:
            return digest(own_redis.url, app) == expected
        except redis.RedisError:
            return False

    epoch = running.client.get(f"{app}:epoch")
    running.client.flushall()
    assert digest(own_redis.url, app) != expected
    wait_for(same, what="the same state after a flush")
    assert running.client.get(f"{app}:epoch") != epoch

    own_redis.stop(kill=True)
    wait_for(running.health.unready, what="readiness taken back")
    own_redis.start()
    running.ready()
    wait_for(same, what="the same state after a kill")
    log.orders("u0")
    has_orders(running, "u0", 2)
    assert digest(own_redis.url, app) != expected, "the digest sees a difference"


def test_an_older_snapshot_that_comes_back_is_gone_on_from(log: Log, project: Project, own_redis: RedisServer) -> None:
    log.orders("ann", "bob")
    running = project(log.settings, redis=own_redis.url).ready()
    has_orders(running, "bob", 1)
    client, app = running.client, log.settings.app
    wait_for(lambda: client.hlen(f"{app}:positions") >= 4)
    before = {name: client.dump(name) for name in raw_keys(own_redis.url, app)}
    log.orders("ann", "bob", "cat")
    has_orders(running, "cat", 1)
    wait_for(lambda: client.zcard(f"{app}:recent:main/user_id:cat") == 3)
    expected = digest(own_redis.url, app)
    with redis.Redis.from_url(own_redis.url) as raw:
        dumps = {name: value for name, value in before.items() if value is not None}
        raw.flushall()
        for name, value in dumps.items():
            raw.restore(name, 0, value)
    wait_for(lambda: digest(own_redis.url, app) == expected, what="what the snapshot did not know yet")


def test_the_process_answers_and_stops_in_order(log: Log, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "rtcdp.toml"
    settings = log.settings
    topics = {name: value for name, value in settings.own_topics().items() if name != "changelog"}
    values = {"bootstrap": settings.bootstrap, "app": settings.app, "redis": settings.redis, "metrics_port": port, **topics}
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()), "utf-8")
    log.orders("ann")
    command = [sys.executable, "-m", "rtcdp.cli", "project", "--config", str(config)]
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(command, stderr=output)
    try:

        def ready() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_for(ready, what="readiness")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert "rtcdp_projection_views_total 1.0" in answer.read().decode()
        began = time.monotonic()
        process.terminate()
        assert process.wait(15) == 0, (tmp_path / "log").read_text()
        assert time.monotonic() - began < 10
        with redis.Redis.from_url(settings.redis) as client:
            assert client.get(f"{settings.app}:owner") is None, "the lease is given back"
    finally:
        process.kill()
        process.wait()


def test_no_redis_given_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Settings(bootstrap="127.0.0.1:1", metrics_port=-1)) == 2
    assert "rtcdp: redis: no address" in capsys.readouterr().err
    assert run(Settings(bootstrap="127.0.0.1:1", metrics_port=-1, redis="http://x")) == 2
    assert "rtcdp: redis: " in capsys.readouterr().err


def raw_keys(url: str, app: str) -> list[bytes]:
    with redis.Redis.from_url(url) as raw:
        return [name for name in raw.scan_iter(match=f"{app}:*") if not name.endswith(b":owner")]


def test_only_one_writes_and_the_next_takes_over(log: Log, project: Project) -> None:
    log.orders("ann")
    first = project(log.settings).ready()
    second = project(log.settings)
    wait_for(lambda: any("writes the projection" in line for line in second.health.unready()), what="a standby")
    log.orders("ann")
    has_orders(first, "ann", 2)
    first.projection.stop()
    second.ready()
    log.orders("ann")
    has_orders(second, "ann", 3)
    assert members(second, "loyal") == ["ann"]


def test_a_writer_that_slept_through_a_takeover_writes_nothing(log: Log, project: Project) -> None:
    log.orders("ann")
    running = project(log.settings).ready()
    sink = running.projection._sink
    client, app = running.client, log.settings.app
    partition = next(iter(client.hgetall(f"{app}:positions")))
    client.set(f"{app}:owner", "another", px=60_000)
    wait_for(running.health.unready, what="the loss to be seen")

    def write() -> None:
        sink.views(partition, 10**9, [("main/user_id:ann", 10**9, "{}", "")])
        sink.settle()

    with pytest.raises(Lost):
        write()
    assert view(running, "ann")["features"]["orders"] == 1


def test_topics_made_anew_begin_a_new_filling(log: Log, project: Project) -> None:
    log.orders("ann", "bob", "cat")
    running = project(log.settings).ready()
    has_orders(running, "cat", 1)
    running.stop()
    with redis.Redis.from_url(log.settings.redis) as client:
        for field in client.hkeys(f"{log.settings.app}:positions"):
            client.hset(f"{log.settings.app}:positions", field, 10**9)
        client.set(f"{log.settings.app}:profile:main/user_id:stale", "{}")
    again = project(log.settings).ready()
    has_orders(again, "cat", 1)
    assert not view(again, "stale")
    assert members(again, "buyers") == ["ann", "bob", "cat"]
