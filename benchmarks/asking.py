"""What a personalised page waits for: `GET .../now` at a fixed rate, beside a bare Redis GET through the same server.

Requests leave on time, whatever became of those before (an open loop over kept connections); latency counts from the time at
which a request was to leave, so that a server that stands still is charged for all that waited. Run as a program, this is the
bare server.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import psutil
import redis
import redis.asyncio
from starlette.applications import Starlette
from starlette.routing import Route

from benchmarks.projecting import Changelog
from rtcdp.servers.redis_server import RedisServer
from rtcdp.serving.server import listen, serve

PROFILES = 10_000
CONNECTIONS = 32
WARM_S = 2.0
FILL_S = 120.0
ROOT = Path(__file__).parents[1]


class Asked(NamedTuple):
    """A server that answers on a port."""

    port: int
    pid: int


def ask(bootstrap: str, rounds: int, rate: int, seconds: float) -> dict[str, Any]:
    """p50 and p99 in ms and CPU in us a request of both servers, alternating, and the medians of the ratios."""
    changelog = Changelog(bootstrap, PROFILES)
    found: list[dict[str, float]] = []
    try:
        with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
            config = changelog.config(Path(folder), server.url)
            with _process("project", "--config", str(config)):
                _until_complete(server.url, changelog.settings.app)
            with _api(config) as (api, token), _bare(server.url, changelog.settings.app) as bare:
                for _ in range(rounds):
                    now = _measured(api, "/v1/profiles/user_id/u{:07d}/now", token, rate, seconds)
                    plain = _measured(bare, "/u{:07d}", "", rate, seconds)
                    found.append(now | {f"bare_{name}": value for name, value in plain.items()})
    finally:
        changelog.close()
    result = {name: median(one[name] for one in found) for name in found[0]}
    ratio = median(one["p99_ms"] / one["bare_p99_ms"] for one in found)
    cpu_ratio = median(one["cpu_us"] / one["bare_cpu_us"] for one in found)
    return {**result, "p99_ratio": ratio, "cpu_ratio": cpu_ratio, "rate": rate, "runs": found}


def _measured(server: Asked, path: str, token: str, rate: int, seconds: float) -> dict[str, float]:
    before = _cpu(server.pid)
    p50, p99 = asyncio.run(_latencies(server.port, path, token, rate, seconds))
    return {"p50_ms": p50, "p99_ms": p99, "cpu_us": (_cpu(server.pid) - before) / (rate * (seconds + WARM_S)) * 1e6}


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def _latencies(port: int, path: str, token: str, rate: int, seconds: float) -> tuple[float, float]:
    """p50 and p99 (ms) of requests at this rate, without those of the first seconds."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    dice, took = random.Random(7), []
    began = time.perf_counter()

    async def one(at: float, target: str) -> None:
        reader, writer = await free.get()
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200"), head
        free.put_nowait((reader, writer))
        if at > began + WARM_S:
            took.append((time.perf_counter() - at) * 1_000)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * (seconds + WARM_S))):
            at = began + number / rate
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(one(at, path.format(dice.randrange(PROFILES))))
    while not free.empty():
        free.get_nowait()[1].close()
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


def _until_complete(url: str, app: str) -> None:
    deadline = time.monotonic() + FILL_S
    with redis.Redis.from_url(url) as client:
        while client.get(f"{app}:complete") is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the view was not filled within {FILL_S:.0f} s")
            time.sleep(0.05)


@contextmanager
def _process(*arguments: str, program: str = "rtcdp.cli") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def _api(config: Path) -> Iterator[tuple[Asked, str]]:
    with _process("serve", "--config", str(config), "--link", "--port", "0") as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        yield Asked(int(address.rpartition(":")[2]), process.pid), token


@contextmanager
def _bare(url: str, app: str) -> Iterator[Asked]:
    with _process(url, app, program="benchmarks.asking") as process:
        assert process.stdout is not None
        yield Asked(int(process.stdout.readline()), process.pid)


def _serve_bare(url: str, app: str) -> None:
    client = redis.asyncio.Redis.from_url(url)

    class Get:
        async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
            body = await client.get(f"{app}:profile:main/user_id:{scope['path_params']['user']}")
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    bound = listen("127.0.0.1", 0)
    print(bound.getsockname()[1], flush=True)
    serve(Starlette(routes=[Route("/{user}", Get())]), bound, stop_s=5)


if __name__ == "__main__":
    _serve_bare(*sys.argv[1:])
