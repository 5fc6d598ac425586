"""The collector as an ASGI application: each request from its head to its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from rtcdp.errors import SettingError, Unfit
from rtcdp.ingestion import letters
from rtcdp.monitoring.tracing import HEADER
from rtcdp.outputs import Origin
from rtcdp.serving.collector import calls
from rtcdp.serving.collector.bodies import Body, Budget
from rtcdp.serving.collector.calls import BATCHES, SINGLE, Envelope, Stamp, prepare
from rtcdp.serving.collector.cors import AllowedOrigins, Headers
from rtcdp.serving.collector.counts import Counts
from rtcdp.serving.collector.heads import Head, Names, read_head
from rtcdp.serving.collector.rates import Rates
from rtcdp.serving.collector.refusals import STATUS, Refusal
from rtcdp.serving.collector.sender import Record, Sender
from rtcdp.serving.collector.write_keys import KeyRing, WriteKey
from rtcdp.settings.collector import CollectorSettings
from rtcdp.times import timestamps

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans

logger = logging.getLogger(__name__)

RELOAD_S = 1.0
CLOSE_S = 1.0
"""Requests have ended or were given up when this begins."""
SHOWN_ERRORS = 100
"""An answer describes at most so many events that could not be used; `refused` counts them all."""

_encode = msgspec.json.Encoder().encode


class Destination(msgspec.Struct, frozen=True):
    """A topic of raw events. own_time: its events' time is their own, so none is put on them. tenant: whose they are."""

    topic: str
    own_time: bool = False
    tenant: str = "main"


