"""Commands: what may be put into the log by hand. They are records of the topic `commands`, which is a source with an own ACL.

An explicit tick (`rtcdp tick --until T`) goes to every partition; any other command is about one person: its Kafka key is
the profile key, and it becomes one record of the log (`rtcdp.records.Command`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rtcdp.errors import ClusterError, SettingError
from rtcdp.records import Erase, PersonalCommand, Time
from rtcdp.sealing.parcels import packed, shared_sealer, unpack
from rtcdp.sealing.sealer import Sealer
from rtcdp.servers.cluster import cause, source_ends
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

TIMEOUT_S = 15.0
ERASURES = b"erasures"
"""Whose data key seals requests for an erasure. No profile key is like this."""


class TickCommand(msgspec.Struct, tag_field="kind", tag="tick", kw_only=True):
    """Let time run on to `time` (ms) in every partition.

    ends: where each source partition (`<topic id>/<partition>`) ended when the command was given: the tick comes after all
    that was there before.
    """

    time: Time
    ends: dict[str, int] = {}


Command = TickCommand | PersonalCommand

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Command).decode


def new_id() -> str:
    """An id for a request that has none."""
    return str(uuid.uuid4())


def tick(settings: Settings, until: str) -> TickCommand:
    """Send an explicit tick and return it once the cluster has it.

    until: RFC 3339, or any other form of time that events may carry.

    Raises SettingError where `until` is no time, ClusterError where the command cannot be sent.
    """
    time = moment("until", until)
    ends = source_ends(settings.kafka(), [source.topic for source in settings.sources])
    command = TickCommand(time=time, ends=ends)
    _send(settings, None, encode(command))
    return command


def send(settings: Settings, key: bytes, command: PersonalCommand) -> None:
    """Send a command about one person; returns once the cluster has it. Blocks.

    key: profile key.

    Raises ClusterError where it cannot be sent.
    """
    _send(settings, *sealed(key, command, shared_sealer(settings)))


def sealed(key: bytes, command: PersonalCommand, sealer: Sealer | None) -> tuple[bytes, bytes]:
    """Key and value of a command's record, as they are to lie in Kafka. Raises ClusterError where the key store is away.

    With encryption what is asked for can be read by nobody once the person is erased. That they are to be erased must be
    readable until it is done, whatever became of their data key: it is sealed with one that is nobody's.
    """
    value = encode(command)
    if sealer is None:
        return key, value
    whose = ERASURES if isinstance(command, Erase) else key
    (parcel,) = packed([(whose, len(key).to_bytes(2, "big") + key + value)], sealer)
    return sealer.name(key).name, parcel


def opened(
    records: Sequence[tuple[bytes | None, bytes | None]], sealer: Sealer | None
) -> list[tuple[bytes | None, bytes | None] | None]:
    """Keys and values of commands as they were sent; None where the person was erased and nobody can read what was asked.

    Raises KeysAway, and ClusterError where the key store has lost keys.
    """
    found: list[tuple[bytes | None, bytes | None] | None] = []
    for record, value in zip(records, unpack([value for _, value in records], sealer), strict=True):
        if value is record[1]:
            found.append(record)
        elif value is None:
            found.append(None)
        else:
            end = 2 + int.from_bytes(value[:2], "big")
            found.append((value[2:end], value[end:]))
    return found


def moment(name: str, text: str) -> int:
    """A time given by hand, in ms. Raises SettingError, which names it, where it is none."""
    time = timestamps.parse(text)
    if time is None:
        raise SettingError(f"{name}: {text!r} is no time (RFC 3339, for example 2025-03-01T00:00:00Z)")
    return time


def _send(settings: Settings, key: bytes | None, value: bytes) -> None:
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    conf = {"acks": "all", "message.timeout.ms": int(TIMEOUT_S * 1_000), "partitioner": "murmur2_random", "log_level": 0}
    producer = Producer({**settings.kafka(), **conf})
    try:
        producer.produce(settings.commands, value, key, on_delivery=delivered)
    except KafkaException as failure:
        failures.append(cause(failure))
    left = producer.flush(TIMEOUT_S + 1)
    if failures or left:
        reason = failures[0].str() if failures else "no answer"
        raise ClusterError(f"the command could not be written to {settings.commands}: {reason}")
