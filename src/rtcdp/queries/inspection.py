"""`rtcdp profile KEY`: a profile as it stands in the changelog, with the names of the definitions it was folded under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaException
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.control.versions import DefinitionsTopic, Versions
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.linking import MOST_HOPS
from rtcdp.folding.triggers import KEY
from rtcdp.ingestion.identity import NAMESPACES, blocked, form_of, normalise, profile_key
from rtcdp.position import POSITION_KEY, Position
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.compiling.purposes import CompiledConsent
from rtcdp.rules.definitions import Feature, IdentityPlan
from rtcdp.rules.expressions.tree import Type
from rtcdp.rules.loading.folder import load
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer, opened
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.restore import restore

METADATA_S = 10.0
TENANT = "main"
TRAITS = "traits."
TIME_AGGREGATES = frozenset({"first_time", "last_time"})


class AnswerView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person said about a purpose or a channel.

    at, source: when, and by which event or request; empty where nothing was said and the default holds.
    by:         who set it by hand. until: when it ends by itself.
    """

    granted: bool
    at: str = ""
    source: str = ""
    by: str = ""
    until: str = ""


class ProfileView(msgspec.Struct, frozen=True):
    """A profile for people and machines. Times are RFC 3339.

    now:      the profile's own time, up to which this is true.
    wakes:    when something may change by time alone; None where nothing does.
    segments: name to when it was entered.
    waiting:  triggers that wait.
    stage:    of the lifecycle; empty where there is none.
    identifiers: other identifiers of this person, and since when, by which event.
    consent:  what they agree to, by purpose, `@channel` or `purpose@channel`.
    version:  of the definitions whose names these are; empty where none are known: then features are left out.
    """

    key: str
    now: str
    wakes: str | None
    seq: int
    version: str
    traits: dict[str, Any] = {}
    segments: dict[str, str] = {}
    tags: dict[str, Any] = {}
    features: dict[str, Any] = {}
    waiting: list[str] = []
    bytes: int = 0
    stage: str = ""
    identifiers: dict[str, str] = {}
    consent: dict[str, AnswerView] = {}

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return msgspec.structs.asdict(self) | {"consent": msgspec.to_builtins(self.consent)}

    def show(self) -> None:
        """Print for people."""
        console = Console(highlight=False)
        console.print(f"[bold]{self.key}[/]   as of {self.now}   ({self.bytes} bytes, definitions {self.version or 'unknown'})")
        sections: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("segments", {name: f"since {entered}" for name, entered in self.segments.items()}),
            ("tags", self.tags),
            ("features", self.features),
            ("traits", self.traits),
            ("identifiers", self.identifiers),
            ("consent", {name: "yes" if answer.granted else "no" for name, answer in self.consent.items()}),
        )
        if self.stage:
            console.print(f"\n[bold magenta]stage[/]\n  {self.stage}")
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


def answers_of(profile: Profile, consent: CompiledConsent | None) -> dict[str, AnswerView]:
    """What a profile agrees to: every purpose that the definitions know, and whatever else was answered."""
    found: dict[str, AnswerView] = {}
    for name, purpose in (consent.purposes if consent is not None else {}).items():
        found[name] = AnswerView(purpose.default(profile))
    for name, answer in sorted(profile.consent.items()):
        until = timestamps.render(answer.until) if answer.until else ""
        found[name] = AnswerView(answer.granted, timestamps.render(answer.at), answer.id, answer.by, until)
    return found


def people_of(settings: Settings, key: str) -> dict[str, Any] | None:
    """The person that an identifier belongs to, for machines; None where nothing is known of it. Raises as `profile_at`.

    person: profile key. asked: the key asked for. detached: it is nobody's for good: two people have used it, or it was split
    off. links: identifier, when, by which event. parted: identifiers on the other side of a split, when, by which command.
    """
    found = stored_at(settings, key)
    if found is None:
        return None
    profile = found.profile
    links, parted = (sorted(of.items(), key=lambda link: (link[1], link[0])) for of in (profile.links, profile.parted))
    return {
        "person": profile.key,
        "asked": full_key(key),
        "detached": profile.detached,
        "links": [{"identifier": other, "since": timestamps.render(at), "event": event} for other, (at, event) in links],
        "parted": [{"identifier": other, "since": timestamps.render(at), "command": by} for other, (at, by) in parted],
    }


def show_people(found: Mapping[str, Any]) -> None:
    """Print `people_of` as a tree."""
    tree = Tree(f"[bold]{escape(found['person'])}[/]" + ("   (nobody's, for good)" if found["detached"] else ""))
    for link in found["links"]:
        mark = "  <- asked for" if link["identifier"] == found["asked"] else ""
        tree.add(f"{escape(link['identifier'])}   since {link['since']}   by event {escape(link['event'])}{mark}")
    for one in found["parted"]:
        tree.add(f"[dim]not {escape(one['identifier'])}   split off at {one['since']}   by command {escape(one['command'])}[/]")
    Console(highlight=False).print(tree)


@dataclass(frozen=True)
class Stored:
    """A profile as it lies in the changelog, the position of its partition, and its size in bytes."""

    profile: Profile
    position: Position
    size: int


