"""What concerns the encryption of personal data, and how long it is kept: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class PrivacySettings(BaseSettings):
    """Settings of encryption and of retention. They must be the same for every process of a deployment.

    encryption:         where data keys are kept: `sqlite` (one machine) or `redis` (several); `off`: nothing is encrypted.
    keys_file:          the SQLite file; without it `keys.db` in state_dir.
    keys_redis:         address of the Redis that keeps keys and nothing else, `redis://...`.
    keys_redis_password_file: its password, read from a file.
    master_key_file:    the master key, which wraps the store's own: readable by its owner alone; `rtcdp privacy keygen`.
    keep_events_hours, keep_commands_hours, keep_letters_hours, keep_outputs_hours, keep_log_days: how long the sources,
                        `commands` and `delivery-commands`, `events-dlq` and `deliveries-dlq`, `profile-changes` and `triggers`,
                        and `profile-events` keep what is in them: the start of a worker, of a deliverer for its own, sets it on
                        the topics, with segments short enough for it; 0: as the topics have it.
    delete_taken:       whether what the sources hold is deleted soon after it is in the log: nobody else may read them then.
    master_key_command: in its place a program that asks a key management service: `COMMAND wrap|unwrap`, base64 in and out.
    """

    encryption: Literal["off", "sqlite", "redis"] = "off"
    keys_file: Path | None = None
    keys_redis: str = ""
    keys_redis_password_file: Path | None = None
    master_key_file: Path | None = None
    master_key_command: str = ""
    keep_events_hours: int = Field(0, ge=0, le=876_000)
    keep_commands_hours: int = Field(0, ge=0, le=876_000)
    keep_letters_hours: int = Field(0, ge=0, le=876_000)
    keep_outputs_hours: int = Field(0, ge=0, le=876_000)
    keep_log_days: int = Field(0, ge=0, le=36_500)
    delete_taken: bool = False
