"""Clients that send slowly, endlessly or too much; each beside the same on uvicorn's own connection, which minds none of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rtcdp.serving.connections import HEAD_BYTES, HEAD_FIELDS, patient

PATIENCE = 0.2
WHOLE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole body; `/slow` takes longer over its answer than clients may over their request."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    if scope["path"] == "/slow":
        await asyncio.sleep(PATIENCE * 3)
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving(protocol: type[asyncio.Protocol]) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_config=None, ws="none"))
    server.capture_signals = contextlib.nullcontext
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Client:
        client = await asyncio.open_connection("127.0.0.1", port)
        opened.append(client[1])
        return client

    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        server.should_exit = True
        await running


async def silent(client: Client) -> None:
    """Says nothing at all."""


async def half_a_head(client: Client) -> None:
    client[1].write(b"POST / HTTP/1.1\r\nHost:")


async def half_a_body(client: Client) -> None:
    client[1].write(WHOLE[:-2])


async def drop_by_drop(client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        for letter in b"GET /" + b"x" * 200:
            client[1].write(bytes([letter]))
            await asyncio.sleep(0.01)


async def nothing_after_a_request(client: Client) -> None:
    client[1].write(GET)
    await client[0].readuntil(b"ok")
    client[1].write(b"\r\n")


async def closed(client: Client, seconds: float) -> bytes | None:
    """What the server says before it closes; None where it does not close."""
    try:
        return await asyncio.wait_for(client[0].read(), seconds)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


@pytest.mark.parametrize("attack", [silent, half_a_head, half_a_body, drop_by_drop, nothing_after_a_request])
def test_a_slow_client_is_sent_away(attack: Callable[[Client], Awaitable[None]]) -> None:
    async def scene(protocol: type[asyncio.Protocol]) -> bytes | None:
        async with serving(protocol) as connect:
            client = await connect()
            sending = asyncio.ensure_future(attack(client))
            await asyncio.wait({sending}, timeout=PATIENCE / 2)
            try:
                return await closed(client, PATIENCE * 3)
            finally:
                sending.cancel()

    said = asyncio.run(scene(patient(PATIENCE)))
    assert said is not None
    assert said.endswith(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert asyncio.run(scene(HttpToolsProtocol)) is None  # the control


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (HEAD_FIELDS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
    ],
    ids=["url", "field", "fields", "endless field", "endless fields"],
)
def test_a_head_has_a_limit(head: bytes) -> None:
    async def scene(protocol: type[asyncio.Protocol]) -> bytes | None:
        async with serving(protocol) as connect:
            client = await connect()
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(head), 8_192):
                    client[1].write(head[start : start + 8_192])
                    await client[1].drain()
                    await asyncio.sleep(0)
            return await closed(client, 0.5)

    said = asyncio.run(scene(patient(30)))
    assert said is not None
    assert said.startswith(b"HTTP/1.1 431 ") or said == b""  # a client that sends on may lose the answer with the connection
    answered = asyncio.run(scene(HttpToolsProtocol))
    assert answered is None  # the control: it answers and stays, or waits for more


def test_what_is_only_slow_to_be_answered_or_idle_stays() -> None:
    async def scene() -> None:
        async with serving(patient(PATIENCE)) as connect:
            reader, writer = await connect()
            writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(PATIENCE * 2)  # between two requests is uvicorn's own, longer time
            writer.write(WHOLE + GET)  # two at once
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            writer.write(WHOLE[:10])
            await asyncio.sleep(PATIENCE / 3)
            writer.write(WHOLE[10:])
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            assert await closed((reader, writer), PATIENCE * 2) is None

    asyncio.run(scene())


@pytest.mark.parametrize("text", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nA\x00: b\r\n\r\n", b"\r\n\r\nnonsense\r\n\r\n"])
def test_what_is_no_http_is_refused(text: bytes) -> None:
    async def scene() -> bytes | None:
        async with serving(patient(PATIENCE)) as connect:
            client = await connect()
            client[1].write(text)
            return await closed(client, 2)

    said = asyncio.run(scene())
    assert said is not None
    assert said.startswith(b"HTTP/1.1 400 ")
