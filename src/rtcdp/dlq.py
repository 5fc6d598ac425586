"""Dead letters in Kafka: what lies in `events-dlq`, and sending it through ingest again.

Everything here blocks. What a letter is, and how one is made, is `letters`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from rtcdp.errors import ClusterError
from rtcdp.ingestion import letters
from rtcdp.outputs import DeadLetter
from rtcdp.settings.config import Settings

REQUEST_S = 15.0
ASKED = 5
PAUSE_S = 0.3
SILENCE_S = 30.0
"""So long without an answer while reading or sending: given up."""

_END = KafkaError._PARTITION_EOF  # librdkafka's own codes have no public name in Python
_decode = msgspec.json.Decoder(DeadLetter).decode


@dataclass(frozen=True, order=True)
class Place:
    """Where a letter lies: append time (ms) first, so that places sort by age."""

    appended: int
    partition: int
    offset: int


@dataclass(frozen=True)
class Listed:
    """The latest letter of one origin. `letter` is without its original bytes; letters: how many there were."""

    origin: str
    place: Place
    letter: DeadLetter
    letters: int = 1

    def __str__(self) -> str:
        """One line: origin, reason, field, append time, bytes, detail; separated by tabs."""
        letter = self.letter
        size = f"{letter.length} B{' (cut)' if letter.truncated else ''}"
        parts = (self.origin, letter.reason, letter.field or "-", letter.appended, size, letter.detail)
        return "\t".join("".join(char if char.isprintable() else " " for char in part) for part in parts)

    def as_json(self) -> str:
        """One JSON object: the letter's fields without its bytes, and `letters`."""
        fields = msgspec.to_builtins(self.letter)
        del fields["key"], fields["original"]
        return msgspec.json.encode({**fields, "first_origin": self.origin, "letters": self.letters}).decode()


@dataclass
class Replayed:
    """What a replay did.

    sent:    letters sent again (with dry_run: that would be).
    refused: (origin, why not) of the others.
    """

    sent: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        """`3`, or `3 (1 cannot be: ORIGIN: why)`."""
        if not self.refused:
            return str(self.sent)
        origin, why = self.refused[0]
        more = "" if len(self.refused) == 1 else ", ..."
        return f"{self.sent} ({len(self.refused)} cannot be: {origin}: {why}{more})"


Wanted = Callable[[DeadLetter], bool]


def any_letter(_letter: DeadLetter) -> bool:
    """Every letter is wanted."""
    return True


def list_letters(
    settings: Settings, *, reason: str | None = None, origin: str | None = None, wanted: Wanted = any_letter
) -> Iterator[Listed]:
    """The latest letter of each origin, oldest first, as far as the topic reaches now.

    A letter that was sent again and failed again counts for its first origin. What cannot be read as a letter is left out.

    reason: only origins whose latest letter has it. origin: only this one. wanted: whether a letter counts at all.

    Raises ClusterError where the topic cannot be read.
    """
    latest: dict[str, Listed] = {}
    counts: Counter[str] = Counter()
    for place, letter in _letters(settings):
        first = letters.first_origin(letter)
        if origin is not None and origin not in {first, letters.origin_name(letter.origin)}:
            continue
        if not wanted(letter):
            continue
        counts[first] += 1
        known = latest.get(first)
        if known is None or known.place < place:
            letter.key = letter.original = None  # a topic of large events must not fill the memory
            latest[first] = Listed(first, place, letter)
    for found in sorted(latest.values(), key=lambda listed: listed.place):
        if reason is None or found.letter.reason == reason:
            yield Listed(found.origin, found.place, found.letter, counts[found.origin])


