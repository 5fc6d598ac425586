"""Commands: what may be put into the log by hand. They are records of the topic `commands`, which is a source with an own ACL.

So far there is one kind, the explicit tick (`rtcdp tick --until T`).
"""

from __future__ import annotations

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rtcdp import timestamps
from rtcdp.cluster import cause, source_ends
from rtcdp.config import Settings
from rtcdp.errors import ClusterError, SettingError

TIMEOUT_S = 15.0


class TickCommand(msgspec.Struct, tag_field="kind", tag="tick", kw_only=True):
    """Let time run on to `time` (ms) in every partition.

    ends: where each source partition (`<topic id>/<partition>`) ended when the command was given: the tick comes after all
    that was there before.
    """

    time: int
    ends: dict[str, int] = {}


Command = TickCommand

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Command).decode


def tick(settings: Settings, until: str) -> TickCommand:
    """Send an explicit tick and return it once the cluster has it.

    until: RFC 3339, or any other form of time that events may carry.

    Raises SettingError where `until` is no time, ClusterError where the command cannot be sent.
    """
    time = timestamps.parse(until)
    if time is None:
        raise SettingError(f"until: {until!r} is no time (RFC 3339, for example 2025-03-01T00:00:00Z)")
    kafka = settings.kafka()
    command = TickCommand(time=time, ends=source_ends(kafka, [source.topic for source in settings.sources]))
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({**kafka, "acks": "all", "message.timeout.ms": int(TIMEOUT_S * 1_000), "log_level": 0})
    try:
        producer.produce(settings.commands, encode(command), on_delivery=delivered)
    except KafkaException as failure:
        failures.append(cause(failure))
    left = producer.flush(TIMEOUT_S + 1)
    if failures or left:
        reason = failures[0].str() if failures else "no answer"
        raise ClusterError(f"the command could not be written to {settings.commands}: {reason}")
    return command
