"""Settings of a process: flags, then environment (`RTCDP_<NAME>`), then one TOML file, then defaults.

`Settings` is immutable and knows nothing of Kafka clients; `Settings.kafka()` gives librdkafka's options.
Secrets are read from files, never from the settings themselves, so a report of all settings shows none.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from rtcdp.errors import SettingError
from rtcdp.settings.api import ApiSettings
from rtcdp.settings.collector import CollectorSettings
from rtcdp.settings.delivery import DeliverySettings
from rtcdp.settings.privacy import PrivacySettings
from rtcdp.settings.tracing import TracingSettings

ENV_PREFIX = "RTCDP_"
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
TENANT = re.compile(r"[a-z0-9_-]+")
MASK = "********"

Agent = Literal["ingest", "profile"]
TopicName = Annotated[str, Field(pattern=rf"^{TOPIC.pattern}$")]


class SourceSettings(BaseModel):
    """A topic of raw events.

    topic:  its name.
    tenant: the first part of every profile key made from it; lower case letters, digits, `_`, `-`.
    time:   `arrival`: `received` is the record's append time; `event`: its own `receivedAt` or `timestamp`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: TopicName
    tenant: str = Field(default="main", pattern=rf"^{TENANT.pattern}$")
    time: Literal["arrival", "event"] = "arrival"

    @classmethod
    def parse(cls, text: str) -> SourceSettings:
        """The simple form `TOPIC` or `TOPIC:arrival|event`."""
        topic, _, time = text.strip().partition(":")
        return cls.model_validate({"topic": topic, **({"time": time} if time else {})})


