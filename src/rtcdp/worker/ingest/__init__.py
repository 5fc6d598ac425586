"""The ingest agent: raw records in, clean events and ticks of time out."""
