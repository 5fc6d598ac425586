"""The HTTP API of the serving view, `rtcdp serve`: profiles, segments, changes as they happen, definitions, dead letters."""
