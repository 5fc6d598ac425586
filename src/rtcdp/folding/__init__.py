"""The fold of the log: one record into one profile, one batch into one partition. Pure."""
