"""What is made from the log about one person, and put into force by a command: again, where it came too late.

The person may see something between the making and the command; then the command does nothing, says so, and all is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console

from rtcdp.control import commands
from rtcdp.errors import ClusterError
from rtcdp.folding.correction import OUTDATED
from rtcdp.outputs import Change
from rtcdp.privacy.person_log import PersonLog, read_log
from rtcdp.queries.inspection import Stored, partition_of, partitions_of, stored_at
from rtcdp.records import Correct, Split, encode
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.settings import restore_conf

PATIENCE_S = 60.0
ANSWER_S = 10.0
LOOK_S = 0.3
MOST = 900_000
"""Bytes of a command: as a record of the log, in base64, it has to fit Kafka's usual 1 MiB."""
_KINDS = frozenset({"corrected", "identity"})
_change = msgspec.json.Decoder(Change).decode


class Refolded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a person.

    person:      profile key. request: id of the command.
    approximate: features that are not exact, since the log no longer holds all that they are made of.
    since:       from when on (RFC 3339) the log is there; empty where it is whole, or was not needed.
    """

    person: str
    request: str
    approximate: list[str] = []
    since: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return msgspec.structs.asdict(self)

    def show_rest(self, out: Console) -> None:
        """Print what every answer ends with."""
        out.print(f"request {self.request}")
        if self.approximate:
            out.print(f"approximate, since the log begins at {self.since}: {', '.join(self.approximate)}")


T = TypeVar("T", bound=Refolded)


def put_into_force(
    settings: Settings, key: str, make: Callable[[Stored, PersonLog], tuple[T, Correct | Split] | None]
) -> T | None:
    """Make something from a person's log, and wait until it is in force, up to a minute. Blocks.

    key:  of the person, by any of their identifiers.
    make: from the person as stored, and their log, the answer and the command; None where there is nothing to be done.

    Returns None where nothing is known of the person, or there is nothing to be done.

    Raises ClusterError, which names nobody, where the cluster cannot be read, no worker answers, the person never holds
    still, or their state is too large for a command.
    """
    deadline, told = monotonic() + PATIENCE_S, None
    while monotonic() < deadline:
        stored = stored_at(settings, key)
        if stored is None:
            return told
        log = read_log(settings, [stored.profile.key, *stored.profile.links])
        if not log.folded:
            sleep(LOOK_S)
            continue
        made = make(stored, log)
        if made is None:
            return told  # it has been done by the command that nobody answered in time
        answer, command = made
        key = stored.profile.key  # by an identifier that leaves, they would not be found again
        if len(encode(command)) > MOST:
            raise ClusterError(f"the state is too large for a command: {len(encode(command))} bytes, {MOST} fit")
        with _listening(settings, key) as consumer:
            commands.send(settings, key.encode(), command)
            done = _taken(consumer, command.id, min(deadline, monotonic() + ANSWER_S))
        if done:
            return answer
        told = answer if done is None else None
    raise ClusterError(f"nothing came of it within {PATIENCE_S:.0f} s: does a worker run? is this person very busy?")


def since(log: PersonLog) -> str:
    """From when on a log is there (RFC 3339); empty where it is whole."""
    return timestamps.render(log.cut) if log.cut else ""


@contextmanager
def _listening(settings: Settings, key: str) -> Iterator[Consumer]:
    """Read what is put out about a profile from now on."""
    consumer = Consumer(restore_conf(settings.kafka(), f"{settings.app}-refold"))
    try:
        number = partition_of(key.encode(), partitions_of(settings))
        _, end = partition_bounds(consumer, settings.profile_changes, number)
        consumer.assign([TopicPartition(settings.profile_changes, number, end)])
        yield consumer
    except KafkaException as failure:
        raise ClusterError(f"{settings.profile_changes} cannot be read: {cause(failure).str()}") from failure
    finally:
        consumer.close()


def _taken(consumer: Consumer, request: str, until: float) -> bool | None:
    """Wait for the record that says what became of a command: whether it is in force; None where nothing said so in time."""
    while monotonic() < until:
        message = consumer.poll(LOOK_S)
        if message is None or message.error() is not None:
            continue
        with suppress(msgspec.MsgspecError):
            change = _change(message.value() or b"")
            if change.kind in _KINDS and change.message_id == request:
                return change.reason != OUTDATED
    return None
