"""`rtcdp up`: every process of a deployment on this machine, each as a child of its own with its log in a file.

Where no Kafka or Redis is given, they are started too: Kafka keeps its data in the state directory, Redis is a view and
keeps none.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rtcdp.errors import ClusterError
from rtcdp.processes.lifecycle import CANNOT_GO_ON, CANNOT_RUN, WELL, guarded, stopping
from rtcdp.servers import brokers
from rtcdp.servers.local_process import LocalProcess
from rtcdp.servers.redis_server import RedisServer
from rtcdp.settings.config import Settings

READY_S = 90.0
LOOK_S = 0.2
LOCAL = ("127.0.0.1", "::1", "localhost")
ALWAYS = ("worker", "project", "serve", "collector")


@dataclass
class Child:
    """A process of the deployment that runs.

    metrics: port of its /readyz. address: where people reach it; "" where they do not.
    """

    name: str
    process: LocalProcess
    metrics: int
    address: str = ""

    def ready(self) -> bool:
        """Whether it says so itself."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def run(settings: Settings, config: Path | None = None, say: Callable[[str], None] = print) -> int:
    """Run everything until SIGTERM or SIGINT, or until one process ends by itself; returns the exit code.

    config: the TOML file that the settings came from, which the children read too.
    """
    return guarded(lambda: _run(settings, config, say))


def parts(settings: Settings) -> list[str]:
    """The processes that belong to these settings, in the order of their start."""
    return [*ALWAYS, *(["deliver"] if settings.destinations is not None else [])]


def _run(settings: Settings, config: Path | None, say: Callable[[str], None]) -> int:
    stopped = threading.Event()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    logs = settings.state_dir / "logs"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack, stopping(stopped.set, settings.stop_s + 20.0):
        bootstrap = settings.bootstrap
        if not bootstrap:
            broker = stack.enter_context(brokers.find("", data_dir=settings.state_dir / "kafka"))
            bootstrap = broker.bootstrap
        redis = settings.redis or stack.enter_context(RedisServer()).url
        say(f"kafka      {bootstrap}")
        say(f"redis      {redis.rpartition('@')[2] if '@' in redis else redis}")
        environment = {"RTCDP_BOOTSTRAP": bootstrap, "RTCDP_REDIS": redis, **_told(settings, config)}
        children: list[Child] = []
        names = parts(settings)
        if "deliver" in names:
            environment["RTCDP_DELIVER_METRICS"] = f"127.0.0.1:{settings.metrics_port + names.index('deliver')}"
        stack.enter_context(_ended_together(children, settings.stop_s))
        for group in (names[:1], names[1:]):  # the worker first: it makes the topics that the others look for
            for name in group:
                children.append(_start(name, settings, environment, logs, settings.metrics_port + len(children)))
            for child in children[-len(group) :]:
                code = _await(child, children, stopped)
                if code is not None:
                    return code
                where = _link(child) or child.address or "-"
                say(f"{child.name:10} {where:28} metrics :{child.metrics}  log {child.process.log}")
        say("everything runs; Ctrl-C ends it")
        while not stopped.wait(LOOK_S):
            if (code := _fallen(children)) is not None:
                return code
    return WELL


def _told(settings: Settings, config: Path | None) -> dict[str, str]:
    """What the children are told beside their own variables: what flags said here."""
    told = {"RTCDP_APP": settings.app, "RTCDP_STATE_DIR": str(settings.state_dir)}
    for name in ("definitions", "destinations"):
        if (value := getattr(settings, name)) is not None:
            told[f"RTCDP_{name.upper()}"] = str(value)
    return told | ({"RTCDP_CONFIG": str(config)} if config is not None else {})


def _start(name: str, settings: Settings, environment: dict[str, str], logs: Path, metrics: int) -> Child:
    # By inheritance: what stands in a command line, everybody on the machine can read.
    os.environ.update({**environment, "RTCDP_METRICS_PORT": str(metrics), "RTCDP_METRICS_HOST": "127.0.0.1"})
    listens = {
        "collector": (settings.collector_host, settings.collector_port),
        "serve": (settings.api_host, settings.api_port),
    }
    address = "http://{}:{}".format(*listens[name]) if name in listens else ""
    linked = name == "serve" and settings.api_host in LOCAL  # a token in a link is for this machine only
    command = [sys.executable, "-m", "rtcdp.cli", name, *(["--link"] if linked else [])]
    return Child(name, LocalProcess(command, logs / f"{name}.log"), metrics, address)


def _await(child: Child, children: list[Child], stopped: threading.Event) -> int | None:
    """Wait until a process is ready; the exit code where that will not be, None once it is."""
    deadline = time.monotonic() + READY_S
    while not child.ready():
        if (code := _fallen(children)) is not None:
            return code
        if stopped.wait(LOOK_S):
            return WELL
        if time.monotonic() > deadline:
            raise ClusterError(f"{child.name} is not ready after {READY_S:.0f} s; its log: {child.process.log}")
    return None


def _link(child: Child) -> str:
    """The link with a token that `rtcdp serve --link` has printed; "" where there is none."""
    lines = child.process.log.read_text(errors="replace").splitlines() if child.name == "serve" else []
    return next((line for line in reversed(lines) if line.startswith("http")), "")


def _fallen(children: list[Child]) -> int | None:
    """The exit code that follows from a process having ended; None while all run."""
    for child in children:
        if (code := child.process.code) is not None:
            words = "".join(char for char in child.process.last_words() if char.isprintable())
            sys.stderr.write(f"rtcdp up: {child.name} ended with code {code}: {words}\n")
            return CANNOT_RUN if code == CANNOT_RUN else CANNOT_GO_ON
    return None


@contextmanager
def _ended_together(children: list[Child], stop_s: float) -> Iterator[None]:
    """At the end, tell all at once, then wait for each: the last started first."""
    try:
        yield
    finally:
        for child in children:
            if child.process.code is None:
                os.kill(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + stop_s + 2
        while time.monotonic() < deadline and any(child.process.code is None for child in children):
            time.sleep(0.05)
        for child in reversed(children):
            child.process.stop(kill=child.process.code is None)
