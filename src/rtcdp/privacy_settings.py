"""What concerns the encryption of personal data: a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings


class PrivacySettings(BaseSettings):
    """Settings of encryption. They must be the same for every process of a deployment.

    encryption:         where data keys are kept: `sqlite` (one machine) or `redis` (several); `off`: nothing is encrypted.
    keys_file:          the SQLite file; without it `keys.db` in state_dir.
    keys_redis:         address of the Redis that keeps keys and nothing else, `redis://...`.
    keys_redis_password_file: its password, read from a file.
    master_key_file:    the master key, which wraps the store's own: readable by its owner alone; `rtcdp privacy keygen`.
    master_key_command: in its place a program that asks a key management service: `COMMAND wrap|unwrap`, base64 in and out.
    """

    encryption: Literal["off", "sqlite", "redis"] = "off"
    keys_file: Path | None = None
    keys_redis: str = ""
    keys_redis_password_file: Path | None = None
    master_key_file: Path | None = None
    master_key_command: str = ""
