"""The process `rtcdp serve`: everything checked, put together, run, and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.types import ASGIApp

from rtcdp.errors import SettingError
from rtcdp.monitoring.health import Health, HealthServer
from rtcdp.processes.lifecycle import begin, guarded
from rtcdp.sealing.pseudonyms import Pseudonyms
from rtcdp.serving import console
from rtcdp.serving.api import openapi, profiles, segments
from rtcdp.serving.api.administration import Administration
from rtcdp.serving.api.app import Gate, application
from rtcdp.serving.api.auditing import Auditor
from rtcdp.serving.api.backtesting import Backtesting
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.counts import Counts
from rtcdp.serving.api.groups import Groups
from rtcdp.serving.api.live import Live
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation
from rtcdp.serving.api.outgoing import Outgoing
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.reasons import Reasons
from rtcdp.serving.api.releases import Publishing
from rtcdp.serving.api.reviewing import Reviewing
from rtcdp.serving.api.rights import Rights
from rtcdp.serving.api.tokens import SCOPES, Token, Tokens, new_token
from rtcdp.serving.api.view import View, connect
from rtcdp.serving.server import listen, serve
from rtcdp.settings.config import Settings
from rtcdp.sinks.redis_keys import Keys

logger = logging.getLogger(__name__)

RELOAD_S = 1.0
REDIS = "redis"


class Server:
    """The API of one deployment, ready to be served.

    Raises SettingError, ClusterError: what is wrong, in one sentence.
    """

    def __init__(self, settings: Settings, *, extra: Token | None = None) -> None:
        if not settings.redis:
            raise SettingError("redis: no address of the serving view given (--redis or RTCDP_REDIS, redis://host:port/0)")
        self.health = Health(settings.stall_s)
        self.counts = Counts()
        self.tokens = Tokens(settings.api_tokens, extra)
        if not len(self.tokens):
            logger.warning("there is no active token in %s: add one with `rtcdp tokens add`", settings.api_tokens)
        try:
            self.view = View(connect(settings.redis, settings.secret("redis_password_file")), Keys(settings.app))
        except ValueError as error:
            raise SettingError(f"redis: {error}") from None
        self.catalogue = Catalogue(settings)
        self._reasons = Reasons(settings, self.catalogue)
        masker = Masker(self.catalogue, Pseudonyms.from_file(settings.pseudonym_file))
        self.live = Live(settings, self.counts, masker, settings.api_streams)
        self.auditor = Auditor(settings)
        administration = Administration(settings, self.view, self.catalogue)
        groups = Groups(settings.api_least_group)
        self._backtesting = Backtesting(settings, self.catalogue, groups)
        self.operations: Sequence[Operation] = [
            *profiles.operations(self.view, self.catalogue, self._reasons, masker),
            *segments.operations(self.view, self.catalogue, masker, groups, self.auditor),
            *self.live.operations(),
            *administration.operations(),
            *self.auditor.operations(),
            *Reviewing(settings).operations(),
            *self._backtesting.operations(),
            *Outgoing(settings, masker).operations(),
            *Rights(settings, self.view, self.catalogue, masker, self.auditor).operations(),
            *Publishing(settings, self.view, self.catalogue).operations(),
        ]
        self.operations = [*self.operations, self._documented()]
        gate = Gate(self.tokens, settings.api_body_bytes)
        self.app: ASGIApp = application(
            self.operations, gate, self.auditor, self.counts, more=console.routes(), lifespan=self._lifespan
        )

    def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi.document(self.operations, version("rtcdp"))

    def _documented(self) -> Operation:
        async def document(_call: Call) -> Answer:
            return Answer(msgspec.json.encode(self.document()))

        return Operation("openapi", "GET", "/v1/openapi.json", "", "This document", document, {JSON: None})

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[None]:
        self.catalogue.follow()
        self.live.start(asyncio.get_running_loop())
        self.auditor.start()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await self.live.close()
            await self.auditor.close()
            self.catalogue.close()
            self._backtesting.close()
            await asyncio.to_thread(self._reasons.close)
            await self.view.close()

    async def _watch(self) -> None:
        """Keep tokens and readiness as they are outside."""
        while True:
            self.health.beat()
            try:
                self.tokens.reload()
            except SettingError as error:
                logger.warning("the tokens stay as they were: %s", error)
            try:
                await self.auditor.watch(self.tokens)
            except Problem as problem:
                logger.warning("%s", problem)
            try:
                complete, _ = await self.view.standing()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look comes
                self.health.missing(REDIS, f"Redis does not answer: {error}")
            else:
                if complete:
                    self.health.reached(REDIS)
                else:
                    self.health.missing(REDIS, "the serving view is being filled (does `rtcdp project` run?)")
            await asyncio.sleep(RELOAD_S)


def run(settings: Settings, *, link: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    link: also make a token that lives as long as the process and allows everything, and call this with a link that holds it.
    """
    begin(settings)
    return guarded(lambda: _run(settings, link))


def _run(settings: Settings, link: Callable[[str], None] | None) -> None:
    if link and settings.api_host not in {"127.0.0.1", "::1", "localhost"}:
        raise SettingError("link: a token in a link is only for this machine (api_host: 127.0.0.1)")
    extra, text = (None, "")
    if link:
        tenants = sorted({source.tenant for source in settings.sources})
        extra, text = new_token("link", list(SCOPES), tenants)
    bound = listen(settings.api_host, settings.api_port, "api_host, api_port")
    server = Server(settings, extra=extra)
    watched = None
    if settings.metrics_port >= 0:
        watched = HealthServer(settings.metrics_host, settings.metrics_port, server.counts.registry, server.health)
    if link:
        link(f"http://{settings.api_host}:{bound.getsockname()[1]}/#token={text}")
    gc.freeze()  # what is there stays; requests leave little garbage that counting does not find
    gc.set_threshold(50_000, 50, 1_000)
    try:
        serve(
            server.app,
            bound,
            stop_s=settings.stop_s,
            concurrency=settings.api_connections,
            patience_s=settings.api_patience_s,
            ending=server.live.end_streams,
        )
    finally:
        if watched is not None:
            watched.close()
