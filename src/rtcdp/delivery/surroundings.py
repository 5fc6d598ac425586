"""What the partitions of a deliverer have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from rtcdp.delivery.destinations import Outlets
from rtcdp.delivery.lanes import Lane
from rtcdp.delivery.measures import Measures
from rtcdp.sealing.sealer import Sealer
from rtcdp.settings.config import Settings


@dataclass(frozen=True)
class Surroundings:
    """What all partitions of a process share.

    topic_ids: topic name to id. tenants: the topic for events of a tenant.
    threads:   where what blocks runs. clock: ms since 1970.
    traced:    whether deliveries keep the trace context of their record.
    sealer:    seals what waits and what was given up, where personal data is encrypted.
    """

    settings: Settings
    outlets: Outlets
    lanes: Mapping[str, Lane]
    topic_ids: Mapping[str, str]
    tenants: Mapping[str, str]
    measures: Measures
    threads: Executor
    clock: Callable[[], int]
    traced: bool = False
    sealer: Sealer | None = None
