"""The Faust process: preflight, ingest, ticks, profiles, health."""
