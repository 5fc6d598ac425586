"""The Faust app of a worker: pinned settings, the agents over their topics, the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.helpers import create_ssl_context
from faust import SASLCredentials, SSLCredentials
from faust.types import TopicT

from rtcdp.monitoring.metrics import Metrics
from rtcdp.settings.config import Settings
from rtcdp.transport.app import App
from rtcdp.transport.exits import leave
from rtcdp.transport.owner import Owner
from rtcdp.transport.settings import LONG_POLL_MS
from rtcdp.worker.border import Border
from rtcdp.worker.profiles.agent import ProfileAgent
from rtcdp.worker.profiles.standby import Standby
from rtcdp.worker.profiles.stores import Store
from rtcdp.worker.profiles.table import NAME, ProfileTable
from rtcdp.worker.profiles.work import NewRunner, Topics

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans


class IngestAgent(Protocol):
    """What `build` needs of ingest: the owner of each source topic, and the agent over them all."""

    def owner(self, topic: str) -> Owner:
        """Who takes the partitions of that topic over: partition numbers alone do not say of which topic they are."""

    async def agent(self, stream: Any) -> None:
        """Work on the turns of all source topics: each event's value is a `transport.Batch`."""


@dataclass
class Worker:
    """A built worker.

    app:      the Faust app; `faust.Worker(app)` runs it.
    profiles: the profile agent, where this process runs one.
    """

    app: App
    profiles: ProfileAgent | None = None


def build(  # noqa: PLR0913 - what a worker is put together from
    settings: Settings,
    *,
    topic_ids: Mapping[str, str],
    new_runner: NewRunner | None = None,
    ingest: Callable[[App], IngestAgent] | None = None,
    metrics: Metrics | None = None,
    limits: Mapping[str, int] | None = None,
    watermark: Callable[[], int | None] = lambda: None,
    version: Callable[[], str | None] = lambda: None,
    shadow: Callable[[], str] = lambda: "",
    fatal: Callable[[BaseException], None] = leave,
    fetch_wait_ms: int = LONG_POLL_MS,
    new_store: Callable[[int], Store] | None = None,
    standby: Standby | None = None,
    border: Border | None = None,
    spans: Spans | None = None,
) -> Worker:
    """Build the app that `settings.agents` asks for.

    topic_ids:  topic name to id, from preflight.
    new_runner: makes a partition's runner; needed for the agent `profile`.
    ingest:     makes the ingest agent, which then owns the sources and `commands`; needed for the agent `ingest`.
    limits:     `max.message.bytes` by topic, from preflight; absent: Kafka's default.
    watermark:  the low watermark in ms for ticks; None while there is none.
    version:    version of the definitions that is current; None while it is not known.
    shadow:     the version that is evaluated beside it; empty: none.
    fatal:      what ends the process.
    fetch_wait_ms: how long the broker may hold an empty fetch.
    new_store:  opens the store of a partition; None: in memory.
    standby:    copies of partitions that others own; None: none.
    border:     seals and opens; None: personal data is not encrypted.
    spans:      where batches with traced records are reported; None: nowhere.

    Raises SettingError where there is no Kafka address or a secret cannot be read.
    """
    app = App(
        settings.app,
        settings.kafka(),
        instance=settings.instance,
        stall=float(settings.stall_s),
        fatal=fatal,
        fetch_wait_ms=fetch_wait_ms,
        datadir=settings.state_dir,
        **_credentials(settings),
    )
    worker = Worker(app)
    if "ingest" in settings.agents:
        if ingest is None:
            raise ValueError("the agent `ingest` is asked for and none is given")
        _add_ingest(app, settings, ingest(app))
    if "profile" in settings.agents:
        if new_runner is None:
            raise ValueError("the agent `profile` is asked for and no runner is given")
        table = _table(app, settings)
        topic = settings.profile_events
        worker.profiles = ProfileAgent(
            app,
            Topics(topic, settings.profile_changes, settings.triggers, settings.events_dlq, settings.changelog),
            new_runner,
            lambda: table.partitions_held,
            topic_id=topic_ids.get(topic, topic),
            metrics=metrics,
            watermark=watermark,
            version=version,
            shadow=shadow,
            records=settings.batch_records,
            size=settings.batch_bytes,
            limits=limits,
            new_store=new_store,
            standby=standby,
            border=border,
            spans=spans,
        )
        app.own(topic, worker.profiles)
        app.agent(_raw(app, topic), name="profile")(worker.profiles.agent)
    return worker


def _add_ingest(app: App, settings: Settings, agent: IngestAgent) -> None:
    topics = [*(source.topic for source in settings.sources), settings.commands]
    for topic in topics:
        app.own(topic, agent.owner(topic))
    app.agent(_raw(app, *topics), name="ingest")(agent.agent)


def _table(app: App, settings: Settings) -> ProfileTable:
    table = ProfileTable(
        app,
        name=NAME,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=_raw(app, settings.changelog),
        beacon=app.tables.beacon,
    )
    app.tables.add(table)
    return table


def _raw(app: App, *names: str) -> TopicT:
    """A topic whose values Faust leaves alone: they are turns, not bytes to be decoded."""
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    return app.topic(*names, **raw)


def _credentials(settings: Settings) -> dict[str, Any]:
    """The same security for Faust's own connection (the group) as librdkafka has."""
    if settings.security_protocol == "PLAINTEXT":
        return {}
    context = None
    if settings.security_protocol.endswith("SSL"):
        context = create_ssl_context(
            cafile=settings.ssl_ca_file,
            certfile=settings.ssl_certificate_file,
            keyfile=settings.ssl_key_file,
            password=settings.secret("ssl_key_password_file") or None,
        )
    if not settings.security_protocol.startswith("SASL"):
        return {"broker_credentials": SSLCredentials(context)}
    password = settings.secret("sasl_password_file")
    return {
        "broker_credentials": SASLCredentials(
            username=settings.sasl_username, password=password, mechanism=settings.sasl_mechanism, ssl_context=context
        )
    }
