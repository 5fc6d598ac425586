"""The profile agent: partitions of the log folded, committed, restored; where their profiles are kept."""
