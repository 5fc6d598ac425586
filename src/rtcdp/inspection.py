"""`rtcdp profile KEY`: a profile as it stands in the changelog, with the names of the definitions it was folded under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaException
from rich.console import Console
from rich.table import Table

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp import timestamps
from rtcdp.cluster import cause
from rtcdp.config import Settings
from rtcdp.errors import ClusterError, SettingError
from rtcdp.position import POSITION_KEY, Position
from rtcdp.profile import Profile
from rtcdp.rules.compiler import Compiled, compile_definitions
from rtcdp.rules.expressions import Type
from rtcdp.rules.loading import load
from rtcdp.transport.restore import restore
from rtcdp.worker.versions import DefinitionsTopic, Versions

METADATA_S = 10.0
TENANT = "main"
TIME_AGGREGATES = frozenset({"first_time", "last_time"})


@dataclass(frozen=True)
class ProfileView:
    """A profile for people and machines. Times are RFC 3339.

    now:      the profile's own time, up to which this is true.
    wakes:    when something may change by time alone; None where nothing does.
    segments: name to when it was entered.
    waiting:  triggers that wait.
    version:  of the definitions whose names these are; empty where none are known: then features are left out.
    """

    key: str
    now: str
    wakes: str | None
    seq: int
    version: str
    traits: dict[str, Any] = field(default_factory=dict)
    segments: dict[str, str] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return dict(vars(self))

    def show(self) -> None:
        """Print for people."""
        console = Console(highlight=False)
        console.print(f"[bold]{self.key}[/]   as of {self.now}   ({self.bytes} bytes, definitions {self.version or 'unknown'})")
        sections: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("segments", {name: f"since {entered}" for name, entered in self.segments.items()}),
            ("tags", self.tags),
            ("features", self.features),
            ("traits", self.traits),
        )
        for title, values in sections:
            if values:
                console.print(f"\n[bold magenta]{title}[/]")
                table = Table.grid(padding=(0, 2))
                for name, value in values.items():
                    table.add_row(f"  {name}", str(value))
                console.print(table)
        if self.waiting:
            console.print(f"\n[bold magenta]waiting[/]\n  {', '.join(self.waiting)}")
        if self.wakes:
            console.print(f"\nmay change by time alone at {self.wakes}")


def profile_at(settings: Settings, key: str) -> ProfileView | None:
    """Read a profile from the changelog; None where there is none.

    key: `<tenant>/<namespace>:<value>`, or without the tenant.

    Raises SettingError for what is no key, ClusterError where the changelog cannot be read.
    """
    found = stored_at(settings, key)
    if found is None:
        return None
    return view(found.profile, definitions_of(settings, found), found.size)


@dataclass(frozen=True)
class Stored:
    """A profile as it lies in the changelog, the position of its partition, and its size in bytes."""

    profile: Profile
    position: Position
    size: int


def stored_at(settings: Settings, key: str) -> Stored | None:
    """Read a profile and its partition's position from the changelog; None where there is no such profile.

    Raises as `profile_at`.
    """
    full = full_key(key)
    partition = partition_of(full.encode(), _partitions(settings))
    state: dict[bytes, bytes] = {}
    restore(settings.kafka(), settings.changelog, partition, state, group=f"{settings.app}-inspect")
    stored = state.get(full.encode())
    if stored is None:
        return None
    found = state.get(POSITION_KEY)
    position = Position() if found is None else positions.decode(found)
    return Stored(profiles.decode(full, stored), position, len(stored))


def full_key(key: str) -> str:
    """The whole profile key. Raises SettingError."""
    tenant, slash, rest = key.partition("/")
    if not slash:
        tenant, rest = TENANT, key
    if not tenant or ":" not in rest:
        raise SettingError(f"{key!r} is no profile key: NAMESPACE:VALUE is, like user_id:u000042")
    return f"{tenant}/{rest}"


def partition_of(key: bytes, partitions: int) -> int:
    """Where Java's and aiokafka's default partitioner put a key: murmur2, the sign bit cleared."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def view(profile: Profile, compiled: Compiled | None, size: int) -> ProfileView:
    """What a stored profile means under a version of the definitions. compiled: None where it is not known."""
    timeless = ProfileView(
        key=profile.key,
        now=timestamps.render(profile.now),
        wakes=timestamps.render(profile.wake_at) if profile.wake_at <= timestamps.LATEST else None,
        seq=profile.seq,
        version=compiled.version if compiled else "",
        traits={name: profile.trait(name) for name in sorted(profile.traits) if profile.trait(name) is not None},
        bytes=size,
    )
    if compiled is None:
        return timeless
    segments = {rule.key: rule.name for rule in compiled.rules if rule.is_segment}
    tags = {rule.key: rule.name for rule in compiled.rules if not rule.is_segment}
    triggers = {trigger.key: trigger.name for trigger in compiled.triggers}
    inside = sorted((entered, segments[key]) for key, entered in profile.segments.items() if key in segments)
    timeless.segments.update((name, timestamps.render(entered)) for entered, name in inside)
    timeless.tags.update(sorted((tags[key], value) for key, value in profile.tags.items() if key in tags))
    timeless.features.update(_features(profile, compiled))
    timeless.waiting.extend(sorted(triggers[key] for key in profile.waiting if key in triggers))
    return timeless


def _features(profile: Profile, compiled: Compiled) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, feature in compiled.definitions.features.items():
        value = compiled.features[name].value(profile) if name in compiled.features else None
        if value is None:
            continue
        is_time = feature.aggregate in TIME_AGGREGATES or (feature.value is not None and feature.value.type is Type.TIME)
        values[name] = timestamps.render(value) if is_time and isinstance(value, int) else value
    return values


def _partitions(settings: Settings) -> int:
    consumer = Consumer({**settings.kafka(), "group.id": f"{settings.app}-inspect", "log_level": 0})
    try:
        topic = consumer.list_topics(timeout=METADATA_S).topics.get(settings.changelog)
    except KafkaException as error:
        raise ClusterError(f"no Kafka answers at {settings.bootstrap} (bootstrap): {cause(error).str()}") from None
    finally:
        consumer.close()
    if topic is None:
        raise ClusterError(f"{settings.changelog}: there is no such topic (app: {settings.app}); has a worker run here?")
    return len(topic.partitions)


def definitions_of(settings: Settings, stored: Stored) -> Compiled | None:
    """The definitions given, else the version that the profile was folded under, from the topic `definitions`."""
    position, profile = stored.position, stored.profile
    if settings.definitions is not None:
        return compile_definitions(load(settings.definitions))
    passed = [switch.version for switch in position.switches if switch.number <= profile.switch]
    if not passed:
        return None
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-inspect")
    topic.read()
    return Versions(topic).get(passed[-1])
