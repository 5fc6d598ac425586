"""What tools report back: opened, clicked, bounced, unsubscribed. Signed requests become ordinary events of the profile.

`POST /callbacks/NAME`, one JSON object or a list of them. 204 once the broker has acknowledged every event made of it, 401
without a valid signature or token, 400 where it is no JSON, 413 where it is too large, 503 while Kafka does not answer:
send it again.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from typing import Any

import msgspec
from aiohttp import web
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from xxhash import xxh3_128_hexdigest

from rtcdp.delivery import signing
from rtcdp.delivery.destinations import Callback, Outlets
from rtcdp.delivery.facts import Facts
from rtcdp.delivery.measures import Measures
from rtcdp.delivery.outcomes import REPORTED, segment_event
from rtcdp.errors import SettingError
from rtcdp.ingestion.identity import ProfileKey, parse_profile_key, profile_key
from rtcdp.monitoring.metrics import now_ms
from rtcdp.rules.compiling.interpreter import follow
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

logger = logging.getLogger(__name__)

LARGEST = 1 << 20
MOST_REPORTS = 5_000
ACKNOWLEDGED_S = 10.0
POLL_S = 0.01
NATIVE = {
    "event": ("type",),
    "profile": ("profile",),
    "user_id": ("user_id",),
    "delivery": ("delivery_id",),
    "at": ("timestamp",),
}
"""Where a report has its fields if the callback does not say."""


class Unavailable(Exception):
    """Kafka does not take the events now."""


class CallbackServer:
    """Answers requests of tools. Make it with `start`."""

    def __init__(self, settings: Settings, outlets: Outlets, measures: Measures) -> None:
        self._callbacks = outlets.callbacks
        self._measures = measures
        self._tenants = {source.tenant: source.topic for source in reversed(settings.sources)}
        self._runner: web.AppRunner | None = None
        self._producer: Producer | None = None
        self._polls: asyncio.Task[None] | None = None
        self.port = -1

    @classmethod
    async def start(cls, settings: Settings, outlets: Outlets, measures: Measures) -> CallbackServer:
        """Listen where the settings say so. Raises SettingError where the address cannot be bound."""
        server = cls(settings, outlets, measures)
        if settings.callbacks_port < 0:
            if outlets.callbacks:
                logger.warning("there are callbacks and no port for them (callbacks_port): nothing is listened to")
            return server
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/callbacks/{name}", server._answer)
        server._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await server._runner.setup()
        site = web.TCPSite(server._runner, settings.callbacks_host, settings.callbacks_port)
        try:
            await site.start()
        except OSError as error:
            place = f"{settings.callbacks_host}:{settings.callbacks_port}"
            await server._runner.cleanup()
            raise SettingError(f"callbacks_host, callbacks_port: cannot listen on {place} ({error.strerror})") from None
        server.port = server._runner.addresses[0][1]
        server._producer = Producer(
            {
                **settings.kafka(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": int(ACKNOWLEDGED_S * 1_000),
                "linger.ms": 2,
            }
        )
        server._polls = asyncio.create_task(server._poll())
        logger.info("callbacks: listening on http://%s:%d/callbacks/", settings.callbacks_host, server.port)
        return server

    async def close(self) -> None:
        """Answer what has begun, then listen no longer."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._polls is not None:
            self._polls.cancel()
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, 2.0)

    async def _answer(self, request: web.Request) -> web.Response:
        callback = self._callbacks.get(request.match_info["name"])
        if callback is None:
            return web.Response(status=404)
        body = await request.read()
        if fault := _distrust(callback, request, body):
            self._measures.reported(callback.name, "unsigned")
            return web.json_response({"error": fault}, status=401)
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError:
            self._measures.reported(callback.name, "unreadable")
            return web.json_response({"error": "the body is no JSON"}, status=400)
        reports = found if isinstance(found, list) else [found]
        if len(reports) > MOST_REPORTS:
            return web.json_response({"error": f"more than {MOST_REPORTS} reports in one request"}, status=413)
        events = [made for report in reports if (made := self._event(callback, report)) is not None]
        try:
            await asyncio.gather(*(self._write(*event) for event in events))
        except Unavailable:
            return web.Response(status=503, headers={"Retry-After": "5"})
        for result, count in (("written", len(events)), ("ignored", len(reports) - len(events))):
            for _ in range(count):
                self._measures.reported(callback.name, result)
        return web.Response(status=204)

    def _event(self, callback: Callback, report: Any) -> tuple[str, bytes, bytes] | None:
        """Topic, key and value of the event that a report is; None where it is none that concerns us."""
        facts = Facts({}, {"body": report})
        values = {
            name: callback.fields[name](None, facts) if name in callback.fields else follow(report, path)
            for name, path in NATIVE.items()
        }
        outcome, key = values["event"], _key(values["profile"], values["user_id"])
        topic = None if key is None else self._tenants.get(key.tenant)
        if outcome not in REPORTED or key is None or topic is None:
            return None
        delivery = values["delivery"] if isinstance(values["delivery"], str) else ""
        more = callback.properties(facts) if callback.properties is not None else {}
        properties = {"callback": callback.name, **({"delivery_id": delivery} if delivery else {})}
        if isinstance(more, dict):
            properties |= more
        at = timestamps.parse(values["at"])
        # The same report again is the same event: tools repeat what they are not sure of.
        identity = xxh3_128_hexdigest(msgspec.json.encode([callback.name, report], order="deterministic"))
        value = segment_event(outcome, key, f"report-{identity}", now_ms() if at is None else at, properties)
        return topic, profile_key(*key), value

    async def _write(self, topic: str, key: bytes, value: bytes) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(Unavailable(error.str()))

        if self._producer is None:
            raise Unavailable("not listening")
        try:
            self._producer.produce(topic, value, key, on_delivery=delivered)
        except (BufferError, KafkaException) as error:
            raise Unavailable(str(error)) from None
        await future

    async def _poll(self) -> None:
        while self._producer is not None:
            self._producer.poll(0)
            await asyncio.sleep(POLL_S)


def _distrust(callback: Callback, request: web.Request, body: bytes) -> str:
    """Why a request cannot be trusted; "" where it can."""
    if callback.token:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return "" if hmac.compare_digest(given.encode(), callback.token.encode()) else "the token does not fit"
    headers = {name.lower(): value for name, value in request.headers.items()}
    return signing.verified(callback.secrets, headers, body, int(time.time()))


def _key(profile: Any, user_id: Any) -> ProfileKey | None:
    """Whose event it is; None where that cannot be read."""
    try:
        if isinstance(profile, str) and profile:
            return parse_profile_key(profile.encode())
        if isinstance(user_id, str | int) and not isinstance(user_id, bool) and str(user_id):
            return ProfileKey("main", "user_id", str(user_id))
    except ValueError:
        return None
    return None
