"""What the HTTP API can be told: the settings `api_*`, a part of `config.Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class ApiSettings(BaseSettings):
    """Settings of `rtcdp serve`.

    api_host, api_port: where it listens; port 0 takes a free one.
    api_tokens:     file of the tokens (hashed), written by `rtcdp tokens`.
    api_connections: most connections at a time; beyond: 503.
    api_patience_s: how long a client may take to send a request (s).
    api_body_bytes: largest body that is taken (bytes).
    api_streams:    most live streams at a time; beyond: 503.
    api_least_group: tokens without the scope `personal` are told nothing of groups with fewer members than this.
    backtest_events: most events of the log that a back-test reads; of more, the newest. backtest_s: how long it may take (s).
    counts_epsilon: how much one release of published counts may tell of a person (differential privacy); 0: none is published.
    counts_hours:   how long a release is the same.
    counts_budget, counts_budget_days: most that the releases of a tenant may tell together (epsilon) in so many days.
    pseudonym_key:  file of the key under which identifiers become pseudonyms; default: in
                    state_dir. It is made where it is not there, and must be the same everywhere.
    """

    api_host: str = "127.0.0.1"
    api_port: int = Field(8090, ge=0, le=65_535)
    api_tokens: Path = Path("tokens.json")
    api_connections: int = Field(2_000, ge=1, le=1_000_000)
    api_patience_s: int = Field(15, ge=1, le=600)
    api_body_bytes: int = Field(4 << 20, ge=1 << 10, le=1 << 28)
    api_streams: int = Field(100, ge=0, le=10_000)
    backtest_events: int = Field(200_000, ge=1, le=100_000_000)
    backtest_s: int = Field(60, ge=1, le=3_600)
    counts_epsilon: float = Field(0, ge=0, le=100)
    counts_hours: int = Field(24, ge=1, le=8_760)
    counts_budget: float = Field(0, ge=0, le=10_000)
    counts_budget_days: int = Field(365, ge=1, le=3_650)
    api_least_group: int = Field(10, ge=0, le=1_000_000)
    pseudonym_key: Path | None = None