class Collector:
    """Everything between a request's head and its answer.

    settings: what it was told. destinations: the topics that keys may name, by name.
    dead_letters, letter_bytes: the topic of dead letters, and the largest record it takes (bytes).
    beat:     called every second while the event loop turns.
    spans:    where requests are reported as parts of traces; None: nowhere.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        keys: KeyRing,
        sender: Sender,
        destinations: Mapping[str, Destination],
        *,
        dead_letters: str,
        letter_bytes: int,
        beat: Callable[[], None],
        spans: Spans | None = None,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._sender = sender
        self._destinations = destinations
        self._dead_letters = dead_letters
        self._letter_bytes = letter_bytes
        self._beat = beat
        self._spans = spans
        self._origins = AllowedOrigins(settings.collector_origins)
        self._rates = Rates(time.monotonic)
        self._budget = Budget(settings.collector_buffer_bytes)
        self._names = Names()
        self._open = 0
        self.counts = Counts(
            {
                "open_requests": ("Requests being answered.", lambda: self._open),
                "pending_requests": ("Requests that wait for Kafka's acknowledgement.", lambda: sender.pending),
                "pending_bytes": ("Bytes that wait for Kafka's acknowledgement.", lambda: sender.pending_bytes),
                "body_bytes_held": ("Bytes of bodies in memory.", lambda: self._budget.held),
                "write_keys": ("Active write keys.", lambda: len(keys)),
            }
        )

    # --- what is asked ---

    async def call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v1/<call>`, and the question of a browser whether it may."""
        head = read_head(scope, self._names)
        name = scope["path_params"]["call"]
        if name not in SINGLE and name not in BATCHES:
            name = "other"
        began = time.perf_counter()
        self._open += 1
        try:
            status, body, headers = await self._answer(name, head, receive)
        except Refusal as refusal:
            status, body, headers = self._refused(refusal, head)
        except Exception:
            logger.exception("a request failed", extra={"request": head.request_id.decode()})
            status, body, headers = self._refused(Refusal("unexpected", "an error inside the collector", close=True), head)
        finally:
            self._open -= 1
        self.counts.requests[name, str(status)] += 1
        self.counts.seconds.observe(time.perf_counter() - began)
        await self._send(send, head, status, body, headers)

    async def settings_of_browser(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /v1/projects/<write key>/settings`: what analytics.js asks for before it sends anything."""
        head = read_head(scope, self._names)
        try:
            status, body, headers = self._browser_settings(scope, head)
        except Refusal as refusal:
            status, body, headers = self._refused(refusal, head)
        self.counts.requests["settings", str(status)] += 1
        await self._send(send, head, status, body, headers)

    async def unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Any other path."""
        head = read_head(scope, self._names)
        status, body, headers = self._refused(Refusal("not_found", "there is nothing at this path", close=True), head)
        self.counts.requests["other", str(status)] += 1
        await self._send(send, head, status, body, headers)

    async def _answer(self, name: str, head: Head, receive: Receive) -> tuple[int, bytes, Headers]:
        if name == "other":
            raise Refusal("not_found", "there is no such call", close=True)
        if head.origin is not None and not self._origins.allows(head.origin):
            raise Refusal("origin_not_allowed", "this web page is not on the list of origins", close=True)
        if head.method == "OPTIONS":
            return 204, b"", self._origins.preflight()
        if head.method != "POST":
            raise Refusal("method_not_allowed", "events are sent with POST", close=True)
        given = head.write_key()
        key = self._key(given, close=True) if given else None
        gzip = head.gzip()
        settings = self._settings
        limits = {"limit": settings.collector_body_bytes, "unpacked": settings.collector_unpacked_bytes}
        with Body(receive, self._budget, **limits) as body:
            text = await body.read(gzip=gzip)
            self.counts.bytes += len(text)
            return await self._take(name, head, key, text)

    async def _take(self, name: str, head: Head, key: WriteKey | None, text: bytes) -> tuple[int, bytes, Headers]:
        """A body within its limits: its events to Kafka, those that cannot be used to the dead letters."""
        try:
            envelope = calls.open_batch(text) if name in BATCHES else calls.open_single(text)
        except Unfit as unfit:
            if key is None:
                raise Refusal(unfit.reason, f"{unfit.field}: {unfit.detail}" if unfit.field else unfit.detail) from None
            await self._store([self._letter(unfit, head, key, 0, text)], head, key)
            self.counts.dead[unfit.reason] += 1
            self._rates.spend(key.id, self._rate(key), 1)
            raise Refusal(unfit.reason, f"{unfit.field}: {unfit.detail}" if unfit.field else unfit.detail) from None
        if key is None:
            if not envelope.write_key:
                raise Refusal("no_key", "no write key: as user name of HTTP Basic authentication, or `writeKey` in the body")
            key = self._key(envelope.write_key, close=False)
        events = envelope.events
        if len(events) > self._settings.collector_batch_events:
            raise Refusal("too_many_events", f"at most {self._settings.collector_batch_events} events in one body")
        self._rates.spend(key.id, self._rate(key), len(events))
        records, wrong = self._records(name, head, key, envelope)
        if records:
            try:
                await self._store(records, head, key)
            except Refusal:
                self._rates.spend(key.id, self._rate(key), -len(events))  # sending them again must not count twice
                raise
        self.counts.events[key.source] += len(events) - len(wrong)
        self.counts.tenants[self._destinations[key.topic].tenant] += len(events) - len(wrong)
        self.counts.dead.update(unfit.reason for _, unfit in wrong)
        self.counts.batch.observe(len(events))
        if not wrong:
            return 200, b'{"success":true}', []
        return _partly(len(events), wrong)

    def _records(
        self, name: str, head: Head, key: WriteKey, envelope: Envelope
    ) -> tuple[list[Record], list[tuple[int, Unfit]]]:
        """The records of a body's events and letters, and which events cannot be used."""
        to = self._destinations[key.topic]
        settings = self._settings
        stamp = Stamp(
            received=None if to.own_time else timestamps.render(time.time_ns() // 1_000_000),
            kind=SINGLE.get(name, ""),
            historical=BATCHES.get(name, False),
            ip="" if key.server else head.address,
            agent="" if key.server else head.agent,
            addresses=settings.collector_ip,
            agents=settings.collector_user_agent,
            consent=frozenset(name.lower() for name in settings.collector_consent),
            sent_at=envelope.sent_at,
            context=envelope.context,
        )
        records, wrong = [], []
        for place, event in enumerate(envelope.events):
            try:
                records.append(Record(to.topic, *prepare(bytes(event), stamp, self._names.new, self.counts.repairs)))
            except Unfit as unfit:
                wrong.append((place, unfit))
                records.append(self._letter(unfit, head, key, place, bytes(event)))
        return records, wrong

    # --- parts of it ---

    def _key(self, text: bytes, *, close: bool) -> WriteKey:
        """The active key. Raises Refusal where it is not known, or may send nothing at the moment."""
        key = self._keys.find(text)
        if key is None:
            raise Refusal("unknown_key", "this write key is not known or was revoked", close=close)
        wait = self._rates.wait(key.id, self._rate(key))
        if wait:
            raise Refusal("rate_limited", "more events than this write key may send", retry_after=wait, close=close)
        return key

    def _rate(self, key: WriteKey) -> int:
        return self._settings.collector_rate if key.rate is None else key.rate

    def _letter(self, unfit: Unfit, head: Head, key: WriteKey, place: int, event: bytes) -> Record:
        """A dead letter. Its origin is made up: the request's own name, and the event's place in it."""
        origin = Origin(topic=key.topic, topic_id=f"collector-{self._names.new()}", partition=-1, offset=place)
        now = time.time_ns() // 1_000_000
        letter = letters.dead_letter(unfit, origin, None, event, now, self._letter_bytes, stage="collector")
        return Record(self._dead_letters, *letters.record(letter))

    async def _store(self, records: list[Record], head: Head, key: WriteKey) -> None:
        """Return once Kafka has the records. Raises Refusal."""
        headers = [("rtcdp-source", key.source.encode())]
        if self._spans is None:
            await self._sender.send(records, _traced(headers, head.trace))
            return
        about: dict[str, str | int] = {"rtcdp.source": key.source, "rtcdp.records": len(records)}
        with self._spans.request("collect", head.trace, about) as handed:
            await self._sender.send(records, _traced(headers, handed))

    def _browser_settings(self, scope: Scope, head: Head) -> tuple[int, bytes, Headers]:
        if head.origin is not None and not self._origins.allows(head.origin):
            raise Refusal("origin_not_allowed", "this web page is not on the list of origins")
        if head.method == "OPTIONS":
            return 204, b"", self._origins.preflight()
        if head.method != "GET":
            raise Refusal("method_not_allowed", "settings are read with GET", close=True)
        text: str = scope["path_params"]["key"]
        if self._keys.find(text.encode("utf-8", "replace")) is None:
            raise Refusal("unknown_key", "this write key is not known or was revoked")
        own = self._settings.collector_url or f"{scope['scheme']}://{head.host()}"
        scheme, _, host = own.partition("://")
        segment = {"apiKey": text, "apiHost": f"{host.rstrip('/')}/v1", "protocol": scheme}
        found: dict[str, Any] = {
            "integrations": {"Segment.io": segment},
            "plan": {},
            "edgeFunction": {},
            "metrics": {"sampleRate": 0},  # analytics.js would send measurements of itself to its maker
        }
        return 200, _encode(found), [(b"cache-control", b"no-store")]

    def _refused(self, refusal: Refusal, head: Head) -> tuple[int, bytes, Headers]:
        self.counts.refused[refusal.code] += 1
        logger.debug("refused", extra={"request": head.request_id.decode(), "reason": refusal.code})
        headers: Headers = []
        if refusal.retry_after:
            headers.append((b"retry-after", b"%d" % refusal.retry_after))
        if refusal.close:
            headers.append((b"connection", b"close"))
        if refusal.status == STATUS["no_key"]:
            # Never `Basic`: browsers would ask the visitors of a shop for a password.
            headers.append((b"www-authenticate", b"WriteKey"))
        if refusal.status == STATUS["method_not_allowed"]:
            headers.append((b"allow", b"POST, OPTIONS"))
        answer = {"success": False, "code": refusal.code, "message": refusal.message}
        return refusal.status, _encode(answer), headers

    async def _send(self, send: Send, head: Head, status: int, body: bytes, headers: Headers) -> None:
        fields = [(b"x-request-id", head.request_id), *self._origins.headers(head.origin), *headers]
        if body:
            fields += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    # --- while it runs ---

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """From before the first request until after the last."""
        self._sender.start()
        reloading = asyncio.create_task(self._follow_keys())
        try:
            yield
        finally:
            reloading.cancel()
            await self._sender.close(CLOSE_S)

    async def _follow_keys(self) -> None:
        said = ""
        while True:
            self._beat()
            await asyncio.sleep(RELOAD_S)
            try:
                if self._keys.reload():
                    logger.info("write keys read again: %d are active", len(self._keys))
                said = ""
            except SettingError as error:
                if str(error) != said:
                    said = str(error)
                    logger.error("%s; the keys known until now stay", error)  # noqa: TRY400  # a sentence, no trace


def _traced(headers: list[tuple[str, bytes]], trace: bytes | None) -> list[tuple[str, bytes]]:
    return headers if trace is None else [*headers, (HEADER, trace)]


class _Endpoint:
    """An ASGI endpoint, as the router wants one: an object, so that it is not taken for a function of a request."""

    def __init__(self, handle: ASGIApp) -> None:
        self._handle = handle

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._handle(scope, receive, send)


def application(collector: Collector, settings: CollectorSettings) -> ASGIApp:
    """The ASGI application of a collector."""
    routes = [
        Route("/v1/{call}", _Endpoint(collector.call)),
        Route("/v1/projects/{key}/settings", _Endpoint(collector.settings_of_browser)),
        Route("/{rest:path}", _Endpoint(collector.unknown)),
    ]
    # Without Starlette's own layers for errors: every request is answered here, whatever happens.
    app: ASGIApp = Router(routes, redirect_slashes=False, lifespan=collector.lifespan)
    if settings.collector_proxies:
        app = ProxyHeadersMiddleware(app, list(settings.collector_proxies))  # type: ignore[arg-type, assignment]  # the same ASGI types under other names
    return app


def _partly(events: int, wrong: list[tuple[int, Unfit]]) -> tuple[int, bytes, Headers]:
    """The answer where events could not be used; 400 where none could. What could has been acknowledged all the same."""
    errors = [
        {"index": place, "code": unfit.reason, "field": unfit.field, "message": unfit.detail}
        for place, unfit in wrong[:SHOWN_ERRORS]
    ]
    first = wrong[0][1]
    answer = {
        "success": False,
        "code": first.reason,
        "message": first.detail,
        "accepted": events - len(wrong),
        "refused": len(wrong),
        "errors": errors,
    }
    return 400 if len(wrong) == events else 200, _encode(answer), []
