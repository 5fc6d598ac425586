"""Where a Kafka and a Redis come from, and whether the cluster is as it must be."""
