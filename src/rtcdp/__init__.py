"""rtcdp: clickstream events in Kafka become profiles, segments and triggers in milliseconds."""
