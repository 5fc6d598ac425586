"""The topic `definitions`: every version that was ever current, the one that is, and who proposed what.

Keys: a version (value: the normal form), `current`, `shadow`, `proposed/<instance>`, `layout/<app>` (see `layout.py`). One
partition, compacted, so that all of it is read at a start and followed by a thread from then on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Literal

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from rtcdp.errors import ClusterError, DefinitionErrors, SettingError
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import definitions_from_normal
from rtcdp.servers.cluster import cause, first_offset

logger = logging.getLogger(__name__)

PARTITION = 0
CURRENT = "current"
SHADOW = "shadow"
SHADOW_MARK = "/shadow"
"""Behind a proposed version: it was proposed to be evaluated beside the current one."""
READ_S = 30.0
WRITE_S = 30.0
WRITING = {
    "acks": "all",
    "message.timeout.ms": int(WRITE_S * 1_000),
    "message.max.bytes": 100_000_000,  # the topic's own limit is the one that counts
    "linger.ms": 0,
}
"""Not idempotent: the first record would wait half a second, and an entry that is there twice is the same."""
POLL_S = 0.5
SOON_MS = 10
"""A broker tells the end of a partition only when it stops waiting for more."""


class Named(msgspec.Struct):
    """The value of `current` and of `proposed/...`: a version."""

    version: str


class DefinitionsTopic:
    """Reads and writes the topic.

    kafka: librdkafka's options for reaching the cluster.
    topic: `definitions`.
    group: name in the client's logs; no group is joined.

    `entries` is what has been read; `read` and `follow` fill it.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, group: str) -> None:
        self._kafka = dict(kafka)
        self._topic = topic
        self._group = group
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._producer: Producer | None = None
        self.entries: dict[str, bytes] = {}

    def read(self) -> dict[str, bytes]:
        """Bring `entries` up to the topic's end. Blocks. Raises ClusterError where it cannot be read."""
        consumer = self._consumer({"fetch.wait.max.ms": SOON_MS})
        deadline = monotonic() + READ_S
        try:
            self._assign(consumer)
            while monotonic() < deadline:
                first = consumer.poll(POLL_S)
                for message in () if first is None else (first, *consumer.consume(1_000, 0)):
                    error = message.error()
                    if error is None:
                        self._put(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return self.entries
                    elif not error.retriable():
                        raise ClusterError(f"{self._topic} cannot be read: {error.str()}")
        except KafkaException as failure:
            raise ClusterError(f"{self._topic} cannot be read: {cause(failure).str()}") from failure
        finally:
            consumer.close()
        raise ClusterError(f"{self._topic} could not be read to its end within {READ_S:.0f} s")

    def write(self, entries: Mapping[str, bytes | None]) -> None:
        """Write entries in this order; None removes one. Returns once all are acknowledged. Raises ClusterError.

        Each is written when the one before it is there: `current` never names a version that is not.
        """
        for key, value in entries.items():
            self._write(key, value)
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def _write(self, key: str, value: bytes | None) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        if self._producer is None:
            self._producer = Producer({**self._kafka, **WRITING})
        try:
            self._producer.produce(self._topic, value, key.encode(), PARTITION, on_delivery=delivered)
        except KafkaException as failure:
            failures.append(cause(failure))
        if self._producer.flush(WRITE_S + 1) or failures:
            reason = failures[0].str() if failures else "no answer"
            raise ClusterError(f"{self._topic} cannot be written: {reason}")

    def follow(self, changed: Callable[[str], None], beside: Callable[[str], None] = lambda _: None) -> None:
        """Follow the topic in a thread.

        changed: called there with every version that becomes current.
        beside:  called there with every version that is evaluated beside it from then on; "": none any more.
        """
        self._thread = threading.Thread(target=self._run, args=(changed, beside), name="definitions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _consumer(self, options: Mapping[str, Any] | None = None) -> Consumer:
        return Consumer(
            {
                **self._kafka,
                "group.id": self._group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "log_level": 0,
                **(options or {}),
            }
        )

    def _assign(self, consumer: Consumer) -> None:
        low = first_offset(consumer, self._topic, PARTITION)
        consumer.assign([TopicPartition(self._topic, PARTITION, low)])

    def _put(self, message: Message) -> str:
        key = (message.key() or b"").decode("utf-8", "replace")
        value = message.value()
        if value is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = value
        return key

    def _run(self, changed: Callable[[str], None], beside: Callable[[str], None]) -> None:
        while not self._stopping.is_set():
            try:
                self._follow(changed, beside)
            except KafkaException as failure:
                logger.warning("%s cannot be followed, trying again: %s", self._topic, cause(failure).str())
                self._stopping.wait(1.0)

    def _follow(self, changed: Callable[[str], None], beside: Callable[[str], None]) -> None:
        consumer = self._consumer()
        known, shadow = named(self.entries, CURRENT), named(self.entries, SHADOW) or ""
        try:
            self._assign(consumer)
            caught_up = False
            while not self._stopping.is_set():
                message = consumer.poll(POLL_S)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    self._put(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    caught_up = True  # until then `current` is what it was once, not what it is
                current = named(self.entries, CURRENT)
                if caught_up and current is not None and current != known:
                    known = current
                    changed(current)
                if caught_up and (named(self.entries, SHADOW) or "") != shadow:
                    shadow = named(self.entries, SHADOW) or ""
                    beside(shadow)
        finally:
            consumer.close()


def named(entries: Mapping[str, bytes], key: str) -> str | None:
    """The version in the entry `current` or `proposed/...`; None where there is none."""
    value = entries.get(key)
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=Named).version
    except (msgspec.MsgspecError, ValueError):
        logger.warning("the entry %r of the definitions' topic cannot be read", key)
        return None


Told = Callable[[str, str], None]
"""Is told of a change before it is made: the version before, and that from then on."""


def propose(
    topic: DefinitionsTopic,
    definitions: Definitions,
    instance: str,
    *,
    shadow: bool = False,
    told: Told = lambda _before, _after: None,
) -> Literal["proposed", "unchanged"]:
    """Make a folder's definitions current, if this instance did not propose the very same at its last start.

    So a restart with an old folder does not undo what `rtcdp apply`, or another instance's newer folder, has set.
    """
    key = f"proposed/{instance}"
    version = definitions.version + SHADOW_MARK * shadow
    if named(topic.entries, key) == version and named(topic.entries, CURRENT) is not None:
        return "unchanged"
    before = named(topic.entries, SHADOW if shadow else CURRENT) or ""
    if before != definitions.version:
        told(before, version)
    apply(topic, definitions, shadow=shadow)
    topic.write({key: msgspec.json.encode(Named(version))})
    return "proposed"


def apply(topic: DefinitionsTopic, definitions: Definitions, *, shadow: bool = False) -> bool:
    """Make definitions current, or evaluate them beside what is; false where that is so already. Raises ClusterError.

    What was evaluated beside ends when another version becomes current.
    """
    version = definitions.version
    entries = {}
    if version not in topic.entries:
        entries[version] = definitions.normal.encode()
    changes = named(topic.entries, SHADOW if shadow else CURRENT) != version
    if changes:
        entries[SHADOW if shadow else CURRENT] = msgspec.json.encode(Named(version))
    if not shadow and named(topic.entries, SHADOW):
        entries[SHADOW] = msgspec.json.encode(Named(""))
    if entries:
        topic.write(entries)
    return changes


class Versions(Mapping[str, Compiled]):
    """Compiled definitions by version, made when first asked for; the registry of the partitions' runners.

    topic: read to its end at least once.

    Raises SettingError where no version is current.
    """

    def __init__(self, topic: DefinitionsTopic) -> None:
        current = named(topic.entries, CURRENT)
        if current is None:
            raise SettingError(
                "definitions: no folder was given (--definitions) and the topic of definitions names none as current"
            )
        self._topic = topic
        self._definitions: dict[str, Definitions] = {}
        self._compiled: dict[str, Compiled] = {}
        self._lock = threading.Lock()
        self.current: str = current
        self.shadow = ""
        self[current]
        if (shadow := named(topic.entries, SHADOW)) and self.get(shadow) is not None:
            self.shadow = shadow

    def make_current(self, version: str) -> Definitions:
        """This version is current from now on; it is compiled first, here. Raises KeyError where it is not known."""
        self[version]
        self.current = version
        return self._definitions[version]

    def make_shadow(self, version: str) -> None:
        """This version is evaluated beside the current one; "": none. Raises KeyError where it is not known."""
        if version:
            self[version]
        self.shadow = version

    def definitions(self, version: str) -> Definitions | None:
        """A version's definitions; None where it is not known or cannot be read."""
        with self._lock:
            return self._load(version)

    def __getitem__(self, version: str) -> Compiled:
        with self._lock:
            found = self._compiled.get(version)
            if found is None:
                definitions = self._load(version)
                if definitions is None:
                    raise KeyError(version)
                found = self._compiled[version] = compile_definitions(definitions)
            return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._compiled)

    def __len__(self) -> int:
        return len(self._compiled)

    def _load(self, version: str) -> Definitions | None:
        found = self._definitions.get(version)
        if found is not None:
            return found
        found = definitions_of(self._topic, version)
        if found is None:
            return None
        self._definitions[version] = found
        return found


def definitions_of(topic: DefinitionsTopic, version: str) -> Definitions | None:
    """A version's definitions, the topic being read again where it is not known yet; None where it cannot be had or read."""
    if version not in topic.entries:
        # A record of the log may be faster than the thread that follows the topic.
        topic.read()
    text = topic.entries.get(version)
    if text is None:
        return None
    try:
        return definitions_from_normal(text.decode())
    except (DefinitionErrors, UnicodeDecodeError) as error:
        logger.warning("the definitions %s cannot be read by this version of rtcdp: %s", version, error)
        return None
