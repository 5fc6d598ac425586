"""A generated shop, the replay without Kafka, and the demo that compares the two."""
