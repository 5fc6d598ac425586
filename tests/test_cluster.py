from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from rtcdp.servers.cluster import ends


class Admin:
    """Answers about ends as told: an offset, or an error."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        futures = {}
        for partition in asked:
            future: Future[Any] = Future()
            answer = self._answers[partition.topic]
            if isinstance(answer, int):
                future.set_result(SimpleNamespace(offset=answer))
            else:
                future.set_exception(answer)
            futures[partition] = future
        return futures


def test_an_end_that_could_not_be_asked_is_absent_and_never_negative() -> None:
    """A negative offset would say that nothing is left to read: time would run on over events that are."""
    admin: Any = Admin(a=7, b=-1, c=-1001, d=KafkaException(KafkaError(KafkaError._TRANSPORT)), e=0)
    assert ends(admin, [(topic, 0) for topic in "abcde"]) == {("a", 0): 7, ("e", 0): 0}
