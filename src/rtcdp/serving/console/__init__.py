"""The console: static pages that ask the API, served beside it. No build step, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # asked again each time, so that an upgrade shows at once
]


def routes() -> list[BaseRoute]:
    """What the server has besides the API: every other path."""
    return [Mount("/", _guarded(StaticFiles(directory=STATIC, html=True)))]


def _guarded(app: ASGIApp) -> ASGIApp:
    """The application with headers that let a page load and ask nothing but its own server."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        await app(scope, receive, told)

    return guarded
