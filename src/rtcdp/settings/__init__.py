"""Settings: flags, environment, one TOML file; each process has its own beside those of all."""
