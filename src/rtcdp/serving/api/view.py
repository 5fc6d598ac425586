"""Reading the projection in Redis: what `rtcdp project` wrote, by the names of `sinks.redis_keys`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rtcdp.projector.standing import Standing
from rtcdp.serving.api.problems import Problem
from rtcdp.sinks.redis_keys import Keys

TIMEOUT_S = 5.0
QUEUE_S = 2.0
"""How long a request may wait for one of the connections; a Redis that stands still holds all of them."""
CONNECTIONS = 64
SAME_IDENTIFIER = 16
"""Most profiles that are looked at where several have one identifier."""
HOPS = 4
"""An alias may be one of another."""

_FIND = f"""
-- ARGV: prefix, tenant, identifier, 1 where offers are wanted.
-- Returns the views (with their offers, where wanted) of the profile of that key, else of those with that identifier;
-- and whether the projection is complete.
local prefix, tenant, identifier = ARGV[1], ARGV[2], ARGV[3]
local views = {{}}
local function add(key, hops)
  local view = redis.call('GET', prefix .. 'profile:' .. key)
  if view then
    local offers = {{}}
    if ARGV[4] == '1' then offers = redis.call('HVALS', prefix .. 'offers:' .. key) end
    views[#views + 1] = {{view, offers}}
  elseif hops < {HOPS} then
    for _, other in ipairs(redis.call('ZRANGE', prefix .. 'id:' .. key, 0, {SAME_IDENTIFIER - 1})) do add(other, hops + 1) end
  end
end
add(tenant .. '/' .. identifier, 0)
local complete = redis.call('GET', prefix .. 'complete')
return {{views, complete and complete == redis.call('GET', prefix .. 'epoch') and 1 or 0}}
"""


class _Head(msgspec.Struct):
    now: str = ""


_head = msgspec.json.Decoder(_Head).decode
_standing = msgspec.json.Decoder(Standing).decode


class Away(Exception):
    """Redis does not answer."""


class Filling(Exception):
    """What was looked for is not there, and not every profile is there yet."""


def connect(url: str, password: str = "") -> redis.Redis:
    """A client for reading; what fails is told at once. Raises ValueError for no address of a Redis."""
    options: dict[str, Any] = {"password": password} if password else {}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=QUEUE_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # Reading may be repeated: one connection may be older than a restart. After a timeout it would only take twice as long.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **options,
    )
    return redis.Redis.from_pool(pool)


class View:
    """The projection of one app.

    Everything raises Away where Redis does not answer.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self.keys = keys
        self._find = client.register_script(_FIND)

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def profile(self, tenant: str, identifier: str, *, offers: bool = False) -> tuple[bytes, list[bytes]] | None:
        """A profile's view and its offers, JSON each; None where there is none.

        identifier: `NAMESPACE:VALUE` as in a profile key: the profile's own, else one that it has. Of several profiles the one
        with the latest time counts.

        Raises Filling where it may still be to come.
        """
        wanted = "1" if offers else "0"
        found: Any = await _answer(self._find(args=[self.keys.prefix, tenant, identifier, wanted]))
        views, complete = found
        if not views:
            if not complete:
                raise Filling
            return None
        view, offered = views[0] if len(views) == 1 else max(views, key=lambda one: _head(one[0]).now)
        return view, offered

    async def recent(self, key: str, most: int) -> list[bytes]:
        """A profile's latest changes and triggers, JSON, newest first."""
        found: list[bytes] = await _answer(self._client.zrevrange(self.keys.recent(key), 0, most - 1))
        return found

    async def views(self, keys: Sequence[str]) -> list[bytes | None]:
        """The views of some profiles."""
        if not keys:
            return []
        found: list[bytes | None] = await _answer(self._client.mget([self.keys.profile(key) for key in keys]))
        return found

    async def sizes(self, tenant: str, segments: Sequence[str]) -> list[int]:
        """How many are in each segment."""
        pipeline = self._client.pipeline(transaction=False)
        for name in segments:
            pipeline.zcard(self.keys.segment(tenant, name))
        found: list[int] = await _answer(pipeline.execute())
        return found

    async def stage_sizes(self, tenant: str, stages: Sequence[str]) -> list[int]:
        """How many are in each stage."""
        pipeline = self._client.pipeline(transaction=False)
        for name in stages:
            pipeline.scard(self.keys.stage(tenant, name))
        found: list[int] = await _answer(pipeline.execute())
        return found

    async def members(self, tenant: str, segment: str, after: tuple[int, str] | None, most: int) -> list[tuple[str, int]]:
        """A page of a segment's members: profile key and when it entered (ms), by that time and then by key.

        after: the last one of the page before; it need not be a member any more.
        """
        name = self.keys.segment(tenant, segment)
        start = 0 if after is None else await self._place_behind(name, *after)
        found: Any = await _answer(self._client.zrange(name, start, start + most - 1, withscores=True))
        return [(key.decode(), int(entered)) for key, entered in found]

    async def among(self, tenant: str, segment: str, keys: Sequence[str]) -> list[bool]:
        """Which of these profiles are in a segment."""
        if not keys:
            return []
        found: Any = await _answer(self._client.zmscore(self.keys.segment(tenant, segment), list(keys)))
        return [score is not None for score in found]

    async def sample(self, tenant: str, segment: str, most: int) -> list[str]:
        """Members of a segment, chosen by chance; all of them where there are no more."""
        found: Any = await _answer(self._client.zrandmember(self.keys.segment(tenant, segment), most))
        return [key.decode() for key in found or ()]

    async def flows(self, tenant: str, resolution: int, first: int, last: int) -> list[dict[str, int]]:
        """What was counted in each piece of time, from the one that holds the instant `first` (ms) to that of `last`."""
        pipeline = self._client.pipeline(transaction=False)
        for at in range(first // resolution * resolution, last + 1, resolution):
            pipeline.hgetall(self.keys.flow(tenant, resolution, at))
        found: Any = await _answer(pipeline.execute())
        return [{what.decode(): int(count) for what, count in counts.items()} for counts in found]

    async def standing(self) -> tuple[bool, dict[str, Standing]]:
        """Whether every profile is there, and how far each partition is."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(self.keys.epoch)
        pipeline.get(self.keys.complete)
        pipeline.hgetall(self.keys.progress)
        epoch, complete, progress = await _answer(pipeline.execute())
        told = {name.decode(): _standing(value) for name, value in progress.items()}
        return epoch is not None and epoch == complete, told

    async def _place_behind(self, name: str, entered: int, key: str) -> int:
        rank: Any = await _answer(self._client.zrank(name, key))
        if rank is not None:
            score: Any = await _answer(self._client.zscore(name, key))
            if score == entered:
                return int(rank) + 1
        low: int = await _answer(self._client.zcount(name, "-inf", f"({entered}"))
        high: int = await _answer(self._client.zcount(name, "-inf", entered))
        wanted = key.encode()
        while low < high:  # among those that entered at the same instant, Redis orders by bytes
            middle = (low + high) // 2
            found: Any = await _answer(self._client.zrange(name, middle, middle))
            if found and found[0] <= wanted:
                low = middle + 1
            else:
                high = middle
        return low


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except redis.RedisError as error:
        raise Away(str(error)) from None


class reading:  # noqa: N801 - reads as a statement
    """What is inside asks Redis: where that does not answer, the request ends with 503."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Away):
            raise Problem(503, "Redis does not answer", retry_s=1) from None
