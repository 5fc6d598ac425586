"""Kafka for Faust, in batches: Faust keeps the group, librdkafka carries the data, a message is a whole fetch."""
