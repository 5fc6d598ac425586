"""Finding a profile in the serving view: by its key, by what it is called besides, by what belongs to it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import redis

from rtcdp.serving.api import view as views
from rtcdp.serving.api.view import Away, Filling, View, connect
from rtcdp.sinks.redis_keys import Keys


def found(url: str, keys: Keys, identifier: str) -> bytes | None:
    async def look() -> bytes | None:
        view = View(connect(url), keys)
        try:
            answer = await view.profile("main", identifier, offers=True)
        except Filling:
            return b"filling"
        finally:
            await view.close()
        return answer and answer[0]

    return asyncio.run(look())


def test_an_identifier_leads_to_the_profile_over_aliases(redis_url: str) -> None:
    keys = Keys(f"v{uuid.uuid4().hex[:6]}")
    with redis.Redis.from_url(redis_url) as client:
        assert found(redis_url, keys, "user_id:ann") == b"filling"
        client.set(keys.epoch, "1-x")
        client.set(keys.complete, "1-x")
        client.set(keys.profile("main/user_id:ann"), '{"now":"2026-01-02"}')
        client.set(keys.profile("main/user_id:old"), '{"now":"2026-01-01"}')
        client.zadd(keys.identifier("main", "anonymous_id:a1"), {"main/anonymous_id:a2": 0})
        client.zadd(keys.identifier("main", "anonymous_id:a2"), {"main/user_id:ann": 0})
        client.zadd(keys.identifier("main", "email:x@y"), {"main/user_id:ann": 0, "main/user_id:old": 0})
        client.zadd(keys.identifier("main", "device:loop"), {"main/device:loop": 0})
        for identifier in ("user_id:ann", "anonymous_id:a1", "email:x@y"):
            assert found(redis_url, keys, identifier) == b'{"now":"2026-01-02"}', identifier
        assert found(redis_url, keys, "user_id:nobody") is None
        assert found(redis_url, keys, "device:loop") is None
        client.delete(*client.keys(f"{keys.app}:*"))


def test_a_redis_that_stands_still_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "TIMEOUT_S", 0.1)
    asked: list[asyncio.StreamWriter] = []

    async def ask() -> None:
        server = await asyncio.start_server(lambda _, writer: asked.append(writer), "127.0.0.1", 0)
        async with server:
            view = View(connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"), Keys("still"))
            with pytest.raises(Away):
                await view.profile("main", "user_id:ann")
            await view.close()
            for writer in asked:
                writer.close()

    asyncio.run(ask())
    assert len(asked) == 1
