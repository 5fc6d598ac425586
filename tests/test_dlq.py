"""Dead letters in a real Kafka: listed once per origin, sent again as they were."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from rtcdp import records
from rtcdp.dlq import Replayed, list_letters, replay
from rtcdp.errors import ClusterError, Unfit
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Refused, Source
from rtcdp.ingestion.letters import ORIGIN_HEADER, RECEIVED_HEADER, dead_letter, record
from rtcdp.outputs import Origin
from rtcdp.rules.definitions import IdentityPlan, PlannedEvent, Property, TrackingPlan
from rtcdp.settings.config import Settings
from rtcdp.times.timestamps import parse

MakeTopic = Callable[..., str]
LOG_APPEND = {"message.timestamp.type": "LogAppendTime"}
STRICT = TrackingPlan(
    events={"Order": PlannedEvent("Order", {"price": Property("price", "number", required=True)}, "dead-letter")}
)
LIMIT = 200_000


class Pipeline:
    """A source topic, a topic of dead letters, and an ingest that writes one into the other."""

    def __init__(self, kafka: str, topic: MakeTopic) -> None:
        self.kafka = kafka
        self.source = topic(2, LOG_APPEND, "events")
        self.dead = topic(3, LOG_APPEND, "dlq")
        self.settings = Settings.load({"bootstrap": kafka, "events_dlq": self.dead, "sources": (self.source,)})
        self.done: set[tuple[int | None, int | None]] = set()

    def send(self, topic: str, *values: tuple[bytes | None, bytes | None]) -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True})
        for key, value in values:
            producer.produce(topic, value, key, partition=0)
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[Message]:
        options = {"enable.partition.eof": True, "fetch.wait.max.ms": 10, "auto.offset.reset": "earliest"}
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "test", **options})
        try:
            unread = set(consumer.list_topics(topic, timeout=15).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
            found = []
            while unread:
                message = consumer.poll(15)
                assert message is not None
                if message.error():
                    unread.discard(message.partition())
                else:
                    found.append(message)
            return sorted(found, key=lambda each: (each.partition(), each.offset()))
        finally:
            consumer.close()

    def ingest(self, plan: TrackingPlan, *, again: bool = False) -> list[records.Event]:
        """Ingest what is new in the source (or all of it again); dead letters go where they belong."""
        ingestor = Ingestor(plan, IdentityPlan(), Source(self.source))
        events, dead = [], []
        for message in self.read(self.source):
            partition, offset, appended = message.partition(), message.offset(), message.timestamp()[1]
            if (partition, offset) in self.done and not again:
                continue
            self.done.add((partition, offset))
            result = ingestor.ingest(message.value(), f"id/{partition}", offset, appended, message.headers())
            if isinstance(result, Accepted):
                event = records.decode(result.value)
                assert isinstance(event, records.Event)
                events.append(event)
            elif isinstance(result, Refused):
                origin = Origin(topic=self.source, topic_id="id", partition=partition, offset=offset)
                letter = dead_letter(
                    result.unfit, origin, message.key(), message.value(), appended, LIMIT, headers=message.headers()
                )
                dead.append(record(letter))
        self.send(self.dead, *dead)
        return events


@pytest.fixture
def pipeline(kafka: str, topic: MakeTopic) -> Pipeline:
    return Pipeline(kafka, topic)


ORDER = b'{"type":"track","event":"Order","userId":"u","properties":{"price":"much"}}'


def test_letters_are_listed_once_per_origin(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.source, (b"k", ORDER), (None, b"not json"), (b"k", None), (None, b'{"event":"Fine","userId":"u"}'))
    assert [event.event for event in pipeline.ingest(STRICT)] == ["Fine"]
    pipeline.ingest(STRICT, again=True)  # a worker that repeats itself writes the same letters again
    pipeline.send(pipeline.dead, (b"x", b"no letter"), (None, None))

    found = list(list_letters(pipeline.settings))
    assert [(each.origin, each.letter.reason, each.letters) for each in found] == [
        ("id/0/0", "violation", 2),
        ("id/0/1", "malformed_json", 2),
        ("id/0/2", "null_value", 2),
    ]
    line = str(found[0])
    assert line.count("\n") == 0
    assert line.split("\t")[:3] == ["id/0/0", "violation", "properties.price"]
    fields = json.loads(found[0].as_json())
    assert fields["reason"] == "violation"
    assert fields["origin"] == {"topic": pipeline.source, "topic_id": "id", "partition": 0, "offset": 0}
    assert "original" not in fields

    assert [each.origin for each in list_letters(pipeline.settings, reason="malformed_json")] == ["id/0/1"]
    assert [each.origin for each in list_letters(pipeline.settings, origin="id/0/2")] == ["id/0/2"]
    assert list(list_letters(pipeline.settings, reason="violation", origin="id/0/2")) == []


def test_a_replayed_letter_comes_back_as_it_was(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.source, (b"key\xff", ORDER), (None, b"not json"))
    pipeline.ingest(STRICT)
    first = pipeline.read(pipeline.source)[0].timestamp()[1]

    assert replay(pipeline.settings, reason="violation", dry_run=True) == Replayed(sent=1)
    assert len(pipeline.read(pipeline.source)) == 2
    assert replay(pipeline.settings, reason="violation") == Replayed(sent=1)
    assert str(replay(pipeline.settings, origin="id/0/0")) == "1"

    again = [message for message in pipeline.read(pipeline.source) if message.headers()]
    assert len(again) == 2
    for message in again:
        assert (message.key(), message.value()) == (b"key\xff", ORDER)
        assert dict(message.headers() or []) == {ORIGIN_HEADER: b"id/0/0", RECEIVED_HEADER: b"%d" % first}

    # Under a plan that accepts them both copies are the same event: the fold drops the second by its id.
    events = pipeline.ingest(TrackingPlan())
    assert len(events) == 2
    assert {(event.id, event.received, event.event) for event in events} == {("id/0/0", first, "Order")}


def test_what_fails_again_counts_for_its_first_origin(pipeline: Pipeline) -> None:
    pipeline.send(pipeline.source, (b"k", ORDER))
    pipeline.ingest(STRICT)
    (before,) = list_letters(pipeline.settings)
    for _ in range(2):
        assert replay(pipeline.settings) == Replayed(sent=1)
        assert pipeline.ingest(STRICT) == []

    (listed,) = list_letters(pipeline.settings)
    assert (listed.origin, listed.letters) == ("id/0/0", 3)
    assert listed.letter.first_origin == "id/0/0"
    assert parse(listed.letter.first_received) == parse(before.letter.appended)
    sent = [dict(message.headers() or []) for message in pipeline.read(pipeline.source)]
    assert sorted(headers.get(ORIGIN_HEADER, b"") for headers in sent) == [b"", b"id/0/0", b"id/0/0"]


def test_what_cannot_be_sent_again_is_said(pipeline: Pipeline) -> None:
    large = b'{"type":"track","event":"Order","userId":"u","properties":{"note":"' + b"x" * 300_000 + b'"}}'
    pipeline.send(pipeline.source, (b"k", large))
    pipeline.ingest(STRICT)
    failed = dead_letter(
        Unfit("fold_failed", ""), Origin(topic="profile-events", partition=0, offset=5), b"p", b"{}", 1, LIMIT, stage="profile"
    )
    foreign = dead_letter(Unfit("violation", ""), Origin(topic="elsewhere", partition=0, offset=6), b"p", b"{}", 1, LIMIT)
    pipeline.send(pipeline.dead, record(failed), record(foreign))

    result = replay(pipeline.settings)
    assert result.sent == 0
    assert {origin: why.split(" ")[0] for origin, why in result.refused} == {
        "id/0/0": "only",
        "profile-events/0/5": "it",
        "elsewhere/0/6": "its",
    }
    assert "3 cannot be" in str(result)
    assert len(pipeline.read(pipeline.source)) == 1
    (cut,) = list_letters(pipeline.settings, origin="id/0/0")
    assert "(cut)" in str(cut)


def test_an_empty_topic_and_a_missing_one(pipeline: Pipeline) -> None:
    assert list(list_letters(pipeline.settings)) == []
    assert replay(pipeline.settings) == Replayed()
    missing = pipeline.settings.model_copy(update={"events_dlq": "no-such-topic"})
    with pytest.raises(ClusterError, match="no-such-topic"):
        list(list_letters(missing))


def test_a_line_stays_a_line() -> None:
    from rtcdp.dlq import Listed, Place

    letter = dead_letter(
        Unfit("violation", "a\nb\x1b[31m", "f\t"), Origin(topic="t", partition=0, offset=0), None, b"", 1, LIMIT
    )
    line = str(Listed("t/0/0", Place(1, 0, 0), letter))
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.count("\t") == 5
