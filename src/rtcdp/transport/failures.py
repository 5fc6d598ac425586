"""What a Kafka error means for this process: fenced, refused for good, or unable to go on."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
"""Another producer took the `transactional.id` over."""

DENIED = frozenset(
    {
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
    }
)
"""The cluster is not as it must be; trying again changes nothing."""


def cause(exception: KafkaException) -> KafkaError:
    """The error inside an exception (always one, though the type stubs also allow text)."""
    error = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))
