"""What the collector can be told: the settings `collector_*`, a part of `config.Settings`."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:\*\.)?[a-z0-9._\-\[\]:]+", re.IGNORECASE)
PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9._\-\[\]:]+(?:/[A-Za-z0-9._~/-]*)?")

Texts = Annotated[tuple[str, ...], NoDecode]


class CollectorSettings(BaseSettings):
    """Settings of `rtcdp collector`.

    collector_host, collector_port: where it listens; port 0 takes a free one.
    collector_keys:   file of the write keys (hashed), written by `rtcdp collector keys`.
    collector_origins: web origins that browsers may send from: `https://shop.example`, `https://*.shop.example` or `*`;
                      none: browsers are refused.
    collector_url:    the collector's own address as browsers see it; empty: taken from the request's Host.
    collector_proxies: addresses or networks of proxies whose X-Forwarded-For is believed.
    collector_ip:     what becomes of IP addresses: `keep`, `cut` (without the last 8 bits of IPv4, 80 of IPv6), `drop`.
    collector_user_agent: whether user agents are kept.
    collector_consent: categories of consent; of an event whose consent object says no to one of them neither IP address
                      nor user agent are kept.
    collector_rate:   events per second that a write key may send, for as long as it likes (ten seconds' worth at once); 0: any.
    collector_body_bytes: largest body as it comes (bytes). collector_unpacked_bytes: once unpacked from gzip.
    collector_batch_events: most events in one body.
    collector_buffer_bytes: most that bodies being read and events not yet acknowledged may take (bytes); beyond: 503.
    collector_connections: most connections at a time; beyond: 503.
    collector_patience_s: how long a client may take to send a request (s).
    collector_ack_s:  how long to wait for the broker's acknowledgement before a request is answered with 503 (s).
    """

    collector_host: str = "127.0.0.1"
    collector_port: int = Field(8080, ge=0, le=65_535)
    collector_keys: Path = Path("collector-keys.json")
    collector_origins: Texts = ()
    collector_url: str = Field("", pattern=rf"^({PUBLIC_URL.pattern})?$")
    collector_proxies: Texts = ()
    collector_ip: Literal["keep", "cut", "drop"] = "keep"
    collector_user_agent: bool = True
    collector_consent: Texts = ()
    collector_rate: int = Field(5_000, ge=0, le=10_000_000)
    collector_body_bytes: int = Field(1 << 20, ge=1 << 10, le=1 << 28)
    collector_unpacked_bytes: int = Field(4 << 20, ge=1 << 10, le=1 << 28)
    collector_batch_events: int = Field(2_500, ge=1, le=1_000_000)
    collector_buffer_bytes: int = Field(64 << 20, ge=1 << 20, le=1 << 34)
    collector_connections: int = Field(2_000, ge=1, le=1_000_000)
    collector_patience_s: int = Field(15, ge=1, le=600)
    collector_ack_s: int = Field(5, ge=1, le=300)

    @field_validator("collector_origins", "collector_proxies", "collector_consent", mode="before")
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(value) if isinstance(value, list | tuple) else value

    @field_validator("collector_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no web origin (https://shop.example, without a path)")
        return tuple(origin.lower() for origin in value)

    @field_validator("collector_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            ip_network(proxy)  # its ValueError says what is wrong
        return value
