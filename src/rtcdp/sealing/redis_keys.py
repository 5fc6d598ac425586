"""Data keys in a Redis of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis

from rtcdp.errors import SettingError
from rtcdp.sealing.stores import ID_BYTES, ROOT, Keyring, KeysAway

WAIT_S = 5.0

_RETIRE = """
local key = redis.call('HGET', KEYS[1], 'c')
if key then
  redis.call('HSET', KEYS[1], 'r' .. string.sub(key, 1, 8), string.sub(key, 9))
  redis.call('HDEL', KEYS[1], 'c')
end
redis.call('RPUSH', KEYS[2], ARGV[1])
"""
_DESTROY = """
local key = redis.call('HGET', KEYS[1], 'c')
if key and string.sub(key, 1, 8) == ARGV[1] then redis.call('HDEL', KEYS[1], 'c') end
redis.call('HDEL', KEYS[1], 'r' .. ARGV[1])
redis.call('HSETNX', KEYS[1], 'g' .. ARGV[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
"""


class RedisKeys:
    """In a Redis of its own, for several machines: one that writes every change to disk and evicts nothing.

    client: with bytes as answers. prefix: of every key, for the deployment.

    Raises SettingError where the server could lose keys.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix.encode() + b":key:"
        self._root = prefix.encode() + b":" + ROOT
        self._changed = prefix.encode() + b":changes"
        self._retire = client.register_script(_RETIRE)
        self._destroy = client.register_script(_DESTROY)

    def check(self) -> None:
        """Raise SettingError where the server may lose keys, KeysAway where it does not answer."""
        with _redis_errors():
            found = {name: self._client.config_get(name) for name in ("appendonly", "maxmemory-policy", "appendfsync")}
        options = {name: _text(next(iter(value.values()), b"")) for name, value in found.items()}
        for name, wanted in (("appendonly", "yes"), ("maxmemory-policy", "noeviction")):
            if options[name] != wanted:
                raise SettingError(f"keys_redis: it must have {name} {wanted}, it has {options[name]}: keys could get lost")
        if options["appendfsync"] == "no":
            raise SettingError("keys_redis: it must have appendfsync everysec or always: keys could get lost")

    def root(self, proposed: bytes | None) -> bytes | None:
        """As `KeyStore`."""
        with _redis_errors():
            if proposed is not None:
                self._client.set(self._root, proposed, nx=True)
            found: bytes | None = self._client.get(self._root)
        return found

    def replace_root(self, root: bytes) -> None:
        """As `KeyStore`."""
        with _redis_errors():
            self._client.set(self._root, root)

    def find(self, names: Sequence[bytes]) -> list[Keyring]:
        """As `KeyStore`."""
        with _redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(self._prefix + name)
            return [_keyring(fields) for fields in pipe.execute()]

    def add(self, proposed: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """As `KeyStore`."""
        with _redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for name, (key_id, key) in proposed.items():
                pipe.hsetnx(self._prefix + name, "c", key_id + key)
            pipe.execute()

    def retire(self, names: Iterable[bytes]) -> None:
        """As `KeyStore`."""
        with _redis_errors():
            for name in names:
                self._retire(keys=[self._prefix + name, self._changed], args=[name])

    def changes(self, since: int) -> tuple[int, list[bytes]]:
        """As `KeyStore`."""
        with _redis_errors():
            if since < 0:
                return self._client.llen(self._changed), []
            names: list[bytes] = self._client.lrange(self._changed, since, -1)
        return since + len(names), names

    def destroy(self, keys: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """As `KeyStore`. The append-only file is rewritten, so that what it had of these keys goes too."""
        done = False
        with _redis_errors():
            for name, key_id in keys:
                self._destroy(keys=[self._prefix + name, self._changed], args=[key_id, now, name])
                done = True
            if done:
                with suppress(redis.ResponseError):  # one is under way; a later one, or the server's own, follows
                    self._client.bgrewriteaof()

    def erased(self) -> Iterator[tuple[bytes, int]]:
        """As `KeyStore`."""
        with _redis_errors():
            for key in self._client.scan_iter(match=_literal(self._prefix) + b"*", count=1_000):
                gone = _keyring(self._client.hgetall(key)).gone
                if gone:
                    yield key[len(self._prefix) :], max(gone.values())

    def close(self) -> None:
        """As `KeyStore`."""
        self._client.close()


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise KeysAway(f"the key store does not answer: {error}") from None


def _keyring(fields: Mapping[bytes, bytes]) -> Keyring:
    current, retired, gone = None, {}, {}
    for field, value in fields.items():
        kind, key_id = field[:1], field[1:]
        if kind == b"c":
            current = value[:ID_BYTES], value[ID_BYTES:]
        elif kind == b"r":
            retired[key_id] = value
        else:
            gone[key_id] = int(value)
    return Keyring(current, retired, gone)


def _literal(prefix: bytes) -> bytes:
    """The bytes as a pattern that matches just themselves."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def open_keys(address: str, password: str | None, prefix: str) -> RedisKeys:
    """The keys at an address. Raises SettingError, and KeysAway where the server does not answer."""
    options: dict[str, Any] = {"socket_timeout": WAIT_S, "socket_connect_timeout": WAIT_S}
    if password is not None:
        options["password"] = password
    try:
        keys = RedisKeys(redis.Redis.from_url(address, **options), prefix)
    except ValueError as error:
        raise SettingError(f"keys_redis: {error}") from None
    keys.check()
    return keys
