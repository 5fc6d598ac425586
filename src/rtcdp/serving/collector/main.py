"""The process `rtcdp collector`: everything checked, put together, run, and stopped in order."""

from __future__ import annotations

import gc
import logging
import time
from dataclasses import replace

from rtcdp.monitoring.health import Health, HealthServer
from rtcdp.monitoring.tracing import spans_of
from rtcdp.processes.lifecycle import begin, guarded
from rtcdp.servers.preflight import examine, wanted_topics
from rtcdp.serving.collector.app import Collector, Destination, application
from rtcdp.serving.collector.sender import Sender, producer_conf
from rtcdp.serving.collector.write_keys import KeyRing
from rtcdp.serving.server import listen, serve
from rtcdp.settings.config import Settings

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Run a collector until SIGTERM or SIGINT; returns the exit code."""
    begin(settings)
    return guarded(lambda: _run(settings))


def _run(settings: Settings) -> None:
    sources = {source.topic: source for source in settings.sources}
    keys = KeyRing(settings.collector_keys, list(sources))
    if not len(keys):
        logger.warning("there is no active write key in %s: add one with `rtcdp collector keys add`", settings.collector_keys)
    wanted = wanted_topics(settings)
    cluster = examine(
        settings, {name: replace(wanted[name], operations=("WRITE",)) for name in [*sources, settings.events_dlq]}
    )
    for sentence in cluster.unchecked:
        logger.warning("not checked: %s", sentence)
    health = Health(settings.stall_s)

    def changed(sentence: str) -> None:
        if sentence:
            health.missing("broker", sentence)
        else:
            health.reached("broker")

    options = producer_conf(settings.kafka(), buffer_bytes=settings.collector_buffer_bytes, ack_s=settings.collector_ack_s)
    sender = Sender(options, changed, time.monotonic)
    collector = Collector(
        settings,
        keys,
        sender,
        {topic: Destination(topic, own_time=source.time == "event", tenant=source.tenant) for topic, source in sources.items()},
        dead_letters=settings.events_dlq,
        letter_bytes=cluster.max_message_bytes[settings.events_dlq],
        beat=health.beat,
        spans=spans_of(settings, "collector"),
    )
    bound = listen(settings.collector_host, settings.collector_port, "collector_host, collector_port")
    watched = (
        HealthServer(settings.metrics_host, settings.metrics_port, collector.counts.registry, health)
        if settings.metrics_port >= 0
        else None
    )
    gc.freeze()  # what is there stays; requests leave little garbage that counting does not find
    gc.set_threshold(50_000, 50, 1_000)
    try:
        serve(
            application(collector, settings),
            bound,
            stop_s=settings.stop_s,
            concurrency=settings.collector_connections,
            patience_s=settings.collector_patience_s,
        )
    finally:
        if watched is not None:
            watched.close()
