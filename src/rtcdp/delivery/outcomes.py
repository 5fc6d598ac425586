"""What became of a delivery, as an ordinary event of the profile: rules can count it, and wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rtcdp.delivery.deliveries import Delivery
from rtcdp.ingestion.identity import ProfileKey, parse_profile_key
from rtcdp.times.timestamps import rfc3339

EVENTS = {
    "delivered": "Message Delivered",
    "failed": "Message Failed",
    "expired": "Message Expired",
    "cancelled": "Message Cancelled",
    "opened": "Message Opened",
    "clicked": "Message Clicked",
    "bounced": "Message Bounced",
    "unsubscribed": "Message Unsubscribed",
    "complained": "Message Complained",
    "replied": "Message Replied",
    "dropped": "Message Dropped",
}
"""What can become of a message to the name of the event."""
REPORTED = tuple(EVENTS)[4:]
"""Those that only the tool can know."""
_LIBRARY = {"name": "rtcdp-deliver"}

_encode = msgspec.json.Encoder().encode


def segment_event(outcome: str, key: ProfileKey, message_id: str, at: int, properties: Mapping[str, Any]) -> bytes:
    """A Segment `track` call.

    outcome: of EVENTS. at: when it happened (ms). message_id: the same for the same outcome of the same delivery.

    `context.active` is false, as Segment has it for what the person did not do.
    """
    context: dict[str, Any] = {"library": _LIBRARY}
    if outcome not in ("opened", "clicked", "replied", "unsubscribed", "complained"):
        context["active"] = False
    fields: dict[str, Any] = {"type": "track", "event": EVENTS[outcome], "messageId": message_id, "timestamp": rfc3339(at)}
    if key.namespace == "user_id":
        fields["userId"] = key.value
    elif key.namespace == "anonymous_id":
        fields["anonymousId"] = key.value
    else:
        context["externalIds"] = [{"id": key.value, "type": key.namespace, "collection": "users", "encoding": "none"}]
    return _encode({**fields, "properties": dict(properties), "context": context})


def of_delivery(delivery: Delivery, outcome: str, now: int) -> tuple[str, bytes, bytes] | None:
    """The tenant, the Kafka key and the event of a delivery's end; None where its profile is none that an event could name."""
    try:
        key = parse_profile_key(delivery.profile.encode())
    except ValueError:
        return None
    properties: dict[str, Any] = {
        "delivery_id": delivery.id,
        "destination": delivery.destination,
        "subscription": delivery.subscription,
        "kind": delivery.kind,
        "name": delivery.name,
        "attempts": delivery.attempts + (outcome == "delivered"),
    }
    if delivery.channel:
        properties["channel"] = delivery.channel
    if delivery.error and outcome != "delivered":
        properties["error"] = delivery.error
    return key.tenant, delivery.profile.encode(), segment_event(outcome, key, f"{delivery.id}-{outcome}", now, properties)
