"""`rtcdp privacy erase` and `receipt`: asking for an erasure, and what shows that it was done."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource
from rich.console import Console
from rich.markup import escape

from rtcdp import profile as profiles
from rtcdp.control import commands
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.erasing import MARK, REQUEST, owed
from rtcdp.queries.inspection import full_key, partition_of, partitions_of, stored_at
from rtcdp.records import Erase
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer
from rtcdp.sealing.stores import KeysAway
from rtcdp.servers.cluster import REQUEST_S
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.restore import restore

LOOK_S = 1.0
FOR_EVER_MS = 100 * 365 * 86_400_000
SETTLED = 2
"""Looks without a further mark: identifiers are told by their person, which takes a moment."""


class Mark(msgspec.Struct):
    """What is left of one identifier: a keyed hash.

    name:      the hash, hex. erased: what occurred until then changes nothing (RFC 3339).
    destroyed: when its data key was (RFC 3339); empty: not yet, or there is no encryption.
    """

    name: str
    erased: str
    destroyed: str = ""


class Remainder(msgspec.Struct):
    """A topic that may still hold something of the person in the clear. until: by when its retention has removed it."""

    topic: str
    until: str


class Receipt(msgspec.Struct):
    """What shows that an erasure was done. It names nobody.

    request:   its id. marks: one for the person and one for each identifier.
    encrypted: whether `profile-events` and the changelog are; then they can be read no more once `complete`.
    complete:  every mark is there, and with encryption every data key is destroyed.
    remains:   where, and for how long.
    """

    request: str
    encrypted: bool
    complete: bool
    marks: list[Mark]
    remains: list[Remainder]


def command_of(request: str, *, by: str = "", reason: str = "") -> Erase:
    """The command of an erasure. request: its id, any of your own. by: who asks. Raises SettingError."""
    try:
        return msgspec.convert({"kind": "erase", "id": request, "by": by, "reason": reason}, Erase)
    except msgspec.ValidationError as error:
        raise SettingError(f"erase: {error}") from None


def erase(settings: Settings, key: str, command: Erase) -> set[int]:
    """Ask for an erasure; returns the partitions in which its marks will be. Blocks.

    key: profile key in its normal form (`rtcdp.queries.keys`); any identifier of the person.

    Raises SettingError for what is no key, ClusterError where the command cannot be sent.
    """
    full, number = full_key(key), partitions_of(settings)
    stored = stored_at(settings, key)
    people = {full} if stored is None else {full, stored.profile.key, *stored.profile.links, *owed(stored.profile)}
    commands.send(settings, full.encode(), command)
    return {partition_of(one.encode(), number) for one in people}


def receipt(settings: Settings, request: str, partitions: Iterable[int] | None = None) -> Receipt | None:
    """The receipt of an erasure; None where there is no mark of it (yet). Blocks.

    partitions: of the changelog, where its marks are; None: looked for in all.

    Raises SettingError, ClusterError.
    """
    number = partitions_of(settings)
    sealer = sealer_of(settings, number)
    found: dict[bytes, int] = {}
    for partition in range(number) if partitions is None else partitions:
        state: dict[bytes, bytes] = {}
        restore(settings.kafka(), settings.changelog, partition, state, group=f"{settings.app}-receipt")
        for key, value in state.items():
            if key.startswith(MARK):
                mark = profiles.decode("", value)
                if mark.trait(REQUEST) == request:
                    found[bytes.fromhex(key[len(MARK) :].decode())] = mark.now
    if not found:
        return None
    destroyed = {} if sealer is None else _destroyed(sealer, found)
    at = {name: timestamps.render(time) for name, time in found.items()}
    marks = [Mark(name.hex(), at[name], timestamps.render(destroyed[name]) if destroyed.get(name) else "") for name in found]
    complete = sealer is None or all(destroyed.values())
    remains = _remains(settings, max(found.values()), encrypted=sealer is not None)
    return Receipt(request, sealer is not None, complete, marks, remains)


def wait(settings: Settings, request: str, partitions: set[int], seconds: float) -> Receipt | None:
    """The receipt of an erasure once it is complete, or as it stands after so many seconds. Blocks. Raises as `receipt`."""
    deadline, before, same = monotonic() + seconds, 0, 0
    while True:
        found = receipt(settings, request, partitions)
        marks = 0 if found is None else len(found.marks)
        same, before = (same + 1 if marks == before else 0), marks
        if (found is not None and found.complete and same >= SETTLED) or monotonic() > deadline:
            return found
        sleep(LOOK_S)


def show(found: Receipt) -> None:
    """Print a receipt for people."""
    console = Console(highlight=False)
    state = "complete" if found.complete else "not complete: data keys wait to be destroyed"
    console.print(f"[bold]erasure {escape(found.request)}[/]   {state}")
    for mark in found.marks:
        key = f"   data key destroyed {mark.destroyed}" if mark.destroyed else ""
        console.print(f"  {mark.name}   erased {mark.erased}{key}")
    if not found.encrypted:
        console.print("[yellow]without encryption the log keeps what was written, until its retention ends[/]")
    console.print("what was sent or came in before may still lie unencrypted in:")
    for one in found.remains:
        console.print(f"  {one.topic}   until {one.until}")


def _destroyed(sealer: Sealer, found: dict[bytes, int]) -> dict[bytes, int]:
    """When the keys of these names were destroyed (ms); 0: one is still there that is older than the erasure."""
    try:
        rings = sealer.store.find(list(found))
    except KeysAway as error:
        raise ClusterError(str(error)) from None
    times = {}
    for (name, erased), ring in zip(found.items(), rings, strict=True):
        last = max((at for at in ring.gone.values() if at >= erased), default=0)
        times[name] = 0 if ring.retired else last or (0 if ring.current else erased)
    return times


def _remains(settings: Settings, erased: int, *, encrypted: bool) -> list[Remainder]:
    """Topics that hold people in the clear, and by when what was there at the erasure is gone."""
    topics = [source.topic for source in settings.sources]
    topics += [settings.commands, settings.events_dlq, settings.profile_changes, settings.triggers]
    topics += [settings.deliveries, settings.deliveries_dlq, settings.delivery_commands]
    if not encrypted:
        topics.append(settings.profile_events)
    admin = AdminClient({**settings.kafka(), "log_level": 0})
    asked: Any = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, one) for one in topics])
    found = []
    for resource, future in asked.items():
        try:
            options = {name: entry.value for name, entry in future.result(REQUEST_S).items()}
        except KafkaException:
            continue  # a topic that is not there holds nothing
        kept, segment = int(options["retention.ms"]), int(options["segment.ms"])
        if options["cleanup.policy"] == "compact":  # what was withdrawn is gone when a compaction has passed
            kept = int(options["max.compaction.lag.ms"])
        bounded = 0 <= kept < FOR_EVER_MS
        until = timestamps.render(erased + kept + segment) if bounded else "never"
        found.append(Remainder(resource.name, until))
    return found
