"""Ingesting in tests: an ingestor, the event it makes of a record, the reason why it refuses one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from rtcdp import records
from rtcdp.errors import Unfit
from rtcdp.ingestion.events import REASONS
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Refused, Source
from rtcdp.rules.definitions import IdentityPlan, TrackingPlan
from rtcdp.times import timestamps

NOW = 1_800_000_000_000
MINUTE = 60_000
SOURCE = "c29tZS10b3BpYy1pZC1oZQ/3"


def ingestor(mode: Any = "arrival", plan: TrackingPlan | None = None, tenant: str = "main") -> Ingestor:
    return Ingestor(plan or TrackingPlan(), IdentityPlan(), Source("events", tenant, mode))


def take(
    raw: Any, mode: Any = "arrival", *, appended: int = NOW, headers: Any = None, by: Ingestor | None = None
) -> records.Event:
    """The event made of `raw` (bytes, or an object to be written as JSON)."""
    result = (by or ingestor(mode)).ingest(
        raw if isinstance(raw, bytes) else json.dumps(raw).encode(), SOURCE, 7, appended, headers
    )
    assert isinstance(result, Accepted), result
    event = records.decode(result.value)
    assert isinstance(event, records.Event)
    assert event.received == result.received
    assert result.value == records.encode(event)  # made by another struct, and yet the same bytes
    return event


def refuse(raw: Any, mode: Any = "arrival", *, appended: int = NOW, by: Ingestor | None = None) -> Unfit:
    value = raw if raw is None or isinstance(raw, bytes) else json.dumps(raw).encode()
    result = (by or ingestor(mode)).ingest(value, SOURCE, 7, appended)
    assert isinstance(result, Refused), result
    assert result.letter
    assert result.unfit.reason in REASONS
    return result.unfit


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "E", "userId": "u", **fields}


def at(milliseconds: int) -> str:
    return timestamps.render(milliseconds)


@cache
def million_keys() -> bytes:
    """A JSON object that is too large."""
    return ('{"k' + '":1,"k'.join(map(str, range(1_000_000))) + '":1}').encode()
