"""The HTTP server as a process: it answers, refuses a taken port, and stops in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rtcdp.errors import SettingError
from rtcdp.serving.server import listen

PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from rtcdp.serving.server import listen, serve

@asynccontextmanager
async def lifespan(app):
    yield
    print("ended in order", flush=True)

async def slow(request):
    await asyncio.sleep(0.5)
    return PlainTextResponse("slow")

async def endless(request):
    async def body():
        while True:
            yield b"x"
            await asyncio.sleep(0.05)
    return StreamingResponse(body())

bound = listen("127.0.0.1", 0)
print(bound.getsockname()[1], flush=True)
serve(Starlette(routes=[Route("/", slow), Route("/endless", endless)], lifespan=lifespan), bound, stop_s=8)
"""


def test_a_port_in_use_is_one_sentence() -> None:
    with listen("127.0.0.1", 0) as bound, pytest.raises(SettingError, match=r"^api_port: cannot listen on 127\.0\.0\.1:"):
        listen("127.0.0.1", bound.getsockname()[1], "api_port")


def test_sigterm_lets_requests_end_and_endless_ones_not_hold_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        with urllib.request.urlopen(f"{address}/", timeout=5) as answer:
            assert answer.read() == b"slow"
        with urllib.request.urlopen(f"{address}/endless", timeout=5) as endless:
            assert endless.read(1) == b"x"
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(12) == 0, (tmp_path / "log").read_text()
            assert time.monotonic() - began < 10
        assert process.stdout.read() == "ended in order\n"
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
