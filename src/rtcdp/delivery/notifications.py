"""Deliveries through Apprise: e-mail, SMS, push, chat, each by its address (`mailtos://`, `twilio://`, `wxpusher://`, ...).

Apprise blocks and connects by itself, so attempts run in threads, and which hosts it reaches is a matter of the addresses
that the folder of destinations names: what a record puts in cannot change their structure.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination
from rtcdp.errors import SettingError

FIELDS = ("title", "body", "format")
_FORMATS = ("text", "html", "markdown")


def available() -> None:
    """Raises SettingError where Apprise is not installed."""
    try:
        import apprise  # noqa: F401, PLC0415 - an optional package
    except ImportError:
        raise SettingError("destinations: 'apprise' needs the package apprise: install rtcdp[notify]") from None


class NotificationSender:
    """Sends to one destination with `apprise`. The delivery's body is JSON with `title`, `body` and `format`."""

    def __init__(self, destination: Destination) -> None:
        available()
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines hold addresses and answers
        self._destination = destination
        self._threads = ThreadPoolExecutor(min(destination.concurrency, 32), f"apprise-{destination.name}")

    async def attempt(self, delivery: Delivery) -> Attempt:
        """One notification."""
        try:
            address = self._destination.filled(delivery.slots)
        except ValueError as error:
            return Attempt(Verdict.CHANGED, str(error))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._destination.timeout / 1_000):
                return await loop.run_in_executor(self._threads, _notify, address, delivery.body)
        except TimeoutError:
            return Attempt(Verdict.AGAIN, f"no answer within {self._destination.timeout} ms", alive=False)

    async def close(self) -> None:
        """Do not wait for threads that hang: they end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _notify(address: str, body: str) -> Attempt:
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - an optional package

    fields: Any = msgspec.json.decode(body)
    text = fields.get("body") if isinstance(fields, dict) else None
    if not isinstance(text, str):
        return Attempt(Verdict.REFUSED, "the body of an Apprise destination needs the text 'body'")
    given = fields.get("format")
    sender = Apprise(asset=AppriseAsset(async_mode=False, secure_logging=True))
    if not sender.add(address):
        return Attempt(Verdict.REFUSED, "Apprise cannot read the address")
    try:
        sent = sender.notify(body=text, title=str(fields.get("title") or ""), body_format=given if given in _FORMATS else None)
    except Exception as error:  # noqa: BLE001 - a hundred services, each with errors of its own
        return Attempt(Verdict.AGAIN, f"Apprise failed ({type(error).__name__})", alive=False)
    return Attempt(Verdict.DELIVERED) if sent else Attempt(Verdict.AGAIN, "Apprise could not send it", alive=False)
