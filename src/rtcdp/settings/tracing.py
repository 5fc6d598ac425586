"""What every process can be told of traces: a part of `config.Settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class TracingSettings(BaseSettings):
    """Settings of traces.

    otlp: an OpenTelemetry collector that takes OTLP over HTTP (`http://localhost:4318`); empty: no traces.
    """

    otlp: str = Field("", pattern=r"^(https?://[^/\s]+(/.*)?)?$")
