"""Checked definitions to what the engine runs: interpreted, or as generated functions."""
