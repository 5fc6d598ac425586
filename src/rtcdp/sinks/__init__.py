"""Where views of profiles go: places that are written from the log and can be rebuilt from it at any time."""