def stored_at(settings: Settings, key: str) -> Stored | None:
    """Read a profile and its partition's position from the changelog; None where there is no such profile.

    Of an identifier that belongs to somebody, that person's is read.

    Raises as `profile_at`.
    """
    full, partitions = full_key(key), partitions_of(settings)
    sealer = sealer_of(settings, partitions)
    for _ in range(MOST_HOPS):
        state: dict[bytes, bytes] = {}
        partition = partition_of(full.encode(), partitions)
        restore(settings.kafka(), settings.changelog, partition, state, group=f"{settings.app}-inspect")
        stored = entry_of(state, full.encode(), sealer)
        if stored is None:
            return None
        profile = profiles.decode(full, stored)
        if not profile.alias:
            found = state.get(POSITION_KEY)
            position = Position() if found is None else positions.decode(found)
            return Stored(profile, position, len(stored))
        full = profile.alias
    raise ClusterError(f"{full} is one of too many aliases: the changelog is damaged")


def entry_of(state: Mapping[bytes, bytes], key: bytes, sealer: Sealer | None) -> bytes | None:
    """A profile's bytes out of a changelog partition as it was read; None where there are none. Raises ClusterError."""
    if sealer is None:
        opened(list(state.items()), None)  # says so where all of it is sealed
        return state.get(key)
    name = sealer.name(key).name
    (found,) = opened([(name, state.get(name))], sealer)
    return None if found is None else found[1] or None


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
    return Viewer(compiled).view(profile, size)


class Viewer:
    """Makes views of profiles under one version of the definitions; what can be looked up beforehand is.

    compiled: None where the version is not known: then names are missing, and with them all but traits.
    """

    def __init__(self, compiled: Compiled | None) -> None:
        rules = compiled.rules if compiled else ()
        self._version = compiled.version if compiled else ""
        self._consent = compiled.consent if compiled else None
        self._staged = compiled is not None and compiled.lifecycle is not None
        self._segments = {rule.key: rule.name for rule in rules if rule.is_segment}
        self._tags = {rule.key: rule.name for rule in rules if rule.kind == "tag"}
        self._triggers = {trigger.key: trigger.name for trigger in compiled.triggers} if compiled else {}
        leaves = compiled.features if compiled else {}
        defined = compiled.definitions.features if compiled else {}
        self._features = [
            (name, leaves[name].reader(), _is_time(feature)) for name, feature in defined.items() if name in leaves
        ]
        if compiled:
            derived = compiled.definitions.derived.items()
            self._features += [(name, compiled.of_profile(one.value), one.value.type is Type.TIME) for name, one in derived]
        plan = compiled.definitions.identity if compiled else IdentityPlan()
        self._blocked = frozenset(text.casefold() for text in plan.blocked)
        self._identifiers = [
            (space.name, path.removeprefix(TRAITS).split("."), form_of(space))
            for space in plan.namespaces or NAMESPACES
            for path in space.paths
            if path.startswith(TRAITS)
        ]

    def view(self, profile: Profile, size: int, inside: Mapping[str, int] | None = None) -> ProfileView:
        """The profile for people and machines. size: of its stored form (bytes). inside: its `memberships`, where known."""
        if inside is None:
            inside = self.memberships(profile)
        render = timestamps.render
        waiting = {key[:KEY] for key in profile.waiting} & self._triggers.keys() if profile.waiting else ()
        return ProfileView(
            key=profile.key,
            now=render(profile.now),
            wakes=render(profile.wake_at) if profile.wake_at <= timestamps.LATEST else None,
            seq=profile.seq,
            version=self._version,
            traits={name: value for name in sorted(profile.traits) if (value := profile.trait(name)) is not None},
            segments={name: render(entered) for name, entered in inside.items()},
            tags=dict(sorted([(self._tags[key], value) for key, value in profile.tags.items() if key in self._tags])),
            features=self._values(profile),
            waiting=sorted(self._triggers[key] for key in waiting),
            bytes=size,
            stage=profile.stage[0] if profile.stage and self._staged else "",
            identifiers={
                key.partition("/")[2]: f"{render(said)} by {message_id}"
                for key, (said, message_id) in sorted(profile.links.items(), key=lambda link: (link[1], link[0]))
            },
            consent=answers_of(profile, self._consent) if self._consent is not None or profile.consent else {},
        )

    def memberships(self, profile: Profile) -> dict[str, int]:
        """Segments that it is in, and when each was entered (ms), earliest first."""
        names = self._segments
        inside = [(entered, names[key]) for key, entered in profile.segments.items() if key in names]
        inside.sort()
        return {name: entered for entered, name in inside}

    def identifiers(self, profile: Profile) -> list[str]:
        """Its other identifiers, as `NAMESPACE:VALUE` of a profile key: linked, or read from traits by the identity plan."""
        if not profile.traits and not profile.links:
            return []
        tenant = profile.key.partition("/")[0]
        found = set(profile.links)
        for namespace, path, form in self._identifiers:
            value = profile.trait(path[0])
            for name in path[1:]:
                value = value.get(name) if isinstance(value, dict) else None
            text = "" if value is None else normalise(value, form)
            if text and not blocked(text, self._blocked):
                found.add(profile_key(tenant, namespace, text).decode())
        found.discard(profile.key)
        return sorted(key.partition("/")[2] for key in found)

    def _values(self, profile: Profile) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, read, is_time in self._features:
            value = read(profile, None)
            if value is not None:
                found[name] = timestamps.render(value) if is_time and isinstance(value, int) else value
        return found


def _is_time(feature: Feature) -> bool:
    return feature.aggregate in TIME_AGGREGATES or (feature.value is not None and feature.value.type is Type.TIME)


def partitions_of(settings: Settings) -> int:
    """Partitions of the changelog. Raises ClusterError."""
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
    return versions_of(settings).get(passed[-1])


def versions_of(settings: Settings) -> Versions:
    """Every version on the topic `definitions`. Raises ClusterError."""
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-inspect")
    topic.read()
    return Versions(topic)
