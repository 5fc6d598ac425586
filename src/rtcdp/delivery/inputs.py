"""The topics of a deliverer, and whether the cluster has them as it needs them."""

from __future__ import annotations

from rtcdp.errors import ClusterError
from rtcdp.servers.cluster import Cluster
from rtcdp.servers.preflight import COMPACT, DELETE, Wanted, examine, kept_for, wanted_topics
from rtcdp.settings.config import Settings

# Written and removed all the time, and read whole at every takeover: compacted often, which needs closed segments. What was
# delivered or withdrawn is gone within a stated time.
_STATE = {
    "segment.ms": "600000",
    "segment.bytes": "67108864",
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "3600000",
    "delete.retention.ms": "3600000",
}


_GONE = ("segment.ms", "max.compaction.lag.ms", "delete.retention.ms")
"""Of these, what tells how long something is there that was delivered or withdrawn."""


def retention(settings: Settings) -> dict[str, dict[str, str]]:
    """Options of a deliverer's topics that tell how long they keep their records, by name."""
    kept = {settings.delivery_commands: settings.keep_commands_hours, settings.deliveries_dlq: settings.keep_letters_hours}
    found = {name: kept_for(hours) for name, hours in kept.items() if hours}
    return {settings.deliveries: {name: _STATE[name] for name in _GONE}, **found}


def inputs(settings: Settings) -> tuple[str, str, str]:
    """The topics that are read, all with the same number of partitions."""
    return settings.triggers, settings.profile_changes, settings.delivery_commands


def check_cluster(settings: Settings) -> Cluster:
    """Check and create what a deliverer needs. Blocks. Raises ClusterError and SettingError."""
    worker = wanted_topics(settings)
    read = {
        name: Wanted(worker[name].role, None, DELETE, worker[name].created, ("READ",))
        for name in (settings.triggers, settings.profile_changes)
    }
    number = examine(settings, read).partitions[settings.triggers]
    own = {
        settings.deliveries: Wanted("deliveries", number, COMPACT, _STATE, ("READ", "WRITE")),
        settings.delivery_commands: Wanted("delivery-commands", number, DELETE, kept_for(7 * 24), ("READ",)),
        settings.deliveries_dlq: Wanted("deliveries-dlq", None, DELETE, kept_for(14 * 24), ("WRITE",)),
    }
    sources = {
        source.topic: Wanted("source", None, worker[source.topic].required, worker[source.topic].created, ("WRITE",))
        for source in settings.sources
    }
    cluster = examine(settings, {**read, **own, **sources}, keep=retention(settings))
    for name in (settings.profile_changes, settings.deliveries, settings.delivery_commands):
        if cluster.partitions[name] != number:
            raise ClusterError(
                f"{settings.triggers} has {number} partitions and {name} has {cluster.partitions[name]}: they must be equal, "
                f"since what is kept of a partition's deliveries lies in the partition of the same number"
            )
    return cluster