class Settings(CollectorSettings, DeliverySettings, ApiSettings, PrivacySettings, TracingSettings):
    """Everything a process can be told. Build it with `Settings.load`. What one process alone is told: the base classes.

    bootstrap:       Kafka's addresses, `host:port,host:port`; required by whatever talks to Kafka.
    app:             name of this deployment: consumer groups, transactional ids and the changelog carry it.
    definitions:     folder of YAML definitions; None takes what the topic `definitions` names as current.
    watch_definitions: whether a worker follows its folder of definitions: what is saved there becomes current.
    sources:         topics of raw events; simple form `events,imports:event`.
    agents:          what this process runs: `ingest`, `profile` or both.
    instance:        name of this replica, the same after each of its restarts (static group membership: back at work in
                     3 s instead of 10 s); empty: dynamic membership. Two running processes must not share one.
    definitions_review: whether definitions have to be reviewed before they are put in force: by anybody, or, with
                     `four-eyes`, by somebody else than who proposed them.
    audit_wait:      whether the API's fastest question (`now`) too waits until the audit log holds its entry.
    audit_days:      how long the audit log is kept, where preflight creates its topic.
    partitions:      partitions of the topics that preflight creates.
    replication:     replicas of the topics that preflight creates; 0: three, or as many as there are brokers.
    create_topics:   whether preflight may create what is missing.
    metrics_host, metrics_port: where /metrics, /healthz and /readyz answer; port 0 takes a free one, -1 none at all.
    log_level, log_format: from which level on the log is written, and how: lines of `text`, or of `json`.
    tick_grace_ms:   how far ticks stay behind the low watermark; more than the clocks of producers' brokers differ.
    batch_records, batch_bytes: most that one transaction takes from a partition.
    stall_s:         how long nothing may move before the process gives up (s).
    store:           where profiles are kept: `memory`, or `rocksdb` (under state_dir) for more of them than memory holds.
    standby:         keep a copy of the profiles that other replicas own, for a quick takeover; takes their memory too.
    stop_s:          how long an orderly stop may take (s).
    redis:           address of the serving view, `redis://...`; empty: none.
    redis_password_file: its password, read from a file; instead of one in the address.
    recent:          how many of a profile's latest changes and triggers the serving view keeps.
    state_dir:       where local helpers (a locally started Kafka) and the store `rocksdb` keep files.
    security_protocol, sasl_*, ssl_*: as librdkafka's options of those names; passwords are read from files.
    allow_sasl_without_tls: lets SASL_PLAINTEXT through, which sends credentials unencrypted.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=True, env_ignore_empty=True
    )

    bootstrap: str = ""
    app: str = Field("rtcdp", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    definitions: Path | None = None
    watch_definitions: bool = True
    sources: Annotated[tuple[SourceSettings, ...], NoDecode] = (SourceSettings(topic="events"),)
    agents: Annotated[tuple[Agent, ...], NoDecode] = ("ingest", "profile")
    instance: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,200}$")

    commands: TopicName = "commands"
    events_dlq: TopicName = "events-dlq"
    profile_events: TopicName = "profile-events"
    profile_changes: TopicName = "profile-changes"
    triggers: TopicName = "triggers"
    ingest_progress: TopicName = "ingest-progress"
    definitions_topic: TopicName = "definitions"
    changelog: str = ""
    deliveries: TopicName = "deliveries"
    deliveries_dlq: TopicName = "deliveries-dlq"
    delivery_commands: TopicName = "delivery-commands"
    audit: TopicName = "audit"
    releases: TopicName = "releases"
    definitions_review: Literal["none", "one", "four-eyes"] = "none"
    audit_wait: bool = False
    audit_days: int = Field(366, ge=1, le=36_500)

    partitions: int = Field(4, ge=1, le=10_000)
    replication: int = Field(0, ge=0, le=100)
    create_topics: bool = True

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(9464, ge=-1, le=65_535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    tick_grace_ms: int = Field(250, ge=0, le=60_000)
    batch_records: int = Field(15_000, ge=1, le=100_000)
    batch_bytes: int = Field(8 << 20, ge=1 << 16, le=1 << 30)
    stall_s: int = Field(60, ge=5, le=3_600)
    store: Literal["memory", "rocksdb"] = "memory"
    standby: bool = False
    stop_s: int = Field(10, ge=1, le=600)
    redis: str = ""
    redis_password_file: Path | None = None
    recent: int = Field(50, ge=0, le=10_000)
    state_dir: Path = Path(".rtcdp")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    sasl_username: str = ""
    sasl_password_file: Path | None = None
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password_file: Path | None = None
    allow_sasl_without_tls: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes counts: it has merged flags, environment and file itself, to name the origin."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, *, file: Path | None = None) -> Settings:
        """Settings from the three places.

        flags: by setting name; None counts as not given.
        file:  the TOML file; without it the variable RTCDP_CONFIG is looked at.

        Raises SettingError naming each bad setting and where it was set.
        """
        named = os.environ.get(ENV_PREFIX + "CONFIG", "")
        path = file or (Path(named) if named else None)
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, found in (
            (f"file {path}", _from_file(path)),
            ("environment", EnvSettingsSource(cls)()),
            ("flags", {name: value for name, value in (flags or {}).items() if value is not None}),
        ):
            values.update(found)
            origins.update(dict.fromkeys(found, origin))
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingError(_sentence(error, origins, list(cls.model_fields))) from None

    @field_validator("sources", mode="before")
    @classmethod
    def _read_sources(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = orjson.loads(value)
        if isinstance(value, str):
            value = [part for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            return tuple(SourceSettings.parse(item) if isinstance(item, str) else item for item in value)
        return value

    @field_validator("agents", mode="before")
    @classmethod
    def _read_agents(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        return tuple(value) if isinstance(value, list | tuple) else value

    @model_validator(mode="before")
    @classmethod
    def _name_changelog(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("changelog"):
            values = {**values, "changelog": f"{values.get('app') or 'rtcdp'}-profiles-changelog"}
        return values

    @field_validator("changelog")
    @classmethod
    def _check_changelog(cls, value: str) -> str:
        if not TOPIC.fullmatch(value):
            raise ValueError("is no name for a Kafka topic")
        return value

    @field_validator("agents", "sources")
    @classmethod
    def _check_named(cls, value: tuple[Any, ...], field: ValidationInfo) -> tuple[Any, ...]:
        if not value:
            raise ValueError(
                "must name ingest, profile or both" if field.field_name == "agents" else "must name at least one topic"
            )
        return value

    @model_validator(mode="after")
    def _check_topics(self) -> Settings:
        names = [*(source.topic for source in self.sources), *self.own_topics().values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the topic {twice[0]!r} is named for two purposes")
        return self

    @model_validator(mode="after")
    def _check_security(self) -> Settings:
        sasl = self.security_protocol.startswith("SASL")
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_sasl_without_tls:
            raise ValueError(
                "security_protocol: SASL_PLAINTEXT sends the password unencrypted; use SASL_SSL, "
                "or allow it by name with allow_sasl_without_tls"
            )
        if sasl and not (self.sasl_mechanism and self.sasl_username and self.sasl_password_file):
            raise ValueError(
                f"security_protocol: {self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password_file"
            )
        if not sasl and (self.sasl_mechanism or self.sasl_username or self.sasl_password_file):
            raise ValueError("sasl_mechanism, sasl_username, sasl_password_file: need security_protocol SASL_SSL")
        return self

    def own_topics(self) -> dict[str, str]:
        """The topics that rtcdp itself writes, and `commands`: setting name to topic name."""
        names = (
            "commands",
            "events_dlq",
            "profile_events",
            "profile_changes",
            "triggers",
            "ingest_progress",
            "definitions_topic",
            "changelog",
            "deliveries",
            "deliveries_dlq",
            "delivery_commands",
            "audit",
            "releases",
        )
        return {name: getattr(self, name) for name in names}

    def kafka(self) -> dict[str, Any]:
        """Options of librdkafka for reaching the cluster: a new dict, to be completed by each client.

        Raises SettingError where there is no bootstrap or a secret's file cannot be read.
        """
        if not self.bootstrap:
            raise SettingError("bootstrap: no Kafka address given (--bootstrap or RTCDP_BOOTSTRAP, host:port)")
        options: dict[str, Any] = {"bootstrap.servers": self.bootstrap}
        if self.security_protocol == "PLAINTEXT":
            return options
        options["security.protocol"] = self.security_protocol
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.secret("sasl_password_file"),
            }
        for name, option in (
            ("ssl_ca_file", "ssl.ca.location"),
            ("ssl_certificate_file", "ssl.certificate.location"),
            ("ssl_key_file", "ssl.key.location"),
        ):
            if (path := getattr(self, name)) is not None:
                options[option] = str(path)
        if self.ssl_key_password_file is not None:
            options["ssl.key.password"] = self.secret("ssl_key_password_file")
        return options

    @property
    def pseudonym_file(self) -> Path:
        """Where the key of pseudonyms is."""
        return self.pseudonym_key or self.state_dir / "pseudonym.key"

    def secret(self, name: str) -> str:
        """The text in the file that the setting `name` points to, without its line end; "" where none is set.

        Raises SettingError where it cannot be read.
        """
        path: Path | None = getattr(self, name)
        if path is None:
            return ""
        try:
            return path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{name}: {path} cannot be read ({_reason(error)})") from None

    def report(self) -> dict[str, str]:
        """Every setting as text, for the log at start; passwords inside addresses masked."""
        shown = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "sources":
                text = ",".join(
                    f"{source.topic}:{source.time}" + (f" ({source.tenant})" if source.tenant != "main" else "")
                    for source in value
                )
            elif isinstance(value, tuple):
                text = ",".join(value)
            else:
                text = "" if value is None else _masked(str(value))
            shown[name] = text
        return shown


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """Variables `RTCDP_*` that are close to a setting's name but are none: likely typing errors, worth a warning.

    Others are left alone: Kubernetes puts `RTCDP_SERVICE_HOST` and the like there by itself.
    """
    known = [ENV_PREFIX + name.upper() for name in Settings.model_fields] + [ENV_PREFIX + "CONFIG"]
    return sorted(
        name for name in env if name.startswith(ENV_PREFIX) and name not in known and get_close_matches(name, known, 1, 0.9)
    )


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"config: {path} cannot be read ({_reason(error)})") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"config: {path} is not TOML: {error}") from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _sentence(error: ValidationError, origins: Mapping[str, str], known: list[str]) -> str:
    """All that is wrong, one clause per setting: `metrics_port: ... (set by environment)`."""
    clauses = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(one["loc"][0]) if one["loc"] else ""
        message = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
            near = get_close_matches(name, known, 1)
            message = "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
        place = ".".join(str(part) for part in one["loc"])
        origin = f" (set by {origins[name]})" if name in origins else ""
        clauses.append(f"{place}: {message}{origin}" if place else message)
    return "; ".join(clauses)


def _masked(text: str) -> str:
    """The text with the password of an address in it (`redis://user:password@host`) masked."""
    if "@" not in text or "://" not in text:
        return text
    parts = urlsplit(text)
    if parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{MASK}@{host}"))
