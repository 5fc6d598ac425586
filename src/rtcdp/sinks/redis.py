"""Writing the projection to Redis: a lease, the positions, and steps that are each applied once or not at all.

Steps are pipelined: up to `IN_FLIGHT` are on their way while the next ones are made. Whatever fails (Redis away, restarted
empty or from an older snapshot, flushed, taken over by another writer) raises Lost or a redis error; the writer then opens anew
and goes on from the positions it finds.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rtcdp.errors import RtcdpError
from rtcdp.sinks.redis_keys import LAYOUT, RESOLUTIONS, Keys
from rtcdp.sinks.redis_scripts import FLOWS, LOST, TAKE, VIEWS, YIELD

logger = logging.getLogger(__name__)

IN_FLIGHT = 16
TIMEOUT_S = 10.0
SCAN = 5_000
_pack = msgspec.msgpack.Encoder().encode

View = tuple[str, int, str, str]
"""Profile key, offset, JSON ("" for none), JSON of [{segment: entered ms}, [identifiers], stage, whose alias] ("" for none)."""
Flow = tuple[str, int, int, str, str, Sequence[Any]]
"""Profile key, seq, instant (ms), `kind|name|detail`, record, (offer, when it expires in ms) or ()."""


class Lost(RtcdpError):
    """Redis does not stand where it was left: look again."""


class Taken(RtcdpError):
    """Another process writes this projection."""


def connect(url: str, password: str = "") -> redis.Redis:
    """A client that never repeats a command by itself: whoever uses it knows what may be repeated.

    password: instead of one in the URL; "" for none.
    """
    options: dict[str, Any] = {"password": password} if password else {}
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


class RedisSink:
    """One writer of one app's projection.

    client: from `connect`.
    keys:   of the app.
    name:   tells writers apart in messages; made unique here.
    lease_ms: how long the projection stays ours without a sign of life.
    recent, recent_s: how many of a profile's latest changes and triggers are kept, and for how long (s).
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, name: str, *, lease_ms: int = 15_000, recent: int = 50, recent_s: int = 604_800
    ) -> None:
        self._client = client
        self._keys = keys
        self._who = f"{name}/{secrets.token_hex(4)}"
        self._lease_ms = lease_ms
        self._recent = (recent, recent_s)
        self._resolutions = [list(pair) for pair in RESOLUTIONS.items()]
        self._connection: Any = None
        self._waiting: deque[tuple[str, int]] = deque()
        self._scripts: dict[str, str] = {}
        self._positions: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self.epoch = ""

    def open(self) -> dict[str, int]:
        """Take the lease, and return the next offset by `topic/partition`: none for what was never written.

        A filling of another layout is removed first. Raises Taken while another process holds the lease, redis errors.
        """
        self.close()
        client, keys = self._client, self._keys
        taken, found = client.eval(TAKE, 2, keys.owner, keys.epoch, self._who, self._lease_ms)
        if not taken:
            raise Taken(f"{found.decode()} writes the projection {keys.app} now")
        self.epoch = found.decode()
        if not self.epoch.startswith(f"{LAYOUT}-"):
            self.clear()
        self._connection = client.connection_pool.get_connection()
        self._scripts = {text: client.script_load(text) for text in (VIEWS, FLOWS)}
        stored: Any = client.hgetall(keys.positions)
        self._positions = {field.decode(): int(position) for field, position in stored.items()}
        return dict(self._positions)

    def clear(self) -> None:
        """Remove everything of the app but the lease, and begin a new filling."""
        client, keys = self._client, self._keys
        client.delete(keys.epoch, keys.complete)  # readers see first that it is not whole
        removed, owner = 0, keys.owner.encode()
        batch: list[bytes] = []
        for name in client.scan_iter(match=f"{_literal(keys.prefix)}*", count=SCAN):
            if name == owner:
                continue
            batch.append(name)
            if len(batch) == SCAN:
                removed += len(batch)
                client.unlink(*batch)
                client.pexpire(keys.owner, self._lease_ms)
                batch.clear()
        if batch:
            client.unlink(*batch)
        self.epoch = f"{LAYOUT}-{secrets.token_hex(8)}"
        client.set(keys.epoch, self.epoch)
        self._positions.clear()
        logger.info("a new filling of the projection %s begins (%d keys removed)", keys.app, removed + len(batch))

    def views(self, partition: str, end: int, entries: Sequence[View]) -> None:
        """Send one step of views: everything of `partition` (`topic/number`) before the offset `end`."""
        self._send(VIEWS, partition, end, _pack(entries))

    def flows(self, partition: str, end: int, entries: Sequence[Flow], now: int) -> None:
        """Send one step of changes and triggers. now: the clock (ms), against which offers expire."""
        self._send(FLOWS, partition, end, _pack(entries), _pack([*self._recent, now, self._resolutions]))

    def settle(self) -> None:
        """Wait until every step sent has been applied. Raises Lost, redis errors."""
        while self._waiting:
            self._answer()

    def beat(self) -> None:
        """A sign of life, and a look whether all is as it was left. Raises Lost, redis errors."""
        answered = dict(self._answered)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.eval(TAKE, 2, self._keys.owner, self._keys.epoch, self._who, self._lease_ms)
        pipeline.hgetall(self._keys.positions)
        (taken, found), stored = pipeline.execute()
        if not taken:
            raise Lost("another writes now")
        if found.decode() != self.epoch:
            raise Lost("this is not the filling it was")
        for partition, position in answered.items():
            if int(stored.get(partition.encode(), -1)) < position:
                raise Lost(f"{partition} stands before {position}: an older snapshot came back")

    def tell(self, progress: Mapping[str, Any], *, complete: bool) -> None:
        """Write how far each partition is, and whether every profile's view is there. Raises redis errors."""
        pipeline = self._client.pipeline(transaction=False)
        if progress:
            pipeline.hset(self._keys.progress, mapping={name: msgspec.json.encode(told) for name, told in progress.items()})
        if complete:
            pipeline.set(self._keys.complete, self.epoch)
        pipeline.execute()

    def close(self) -> None:
        """Give the connection back; what was sent and not answered is looked for at the next `open`."""
        connection, self._connection = self._connection, None
        self._waiting.clear()
        self._answered = {}
        if connection is not None:
            connection.disconnect()
            self._client.connection_pool.release(connection)

    def leave(self) -> None:
        """Give the lease back, so that another need not wait for its end. Raises redis errors."""
        self._client.eval(YIELD, 1, self._keys.owner, self._who)

    def _send(self, script: str, partition: str, end: int, *more: bytes) -> None:
        if self._connection is None:
            raise Lost("the sink is not open")
        begin = self._positions.get(partition)
        self._connection.send_command(
            "EVALSHA",
            self._scripts[script],
            0,
            self._keys.prefix,
            self.epoch,
            self._who,
            self._lease_ms,
            partition,
            "-" if begin is None else begin,
            end,
            *more,
        )
        self._positions[partition] = end
        self._waiting.append((partition, end))
        while len(self._waiting) > IN_FLIGHT:
            self._answer()

    def _answer(self) -> None:
        partition, end = self._waiting.popleft()
        try:
            self._connection.read_response()
        except redis.ResponseError as error:
            if str(error).startswith((LOST, "NOSCRIPT")):
                raise Lost(str(error)) from None
            raise
        self._answered[partition] = end


def _literal(text: str) -> str:
    """The text as a pattern that matches just itself."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)
