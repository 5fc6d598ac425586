"""From the folder's destinations to what sends to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtcdp.delivery.addresses import AllowedAddresses
from rtcdp.delivery.attempts import Attempt, Sender
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination, Outlets
from rtcdp.delivery.files import FileSender
from rtcdp.delivery.lanes import Lane
from rtcdp.delivery.notifications import NotificationSender
from rtcdp.delivery.webhooks import WebhookSender, about, session
from rtcdp.settings.config import Settings

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans


class TracedSender:
    """Reports attempts of another sender as parts of traces. What is sent has no place for a trace context."""

    def __init__(self, sender: Sender, name: str, spans: Spans) -> None:
        self._sender = sender
        self._name = name
        self._spans = spans

    async def attempt(self, delivery: Delivery) -> Attempt:
        """As the sender's own."""
        if not delivery.trace:
            return await self._sender.attempt(delivery)
        with self._spans.attempt("deliver", delivery.trace.encode(), about(self._name, delivery)):
            return await self._sender.attempt(delivery)

    async def close(self) -> None:
        """As the sender's own."""
        await self._sender.close()


class Senders:
    """A lane for each destination, and the HTTP client that they share. Make it inside the event loop.

    Raises SettingError where a destination needs a package that is not installed.
    """

    def __init__(self, settings: Settings, outlets: Outlets, clock: Callable[[], int], spans: Spans | None = None) -> None:
        self._spans = spans
        self._allowed = AllowedAddresses(ipaddress.ip_network(text) for text in settings.deliver_networks)
        self._client = session(self._allowed)
        self._http = settings.deliver_http
        self.lanes = {
            name: Lane(destination, self._sender(destination), clock) for name, destination in outlets.destinations.items()
        }

    async def close(self) -> None:
        """End every attempt that is under way."""
        for lane in self.lanes.values():
            await lane.close()
        await self._client.close()

    def _sender(self, destination: Destination) -> Sender:
        if destination.kind == "url":
            return WebhookSender(destination, self._client, self._allowed, http=self._http, spans=self._spans)
        sender: Sender = FileSender(destination) if destination.kind == "file" else NotificationSender(destination)
        return sender if self._spans is None else TracedSender(sender, destination.name, self._spans)
