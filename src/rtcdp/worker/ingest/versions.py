"""The ingest version: everything besides the record itself that decides its key and cleaned form.

A successor has to make the same records again, so each version also names definitions that say how.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import Message
from xxhash import xxh3_64_hexdigest

from rtcdp.ingestion.ingestor import INGEST_VERSION, Accepted, Ingestor, Refused, Source
from rtcdp.rules.definitions import Definitions, IdentityPlan, TrackingPlan
from rtcdp.settings.config import SourceSettings
from rtcdp.worker.ingest.lanes import Lane
from rtcdp.worker.ingest.progress import VersionPoint

logger = logging.getLogger(__name__)

_READ: tuple[Callable[[Message], Any], ...] = (Message.value, Message.offset, Message.timestamp, Message.headers)
Cleaned = tuple[Ingestor, list[Accepted | Refused]]
"""What became of consecutive messages under one ingest version."""


@dataclass(frozen=True)
class IngestPlan:
    """`tracking:` and `identity:` of a version of the definitions.

    version:     hash of the two and of the version of the cleaning code.
    definitions: the version of the definitions that they are from.
    """

    version: str
    definitions: str
    tracking: TrackingPlan
    identity: IdentityPlan

    @classmethod
    def of(cls, definitions: Definitions) -> IngestPlan:
        """The plan in a set of definitions."""
        parts = (INGEST_VERSION, definitions.tracking, definitions.identity)
        version = xxh3_64_hexdigest(msgspec.json.encode(parts, order="deterministic"))
        return cls(version, definitions.version, definitions.tracking, definitions.identity)


class Plans:
    """The plans that offsets of the sources still ask for, and an ingestor for each of them and each source.

    definitions: a version of the definitions to the definitions; None where it is not known.
    current:     the plan to fall back on.
    """

    def __init__(self, definitions: Callable[[str], Definitions | None], current: IngestPlan) -> None:
        self._definitions = definitions
        self._plans = {current.version: current}
        self._current = current
        self._ingestors: dict[tuple[str, str], Ingestor] = {}

    def add(self, plan: IngestPlan) -> None:
        """This plan is current now."""
        self._current = plan
        self._plans[plan.version] = plan

    def clean(self, lane: Lane, source: SourceSettings, messages: Sequence[Message]) -> list[Cleaned]:
        """What becomes of consecutive messages of a lane, by the versions that count for their offsets; nothing is sent."""
        found: list[Cleaned] = []
        while messages:
            point, following = lane.version_at(messages[0].offset() or 0)
            part = messages
            if following is not None and (messages[-1].offset() or 0) >= following:
                part = [message for message in messages if (message.offset() or 0) < following]
            ingestor, origin = self.ingestor(point, source), lane.source
            ingest = ingestor.ingest
            # A fetched message has an offset. What is read of them is read from C: a method call each costs twice that.
            read = zip(*(map(each, part) for each in _READ), strict=True)
            results = [ingest(value, origin, offset, stamp[1], headers) for value, offset, stamp, headers in read]
            found.append((ingestor, results))
            messages = messages[len(part) :]
        return found

    def ingestor(self, point: VersionPoint, source: SourceSettings) -> Ingestor:
        """What makes a source's records under a version."""
        found = self._ingestors.get((point.version, source.topic))
        if found is None:
            plan = self._plans.get(point.version) or self._recall(point)
            found = Ingestor(plan.tracking, plan.identity, Source(source.topic, source.tenant, source.time))
            self._ingestors[point.version, source.topic] = found
        return found

    def _recall(self, point: VersionPoint) -> IngestPlan:
        definitions = self._definitions(point.definitions)
        if definitions is None:
            logger.warning(
                "the definitions %s, by which a source was ingested so far, are not known: its records before offset %s "
                "that were not acknowledged are made by %s",
                point.definitions,
                point.offset,
                self._current.definitions,
            )
            plan = self._current
        else:
            plan = IngestPlan.of(definitions)  # by this process's cleaning code, whatever the other one had
        self._plans[point.version] = plan
        return plan
