"""What the deliverer can be told: a part of `config.Settings`."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode


class DeliverySettings(BaseSettings):
    """Settings of `rtcdp deliver`.

    destinations:    folder of YAML that says where to send what.
    deliver_from:    where a deliverer begins that never ran before: `earliest` or `latest`.
    deliver_http:    whether destinations may have `http://`.
    deliver_networks: networks that destinations may lie in, beside the public Internet (`10.1.0.0/16,127.0.0.0/8`).
    deliver_queue:   most deliveries that wait for one destination; what comes then is a dead letter.
    deliver_metrics: where `rtcdp serve` finds the deliverers' metrics (`deliver-0:9464,deliver-1:9464`; a name may have
                     several addresses).
    callbacks_host, callbacks_port: where tools may report back; port 0 takes a free one, -1 none at all.
    """

    destinations: Path | None = None
    deliver_from: Literal["earliest", "latest"] = "earliest"
    deliver_http: bool = False
    deliver_networks: Annotated[tuple[str, ...], NoDecode] = ()
    deliver_queue: int = Field(200_000, ge=1, le=100_000_000)
    deliver_metrics: Annotated[tuple[str, ...], NoDecode] = ()
    callbacks_host: str = "127.0.0.1"
    callbacks_port: int = Field(-1, ge=-1, le=65_535)

    @field_validator("deliver_networks", "deliver_metrics", mode="before")
    @classmethod
    def _read_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(value) if isinstance(value, list | tuple) else value

    @field_validator("deliver_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)  # its ValueError says what is wrong
        return value

    @field_validator("deliver_metrics")
    @classmethod
    def _check_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            host, _, port = place.rpartition(":")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ValueError(f"{place!r} is not HOST:PORT")
        return value
