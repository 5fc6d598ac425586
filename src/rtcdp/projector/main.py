"""The process `rtcdp project`: put together, run, and stopped in order."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

from rtcdp.control.versions import DefinitionsTopic, definitions_of
from rtcdp.errors import SettingError
from rtcdp.monitoring.health import Health, HealthServer, watch
from rtcdp.processes.lifecycle import begin, guarded, stopping
from rtcdp.projector.measures import Measures
from rtcdp.projector.projection import Projection
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.settings.config import Settings
from rtcdp.sinks.redis import RedisSink, connect
from rtcdp.sinks.redis_keys import Keys
from rtcdp.transport.exits import leave

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Project until SIGTERM or SIGINT; returns the exit code. What cannot run says why in one line on stderr."""
    begin(settings)
    return guarded(lambda: _run(settings))


def _run(settings: Settings) -> None:
    sink = sink_of(settings)
    health, measures, stopped = Health(settings.stall_s), Measures(), threading.Event()
    projection = Projection(settings, sink, versions_of(settings), health=health, measures=measures)
    server = None
    if settings.metrics_port >= 0:
        server = HealthServer(settings.metrics_host, settings.metrics_port, measures.registry, health)
    watch(health, leave, stopped)
    try:
        with stopping(projection.stop, settings.stop_s):
            projection.run()
    finally:
        stopped.set()
        if server is not None:
            server.close()


def sink_of(settings: Settings) -> RedisSink:
    """The writer that the settings describe. Raises SettingError where they name no Redis, or one that cannot be."""
    if not settings.redis:
        raise SettingError("redis: no address of the serving view given (--redis or RTCDP_REDIS, redis://host:port/0)")
    try:
        client = connect(settings.redis, settings.secret("redis_password_file"))
    except ValueError as error:
        raise SettingError(f"redis: {error}") from None
    name = settings.instance or socket.gethostname()
    return RedisSink(client, Keys(settings.app), name, recent=settings.recent)


def versions_of(settings: Settings) -> Callable[[str], Compiled | None]:
    """Look up a version's compiled definitions in the topic; None where it has none that this release can read."""
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-project")

    def compiled(version: str) -> Compiled | None:
        definitions: Definitions | None = definitions_of(topic, version)
        if definitions is None:
            logger.warning("the definitions %s are not known: profiles under them are shown without names", version)
            return None
        return compile_definitions(definitions)

    return compiled
