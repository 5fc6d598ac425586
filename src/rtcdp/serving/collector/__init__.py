"""The collector: Segment's HTTP API in front of the topics of raw events."""
