"""What the positions and keys of a deployment rest on: recorded in the topic `definitions` at its first start."""

from __future__ import annotations

from secrets import token_hex

import msgspec

from rtcdp.control.versions import CURRENT, SHADOW, DefinitionsTopic
from rtcdp.errors import ClusterError
from rtcdp.folding.erasing import Marking, marking
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer
from rtcdp.servers.cluster import Cluster
from rtcdp.settings.config import Settings


class Layout(msgspec.Struct):
    """The value of `layout/<app>`: what positions and keys rest on, so that it may not change.

    version:  of the definitions under which the log begins; empty where an earlier release wrote it.
    restored: the log goes on from a backup: it is not all that the state is made of.
    keys:     id of the key store that personal data is sealed with; empty: it is not.
    secret:   of the hashes that mark erasures, where there is no key store, in hex; empty: the topic's id.
    """

    topic_id: str
    partitions: int
    version: str = ""
    restored: bool = False
    keys: str = ""
    secret: str = ""


def layout_of(topic: DefinitionsTopic, app: str) -> Layout | None:
    """What was recorded at an app's first start; None before it."""
    found = topic.entries.get(f"layout/{app}")
    return None if found is None else msgspec.json.decode(found, type=Layout)


def record_layout(topic: DefinitionsTopic, app: str, layout: Layout) -> None:
    """Record it. Raises ClusterError where it cannot be written."""
    topic.write({f"layout/{app}": msgspec.json.encode(layout)})


def first_version(topic: DefinitionsTopic, app: str) -> str:
    """The version under which an app's log begins: recorded, else the oldest there is.

    Raises ClusterError where there is none.
    """
    recorded = layout_of(topic, app)
    version = "" if recorded is None else recorded.version
    oldest = next((key for key in topic.entries if key not in (CURRENT, SHADOW) and "/" not in key), "")
    if not (version or oldest):
        raise ClusterError("the topic of definitions holds none: without them the log cannot be folded")
    return version or oldest


def check_layout(topic: DefinitionsTopic, settings: Settings, cluster: Cluster, version: str = "", *, keys: str = "") -> None:
    """Compare `profile-events` with what it was at this app's first start, or record it, with the version it begins under.

    keys: id of the key store; empty where encryption is off.

    Raises ClusterError where its partition count or the topic itself has changed: keys would lie elsewhere, and positions
    speak of other records; and where the key store is another one.
    """
    name = settings.profile_events
    now = Layout(cluster.topic_ids[name], cluster.partitions[name], version, keys=keys, secret=token_hex(32))
    then = layout_of(topic, settings.app)
    if then is None:
        record_layout(topic, settings.app, now)
        return
    if then.topic_id != now.topic_id:
        raise ClusterError(
            f"{name} is not the topic it was (id {then.topic_id}, now {now.topic_id}): it was deleted and made again; "
            f"start anew under another app name than {settings.app!r}"
        )
    if then.partitions != now.partitions:
        raise ClusterError(
            f"{name} had {then.partitions} partitions and has {now.partitions} now: keys would lie in other partitions "
            f"than their profiles; start anew under another app name than {settings.app!r}"
        )
    check_keys(then, settings.app, keys)


def sealer_for(topic: DefinitionsTopic, settings: Settings, cluster: Cluster, *, fresh: bool = False) -> Sealer | None:
    """The sealer of a deployment; None where its data is not encrypted. An empty key store is begun at its first start alone.

    fresh: whatever is recorded, it is made anew (from a backup).

    Raises SettingError, and ClusterError where the key store does not answer or encryption was not what it is now.
    """
    layout = None if fresh else layout_of(topic, settings.app)
    if layout is not None and bool(layout.keys) != (settings.encryption != "off"):
        check_keys(layout, settings.app, "" if layout.keys else settings.encryption)
    return sealer_of(settings, cluster.partitions[settings.profile_events], create=layout is None)


def marking_of(topic: DefinitionsTopic, app: str, sealer: Sealer | None) -> Marking:
    """The keyed hash for the marks of erasures: that of the key store, else of a secret of the deployment's own."""
    if sealer is not None:
        return lambda key: sealer.name(key).name
    layout = layout_of(topic, app)
    secret = b"" if layout is None else bytes.fromhex(layout.secret) or layout.topic_id.encode()
    return marking(secret[:64])


def check_keys(layout: Layout, app: str, keys: str) -> None:
    """Refuse another key store than the one that a deployment's data is sealed with, or none. Raises ClusterError."""
    if layout.keys == keys:
        return
    if not layout.keys:
        raise ClusterError(
            f"encryption: the data of {app!r} lies in Kafka unencrypted; take a backup, and put it back "
            "with encryption under another app name"
        )
    if not keys:
        raise ClusterError(f"encryption: the data of {app!r} is encrypted, and encryption is off")
    raise ClusterError(f"encryption: this is not the key store that the data of {app!r} was encrypted with")
