"""What every process does at its start and end; all of them on one machine."""
