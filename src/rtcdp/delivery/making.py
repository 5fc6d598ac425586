"""From a record that goes out to the deliveries it is worth: which subscriptions want it, and with what body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from rtcdp.delivery import facts as facts_of
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Outlets, Subscription
from rtcdp.delivery.facts import Facts
from rtcdp.outputs import Cancel, Change, TriggerEvent
from rtcdp.times import timestamps

LARGEST_BODY = 262_144
_encode = msgspec.json.Encoder().encode
decode_change = msgspec.json.Decoder(Change).decode


class _Kind(msgspec.Struct):
    type: str = ""


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_trigger = msgspec.json.Decoder(TriggerEvent).decode
_decode_cancel = msgspec.json.Decoder(Cancel).decode


def decode_trigger(value: bytes) -> TriggerEvent | Cancel:
    """A record of `triggers`. Raises msgspec.DecodeError."""
    return _decode_cancel(value) if _decode_kind(value).type == Cancel.TYPE else _decode_trigger(value)


class Unmade(msgspec.Struct):
    """A delivery that cannot be: its body is too large, or the address lacks a part (`unmappable`)."""

    delivery: Delivery
    reason: Literal["too_large", "unmappable"]


def of_trigger(outlets: Outlets, event: TriggerEvent, made: int) -> Iterator[Delivery | Unmade]:
    """The deliveries of a trigger. made: append time of the record (ms)."""
    data = event.data
    found = outlets.selecting("trigger", data.trigger)
    if found:
        expires = timestamps.parse(data.expires_at) or 0
        yield from _made(outlets, found, event, facts_of.of_trigger(event), made, expires)


def of_change(outlets: Outlets, change: Change, made: int) -> Iterator[Delivery | Unmade]:
    """The deliveries of a change."""
    found = [one for one in outlets.selecting(change.kind, change.name) if one.historical or not change.historical]
    if found:
        yield from _made(outlets, found, change, facts_of.of_change(change), made, 0)


def _made(
    outlets: Outlets, found: list[Subscription], record: TriggerEvent | Change, facts: Facts, made: int, expires: int
) -> Iterator[Delivery | Unmade]:
    names = facts.names
    for subscription in found:
        if subscription.where is not None and not subscription.where(None, facts):
            continue
        destination = outlets.destinations[subscription.to]
        limits = [limit for limit in (expires, _expiry(subscription, names["at"], made)) if limit]
        delivery = Delivery(
            id=f"{names['id']}_{subscription.name}",
            subscription=subscription.name,
            destination=destination.name,
            body="",
            slots=destination.slots(facts) if destination.templated else [],
            profile=names["profile"],
            kind=names["kind"],
            name=names["name"],
            seq=names["seq"],
            at=names["at"],
            made=made,
            expires=min(limits, default=0),
            channel=record.data.channel if isinstance(record, TriggerEvent) else "",
            outcomes=names["kind"] == "trigger" if subscription.outcomes is None else subscription.outcomes,
        )
        body = whole(record, names) if subscription.body is None else subscription.body(facts)
        delivery.body = _encode(body).decode()
        if len(delivery.body) > LARGEST_BODY:
            delivery.body = "{}"
            yield Unmade(delivery, "too_large")
        elif "" in delivery.slots:
            yield Unmade(delivery, "unmappable")
        else:
            yield delivery


def whole(record: TriggerEvent | Change, names: Any) -> dict[str, Any]:
    """The body without a mapping: type, timestamp and data, as Standard Webhooks advises."""
    if isinstance(record, TriggerEvent):
        data = {"id": record.id, "seq": record.seq, **msgspec.to_builtins(record.data)}
    else:
        data = msgspec.to_builtins(record)
    of = "rtcdp" if names["kind"] == "erased" else names["kind"]
    return {"type": f"{of}.{names['name']}", "timestamp": names["at"], "data": data}


def _expiry(subscription: Subscription, at: str, made: int) -> int:
    if not subscription.expire:
        return 0
    return (timestamps.parse(at) or made) + subscription.expire
