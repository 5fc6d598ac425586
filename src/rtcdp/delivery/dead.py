"""Deliveries that were given up, and making them again; turning a destination on again that said 410. It all blocks."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from rtcdp.delivery import deliveries
from rtcdp.delivery.deliveries import ERASED, DeadDelivery, Delivery, Enable, Retry
from rtcdp.dlq import Sender, messages
from rtcdp.errors import ClusterError
from rtcdp.queries.inspection import partition_of
from rtcdp.sealing.parcels import packed, shared_sealer, unpacked
from rtcdp.servers.cluster import REQUEST_S, cause
from rtcdp.settings.config import Settings

KEY_BYTES = 32


@dataclass(frozen=True)
class Choice:
    """Which dead deliveries are meant; what is None is not looked at."""

    destination: str | None = None
    reason: str | None = None
    id: str | None = None

    def fits(self, dead: DeadDelivery) -> bool:
        """Whether it is meant."""
        return (
            self.destination in (None, dead.delivery.destination)
            and self.reason in (None, dead.reason)
            and self.id in (None, dead.delivery.id)
        )


Wanted = Callable[[DeadDelivery], bool]


def list_dead(settings: Settings, choice: Choice, *, wanted: Wanted = lambda _: True) -> Iterator[DeadDelivery]:
    """The latest dead letter of each delivery, oldest first, as far as the topic reaches now. wanted: only these.

    Raises ClusterError where the topic cannot be read.
    """
    latest: dict[str, tuple[int, DeadDelivery]] = {}
    sealer = shared_sealer(settings)
    for message in messages(settings, settings.deliveries_dlq):
        (value,) = unpacked([message.value()], sealer)
        try:
            dead = deliveries.decode_dead(value or b"")
        except msgspec.DecodeError:
            continue
        when = message.timestamp()[1]
        known = latest.get(dead.delivery.id)
        if known is None or known[0] <= when:
            latest[dead.delivery.id] = (when, dead)
    for _, dead in sorted(latest.values(), key=lambda found: found[0]):
        if choice.fits(dead) and wanted(dead):
            yield dead


def shown(dead: DeadDelivery) -> str:
    """One line: id, destination, reason, last error, attempts, time; separated by tabs."""
    one = dead.delivery
    parts = (one.id, one.destination, dead.reason, one.error or "-", str(one.attempts), dead.at)
    return "\t".join("".join(char if char.isprintable() else " " for char in part) for part in parts)


def as_json(dead: DeadDelivery) -> str:
    """One JSON object: everything but the body."""
    fields = msgspec.to_builtins(dead)
    del fields["delivery"]["body"]
    return msgspec.json.encode(fields).decode()


def replay(settings: Settings, choice: Choice, *, dry_run: bool = False, wanted: Wanted = lambda _: True) -> int:
    """Ask the deliverer to make dead deliveries again, with the same id and body. Returns how many. wanted: only these.

    Harmless when repeated while the first try waits. What has expired meanwhile is not sent.

    Raises ClusterError where a topic cannot be read, or not everything was acknowledged.
    """
    sender = None if dry_run else Sender(settings)
    again = None if dry_run else _retries(settings)
    count = 0
    for dead in list_dead(settings, choice, wanted=wanted):
        one = msgspec.structs.replace(dead.delivery, attempts=0, due=0, error="")
        if sender is not None and again is not None:
            key, value, partition = again(one)
            sender.send(settings.delivery_commands, key, value, partition=partition)
        count += 1
    if sender is not None:
        sender.finish()
    return count


def _retries(settings: Settings) -> Callable[[Delivery], tuple[bytes, bytes, int]]:
    """How a command to make a delivery again is written: key, value and partition (-1: by the key)."""
    sealer = shared_sealer(settings)
    partitions = 0 if sealer is None else len(_partitions(settings))

    def made(one: Delivery) -> tuple[bytes, bytes, int]:
        key, value = one.profile.encode(), deliveries.encode(Retry(delivery=one))
        if sealer is None or one.kind == ERASED:
            return key, value, -1
        return sealer.name(key).name, packed([(key, value)], sealer)[0], partition_of(key, partitions)

    return made


def enable(settings: Settings, destination: str) -> None:
    """Tell every deliverer that a destination is there again. Raises ClusterError."""
    sender = Sender(settings)
    for partition in _partitions(settings):
        sender.send(settings.delivery_commands, None, deliveries.encode(Enable(destination=destination)), partition=partition)
    sender.finish()


def _partitions(settings: Settings) -> list[int]:
    """Of the topic of commands."""
    admin = AdminClient({**settings.kafka(), "log_level": 0})
    try:
        found = admin.list_topics(settings.delivery_commands, timeout=REQUEST_S).topics[settings.delivery_commands]
    except KafkaException as failure:
        raise ClusterError(f"Kafka cannot be asked: {cause(failure).str()}") from None
    if found.error is not None:
        raise ClusterError(f"topic {settings.delivery_commands}: {found.error}")
    return sorted(found.partitions)


def new_secret() -> str:
    """A secret for Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
