"""`rtcdp apply DIR`: makes a folder's definitions current, and sees every partition's log take the switch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rtcdp import records
from rtcdp.control.audit import Actor, Trail, person, ready
from rtcdp.control.reviews import insist
from rtcdp.control.versions import CURRENT, SHADOW, DefinitionsTopic, apply, named
from rtcdp.errors import ClusterError, SettingError
from rtcdp.records import SWITCH_KEY, Switch
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load_marked
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings

METADATA_S = 10.0
POLL_S = 0.2


@dataclass(frozen=True)
class Applied:
    """What applying a folder did.

    version:    of the folder's definitions, current now.
    previous:   the version that was current before; empty where there was none.
    partitions: of `profile-events`; `switched` are those whose log holds the switch, as far as it was waited for.
    seconds:    from the command to the last of those switch records.
    shadow:     they are evaluated beside the current ones, not in their place; `previous` then speaks of that too.
    """

    version: str
    previous: str
    partitions: int = 0
    switched: int = 0
    seconds: float = 0.0
    shadow: bool = False

    @property
    def changed(self) -> bool:
        """Whether another version was current before."""
        return self.version != self.previous

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**vars(self), "changed": self.changed}

    def __str__(self) -> str:
        """One line for people."""
        state = "evaluated beside the current ones" if self.shadow else "current"
        if not self.changed:
            return f"definitions {self.version} are {state} already"
        text = f"definitions {self.version} are {state}"
        if not self.partitions:
            return text
        if self.switched == self.partitions:
            return f"{text}; the switch is in the log of all {self.partitions} partitions after {self.seconds:.2f} s"
        return f"{text}; the switch is in the log of {self.switched} of {self.partitions} partitions so far: do workers run?"


def apply_folder(
    settings: Settings, folder: Path, *, shadow: bool = False, wait_s: float = 10.0, by: Actor | None = None
) -> Applied:
    """Make a folder's definitions current, and wait until every partition's log holds the switch to them.

    wait_s: how long to wait at most; 0: not at all. Where no worker owns a partition, its owner to be will switch.
    by:     who does it, for the audit log; None: the person at this command.

    Raises DefinitionErrors, SettingError, ClusterError; NotNow where they have to be reviewed first.
    """
    definitions, marked = load_marked(folder)
    return make_current(settings, definitions, shadow=shadow or marked, wait_s=wait_s, by=by)


def make_current(
    settings: Settings,
    definitions: Definitions,
    *,
    shadow: bool = False,
    wait_s: float = 10.0,
    by: Actor | None = None,
    what: str = "apply",
) -> Applied:
    """The same of definitions that were loaded already. what: the operation, for the audit log."""
    kafka = settings.kafka()
    topic = DefinitionsTopic(kafka, settings.definitions_topic, f"{settings.app}-apply")
    topic.read()
    previous = named(topic.entries, SHADOW if shadow else CURRENT) or ""
    if shadow and definitions.version == named(topic.entries, CURRENT):
        raise SettingError(f"the definitions {definitions.version} are current: they cannot be evaluated beside themselves")
    if definitions.version == previous:
        return Applied(definitions.version, previous, shadow=shadow)
    insist(settings, topic.entries, definitions.version)
    about = {"version": definitions.version, "previous": previous, **({"shadow": "true"} if shadow else {})}
    ready(settings)
    Trail(settings, by or person()).write(what, about=about)
    if wait_s <= 0:
        apply(topic, definitions, shadow=shadow)
        return Applied(definitions.version, previous, shadow=shadow)
    log = _Log(kafka, settings.profile_events, f"{settings.app}-apply")
    try:
        began = monotonic()
        apply(topic, definitions, shadow=shadow)
        seconds = log.wait(definitions.version, began + wait_s, shadow=shadow) - began
        switched = log.partitions - len(log.waiting)
        return Applied(definitions.version, previous, log.partitions, switched, seconds, shadow=shadow)
    finally:
        log.close()


class _Log:
    """The ends of `profile-events` from now on. waiting: partitions without the switch so far."""

    def __init__(self, kafka: dict[str, Any], topic: str, group: str) -> None:
        self._consumer = Consumer({**kafka, "group.id": group, "enable.auto.commit": False, "log_level": 0})
        try:
            found = self._consumer.list_topics(topic, timeout=METADATA_S).topics[topic]
            numbers = sorted(found.partitions)
            ends = [self._consumer.get_watermark_offsets(TopicPartition(topic, number), METADATA_S) for number in numbers]
            self._consumer.assign([TopicPartition(topic, number, end) for number, (_, end) in zip(numbers, ends, strict=True)])
        except KafkaException as failure:
            self._consumer.close()
            raise ClusterError(f"{topic} cannot be read: {cause(failure).str()}") from failure
        self.partitions = len(numbers)
        self.waiting = set(numbers)

        if not numbers:
            self._consumer.close()
            raise ClusterError(f"{topic}: there is no such topic; has a worker run here?")

    def wait(self, version: str, deadline: float, *, shadow: bool) -> float:
        """Read until every partition has switched to the version, or the deadline; the time at which the last one had."""
        last = monotonic()
        while self.waiting and monotonic() < deadline:
            first = self._consumer.poll(POLL_S)  # `consume` alone would wait in full for what makes its number whole
            for message in () if first is None else (first, *self._consumer.consume(1_000, 0)):
                value = message.value()
                if message.error() is None and message.key() == SWITCH_KEY and value is not None:
                    record = records.decode(value)
                    if isinstance(record, Switch) and (record.shadow if shadow else record.version) == version:
                        self.waiting.discard(message.partition() or 0)
                        last = monotonic()
        return last

    def close(self) -> None:
        self._consumer.close()
