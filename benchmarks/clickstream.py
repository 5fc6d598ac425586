"""The input: a deterministic clickstream of 20,000 users over 45 days, and its three wire forms."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator
from typing import Any

import orjson

USERS = 20_000
SPAN_S = 45 * 86_400
START_S = 1_700_000_000
JITTER_S = 10
SKUS = 5_000
CATEGORIES = ("shoes", "electronics", "beauty", "home", "sports", "books", "toys", "grocery")
CHANNELS = ("web", "ios", "android")
KINDS = {"page_viewed": 40, "product_viewed": 35, "session_start": 12, "cart_added": 8, "order_paid": 5}

Event = dict[str, Any]
Row = tuple[bytes, bytes]


def events(count: int, seed: int = 42) -> Iterator[Event]:
    """`count` events in about the order of their time.

    Users follow a Zipf-Mandelbrot law, weight 1 / (rank + 20)^0.95: the busiest has about 0.7 % of all events. Half of a user's
    events are of their own category. Prices are log-normal (median about 100). Each event is up to 10 s late in its place.
    """
    dice = random.Random(seed)
    weights = list(itertools.accumulate((rank + 20) ** -0.95 for rank in range(USERS)))
    users = list(range(USERS))
    dice.shuffle(users)
    kinds = list(itertools.chain.from_iterable([kind] * share for kind, share in KINDS.items()))
    step = SPAN_S / count
    for number in range(count):
        rank = min(bisect.bisect_left(weights, dice.random() * weights[-1]), USERS - 1)
        user = users[rank]
        category = CATEGORIES[user % len(CATEGORIES)] if dice.random() < 0.5 else dice.choice(CATEGORIES)
        ts = round(START_S + number * step + dice.random() * JITTER_S, 3)
        yield {
            "event_id": f"e{number:08d}",
            "type": dice.choice(kinds),
            "user_id": f"u{user:05d}",
            "anonymous_id": f"a{user * 2_654_435_761 % 2**32:08x}",
            "ts": ts,
            "channel": dice.choice(CHANNELS),
            "properties": {
                "sku": f"SKU-{dice.randrange(SKUS):05d}",
                "category": category,
                "price": round(dice.lognormvariate(4.6, 1), 2),
            },
            "context": {"ip": f"10.{user % 250}.{rank % 250}.{number % 250}", "ua": "Mozilla/5.0 (X11)", "locale": "en-GB"},
        }


def milliseconds(event: Event) -> int:
    """When it happened, in ms."""
    return round(event["ts"] * 1000)


def number(event_id: str) -> int:
    """The place of an event in the input."""
    return int(event_id[1:])


def as_job(event: Event) -> Row:
    """Key and value for the ceilings: the event as it is."""
    return event["user_id"].encode(), orjson.dumps(event)


def profile_key(user: str) -> bytes:
    """The profile key of a user."""
    return f"main/user_id:{user}".encode()


def as_log(event: Event) -> Row:
    """Key and value as a record of `profile-events`, as ingest writes it in `event` time mode."""
    at = milliseconds(event)
    record = {
        "kind": "event",
        "received": at,
        "occurred": at,
        "source": "bench/0",
        "offset": number(event["event_id"]),
        "id": event["event_id"],
        "event": event["type"],
        "channel": event["channel"],
        "user_id": event["user_id"],
        "anonymous_id": event["anonymous_id"],
        "properties": event["properties"],
        "context": event["context"],
        "simulated": True,
    }
    return profile_key(event["user_id"]), orjson.dumps(record)


def as_raw(event: Event) -> Row:
    """Key and value as a Segment `track` call, for the topic of raw events."""
    raw = {
        "type": "track",
        "event": event["type"],
        "messageId": event["event_id"],
        "userId": event["user_id"],
        "anonymousId": event["anonymous_id"],
        "timestamp": milliseconds(event),
        "channel": event["channel"],
        "properties": event["properties"],
        "context": {"ip": event["context"]["ip"], "userAgent": event["context"]["ua"], "locale": event["context"]["locale"]},
    }
    return event["user_id"].encode(), orjson.dumps(raw)
