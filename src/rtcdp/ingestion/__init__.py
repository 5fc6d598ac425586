"""The way of a raw record: decoded, cleaned, tracked, given its profile key; or a dead letter. Pure."""
