"""Benchmarks of rtcdp, each beside its ceiling in the same run: `make bench`, or `python -m benchmarks --help`."""