def replay(
    settings: Settings,
    *,
    reason: str | None = None,
    origin: str | None = None,
    dry_run: bool = False,
    wanted: Wanted = any_letter,
) -> Replayed:
    """Send the latest letter of each origin back to its source topic, as it was: key, bytes, time of first receipt.

    Harmless when repeated: an event without a message id gets its first origin as one, so a second copy changes nothing.
    Only to the configured sources. A letter of which only a part was kept cannot be sent.

    reason, origin, wanted: as for `list_letters`; without any of them: all.
    dry_run:        say what would be sent, send nothing.

    Raises ClusterError where a topic cannot be read, or not everything was acknowledged.
    """
    places = {listed.place for listed in list_letters(settings, reason=reason, origin=origin, wanted=wanted)}
    result = Replayed()
    if not places:
        return result
    sources = {source.topic for source in settings.sources} | {settings.commands}
    sender = None if dry_run else Sender(settings)
    for place, letter in _letters(settings):
        if place not in places:
            continue
        try:
            key, value, headers = letters.replayed(letter, sources)
        except ValueError as why:
            result.refused.append((letters.first_origin(letter), str(why)))
            continue
        if sender is not None:
            sender.send(letter.origin.topic, key, value, headers)
        result.sent += 1
    if sender is not None:
        sender.finish()
    return result


class Sender:
    """An idempotent producer that counts what the broker acknowledged."""

    def __init__(self, settings: Settings) -> None:
        self._failed: list[str] = []
        self._acknowledged = itertools.count()
        self._producer = Producer(
            settings.kafka()
            | {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random", "message.timeout.ms": 60_000}
        )

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = -1,
    ) -> None:
        """Queue a record. partition: where to; -1: by murmur2 of the key."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=headers, on_delivery=self._delivered)  # type: ignore[arg-type]  # the stubs know no invariant list of headers
            except BufferError:
                self._producer.poll(1)
            except KafkaException as error:
                self._failed.append(str(error.args[0]))
                return
            else:
                self._producer.poll(0)
                return

    def finish(self) -> None:
        """Wait for every acknowledgement. Raises ClusterError where one is missing."""
        left = self._producer.flush(SILENCE_S)
        if left or self._failed:
            why = f"; the first said: {self._failed[0]}" if self._failed else ""
            raise ClusterError(f"{left + len(self._failed)} records were not acknowledged{why}. Do it again: it is harmless")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())


def _letters(settings: Settings) -> Iterator[tuple[Place, DeadLetter]]:
    """Every letter in the topic up to its end at this moment, partition by partition as they come."""
    for message in messages(settings, settings.events_dlq):
        letter = _read(message.value())
        if letter is not None:
            yield Place(message.timestamp()[1], message.partition() or 0, message.offset() or 0), letter


def messages(settings: Settings, topic: str, only: Container[int] | None = None) -> Iterator[Message]:
    """Every committed record of a topic up to its end at this moment, partition by partition as they come. Blocks.

    only: of these partitions; None: of all.

    Raises ClusterError where the topic cannot be read.
    """
    options: dict[str, Any] = settings.kafka() | {
        "group.id": f"{settings.app}-dlq",  # librdkafka wants one; nothing is committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 10,  # the end of a partition is only told when the broker stops waiting for more
    }
    consumer = Consumer(options)
    try:
        unread = {number for number in _partitions(consumer, topic) if only is None or number in only}
        # A number starts twenty times faster than "beginning"; where 0 is gone, the reset goes to what is left.
        consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
        while unread:
            message = consumer.poll(SILENCE_S)
            if message is None:
                raise ClusterError(f"topic {topic}: no answer for {SILENCE_S:.0f} s")
            partition = message.partition()
            error = message.error()
            if error is not None and error.code() == _END:
                unread.discard(partition)
            elif error is not None:
                raise ClusterError(f"topic {topic}: {error.str()}")
            elif partition in unread:
                yield message
    except KafkaException as failure:
        raise ClusterError(f"topic {topic} cannot be read: {failure.args[0]}") from None
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    """The numbers of the topic's partitions."""
    metadata = consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
    for _ in range(ASKED):
        if metadata.error is None:
            return list(metadata.partitions)
        consumer.poll(PAUSE_S)  # a topic made a moment ago is not known to every broker at once
        metadata = consumer.list_topics(topic, timeout=REQUEST_S).topics[topic]
    raise ClusterError(f"topic {topic}: {metadata.error}")


def _read(value: Any) -> DeadLetter | None:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return None
