"""The runner of one partition, put together from what a process knows: for workers and for what folds the log again."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import cast

from rtcdp.errors import Unfit
from rtcdp.folding.erasing import Marking
from rtcdp.folding.runner import PartitionRunner
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.outputs import Origin
from rtcdp.position import Position
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.servers.cluster import Cluster
from rtcdp.settings.config import Settings
from rtcdp.worker.profiles.changelog import check_profiles
from rtcdp.worker.profiles.work import Runner


def new_runner(
    settings: Settings,
    cluster: Cluster,
    registry: Mapping[str, Compiled],
    number: int,
    state: MutableMapping[bytes, bytes],
    position: Position,
    name: Marking,
) -> Runner:
    """A runner over a partition's state. name: the keyed hash for the marks of erasures.

    Raises ClusterError where an entry of the state is no profile of this release.
    """
    check_profiles(settings.changelog, number, state)
    limit = cluster.max_message_bytes[settings.events_dlq]
    runner = PartitionRunner(
        number, state, position, registry, topic=settings.profile_events, letter=partial(_letter, limit), name=name
    )
    return cast("Runner", runner)  # its `Fold` says more than a `Folded` has to


def _letter(
    limit: int, reason: str, detail: str, origin: Origin, key: bytes | None, value: bytes | None
) -> tuple[bytes, bytes]:
    """A dead letter of the profile stage, as the runner asks for it."""
    return record(dead_letter(Unfit(reason, detail), origin, key, value, 0, limit, stage="profile"))
