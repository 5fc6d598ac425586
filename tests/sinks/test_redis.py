"""Steps to a real Redis: each is applied once or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rtcdp.sinks import redis as sinks
from rtcdp.sinks import redis_scripts
from rtcdp.sinks.redis import Lost, RedisSink, Taken, connect
from rtcdp.sinks.redis_keys import COARSE_MS, Keys

NOW = 1_746_093_600_000
FLOW = ("main/user_id:ann", 7, NOW, "entered|buyers", '{"kind":"entered"}', ())


@pytest.fixture
def keys() -> Keys:
    return Keys(f"s[{uuid.uuid4().hex[:6]}]*")  # names that a pattern could mistake


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def sink(redis_url: str, keys: Keys) -> Iterator[RedisSink]:
    sink = RedisSink(connect(redis_url), keys, "test")
    sink.open()
    yield sink
    sink.close()
    sink.clear()
    sink.leave()


def again(sink: RedisSink, send: Any) -> None:
    """Send what was sent, as after an answer that never came."""
    before = dict(sink._positions)
    send()
    sink.settle()
    sink._positions = before
    send()
    sink.settle()


def counted(client: redis.Redis, keys: Keys) -> Any:
    return client.hget(keys.flow("main", COARSE_MS, NOW), "entered|buyers")


def test_a_step_that_is_repeated_is_refused(sink: RedisSink, client: redis.Redis, keys: Keys) -> None:
    with pytest.raises(Lost, match="changes/0 stands at 8, not -"):
        again(sink, lambda: sink.flows("changes/0", 8, [FLOW], NOW))
    assert counted(client, keys) == "1"
    assert sink.open() == {"changes/0": 8}


def test_without_the_check_it_would_count_twice(
    sink: RedisSink, client: redis.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked = "\n".join(line for line in redis_scripts.FLOWS.splitlines() if "LOST" not in line)
    monkeypatch.setattr(sinks, "FLOWS", unchecked)
    sink.open()
    again(sink, lambda: sink.flows("changes/0", 8, [FLOW], NOW))
    assert counted(client, keys) == "2"


def test_an_older_view_never_replaces_a_newer_one(sink: RedisSink, client: redis.Redis, keys: Keys) -> None:
    newer = ("main/user_id:ann", 9, '{"n":9}', '[{"buyers":5},["email:a@b"],"new"]')
    older = ("main/user_id:ann", 3, '{"n":3}', '[{"lapsed":4},[],""]')
    sink.views("changelog/0", 10, [newer])
    sink.views("changelog/0", 11, [older])
    sink.settle()
    assert client.get(keys.profile("main/user_id:ann")) == '{"n":9}'
    assert client.zrange(keys.segment("main", "buyers"), 0, -1, withscores=True) == [("main/user_id:ann", 5.0)]
    assert not client.exists(keys.segment("main", "lapsed"))
    assert client.zrange(keys.identifier("main", "email:a@b"), 0, -1) == ["main/user_id:ann"]


def test_a_flush_in_between_is_seen_by_the_next_step(sink: RedisSink, client: redis.Redis, keys: Keys) -> None:
    sink.flows("changes/0", 8, [FLOW], NOW)
    sink.settle()
    for name in client.scan_iter(match="s*", count=1000):
        if name.startswith(keys.prefix):
            client.delete(name)

    def more() -> None:
        sink.flows("changes/0", 9, [FLOW], NOW)
        sink.settle()

    with pytest.raises(Lost, match="not the filling it was"):
        more()
    with pytest.raises(Lost):
        sink.beat()
    assert sink.open() == {}


def test_a_filling_of_another_layout_is_removed(redis_url: str, client: redis.Redis, keys: Keys) -> None:
    client.set(keys.epoch, "0-older")
    client.set(keys.profile("main/user_id:old"), "{}")
    client.set("s-of-somebody-else", "1")
    sink = RedisSink(connect(redis_url), keys, "test")
    assert sink.open() == {}
    assert not client.exists(keys.profile("main/user_id:old"))
    assert client.get("s-of-somebody-else") == "1"
    with pytest.raises(Taken, match=r"^test/\w+ writes the projection"):
        RedisSink(connect(redis_url), keys, "other").open()
    sink.clear()
    sink.leave()
    client.delete(keys.epoch, "s-of-somebody-else")


def test_offers_end_when_they_expire(sink: RedisSink, client: redis.Redis, keys: Keys) -> None:
    who = "main/user_id:ann"
    sink.flows("triggers/0", 1, [(who, 1, NOW, "sent|a", '{"id":"1"}', ("a", NOW + 60_000))], NOW)
    sink.flows("triggers/0", 2, [(who, 2, NOW, "sent|b", '{"id":"2"}', ("b", NOW - 1))], NOW)
    sink.settle()
    assert client.hgetall(keys.offers(who)) == {"a": '{"id":"1"}'}
    assert 0 < client.pttl(keys.offers(who)) <= 60_000


def test_only_the_latest_are_kept_of_a_profile(redis_url: str, client: redis.Redis, keys: Keys) -> None:
    sink = RedisSink(connect(redis_url), keys, "test", recent=2)
    sink.open()
    sink.flows("changes/0", 8, [("main/a:b", seq, NOW, "tag|t", f'{{"seq":{seq}}}', ()) for seq in (3, 1, 2)], NOW)
    sink.settle()
    assert client.zrange(keys.recent("main/a:b"), 0, -1) == ['{"seq":2}', '{"seq":3}']
    sink.close()
    sink.clear()
    sink.leave()


def test_an_alias_leads_to_the_person(sink: RedisSink, client: redis.Redis, keys: Keys) -> None:
    device, person = "main/anonymous_id:a1", "main/user_id:ann"
    sink.views("changelog/0", 2, [(device, 1, '{"n":1}', '[{"buyers":5},[],""]')])
    sink.views("changelog/0", 3, [(device, 2, "", f'[{{}},[],"","{person}"]')])
    sink.settle()
    assert not client.exists(keys.profile(device), keys.segment("main", "buyers"))
    assert client.zrange(keys.identifier("main", "anonymous_id:a1"), 0, -1) == [person]
    sink.views("changelog/0", 4, [(device, 1, '{"n":1}', "")])
    sink.views("changelog/0", 5, [(device, 4, "", "")])
    sink.settle()
    assert not client.exists(keys.profile(device), keys.identifier("main", "anonymous_id:a1"))
