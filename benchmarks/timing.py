"""Time alone: exits that fall due, a million of them in one minute, and an edited segment over a million profiles.

A worker with both agents, in `arrival` mode. All times are the broker's append times. Lateness: from an exit's due instant
to the append of its record. Live latency: from the append of a raw event to that of the change it causes, sent at a fixed
rate all the while. CPU is the worker's, in cores.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import orjson
from confluent_kafka import Consumer, Message

from benchmarks import clickstream
from benchmarks.peers import Run, worker
from benchmarks.streaming import Failed, Process, Stage
from rtcdp import records

RATE = 500
ALONE_S = 20
WARM_S = 5  # of these, not counted
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
EVENTS_PER_S = 4_000  # of feeding and folding, at least: the minute must not begin before all are in
SLOWER = (1, 3)  # where it does, the machine is given so many times as long
LONGEST_S = 300
SHARE = 10  # one profile in so many enters the edited segment

DEFINITIONS = """
features:
  last_visit: {{last_time: Visited}}
  place: {{max: properties.place, of: Visited}}
  greetings: {{count: Greeted}}
  last_greeting: {{last_time: Greeted}}
segments:
  active: not missing(last_visit) and since(last_visit) <= 1h
  chosen: place >= {least}
  greeted: greetings >= 1
  here: not missing(last_greeting) and since(last_greeting) <= 3s
"""


@dataclass
class Seen:
    """What the observer has read: of exits how late (ms), of the edited segment how many and when last, of live events when."""

    here: list[int] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    chosen: int = 0
    chosen_at: int = 0
    greeted: dict[str, int] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """One record of profile-changes."""
        change, at = orjson.loads(message.value()), message.timestamp()[1]
        name, kind = change["name"], change["kind"]
        if kind == "exited" and name in ("here", "active"):
            due = round(datetime.fromisoformat(change["at"]).timestamp() * 1000)
            getattr(self, name).append(at - due)
        elif kind == "entered" and name == "chosen":
            self.chosen += 1
            self.chosen_at = max(self.chosen_at, at)
        elif kind == "entered" and name == "greeted":
            self.greeted[change["message_id"]] = at


class Live(threading.Thread):
    """Sends greetings of ever new users at a fixed rate; `appended` says when the broker had each (ms)."""

    def __init__(self, stage: Stage, topic: str) -> None:
        super().__init__(daemon=True)
        self.appended: dict[str, int] = {}
        self._producer = stage.producer(0)
        self._topic = topic
        self._ending = threading.Event()

    def run(self) -> None:
        """Send until told to stop."""
        began, sent = time.monotonic(), 0
        while not self._ending.is_set():
            while sent < (time.monotonic() - began) * RATE:
                self._send(f"g{sent}")
                sent += 1
            self._producer.poll(0.002)
        self._producer.flush(10)

    def stop(self) -> None:
        """Send no more."""
        self._ending.set()
        self.join()

    def _send(self, name: str) -> None:
        event = {"type": "track", "event": "Greeted", "userId": name, "messageId": name}

        def delivered(_error: object, message: Message) -> None:
            self.appended[name] = message.timestamp()[1]

        self._producer.produce(self._topic, orjson.dumps(event), name.encode(), on_delivery=delivered)


class _TooSlow(Failed):
    """The minute began before all visits were folded."""


def measure(stage: Stage, profiles: int) -> dict[str, Any]:
    """Exits by time alone, `profiles` exits within a minute, and a segment edited over all of them. Raises Failed."""
    for slower in SLOWER[:-1]:
        try:
            return _measure(stage, profiles, EVENTS_PER_S // slower)
        except _TooSlow:
            continue
    return _measure(stage, profiles, EVENTS_PER_S // SLOWER[-1])


def _measure(stage: Stage, profiles: int, events_per_s: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, stage.run(linger_ms=1) as run:
        before, after = (_definitions(Path(folder) / name, least) for name, least in (("before", SHARE), ("after", SHARE - 1)))
        command, environment = worker(run, "ingest,profile", before)
        environment |= {"RTCDP_PROFILE_EVENTS": run.topic("in"), "RTCDP_SOURCES": run.topic("events")}
        minute = round(time.time() * 1000) + (30 + ALONE_S) * 1000 + profiles * 1000 // events_per_s
        stage.feed(run.topic("in"), visits(profiles, minute))
        observer = stage.observer(run.topic("out"))
        with stage.started("timing", run, command, environment) as process:
            watched = Process(process.pid)

            def spent() -> tuple[float, float]:
                return time.monotonic(), watched.cpu_s()

            _until(lambda: stage.folded(run) >= profiles, process, "all visits folded")
            if time.time() * 1000 > minute - ALONE_S * 1000:
                raise _TooSlow("this machine is too slow: the minute began before all visits were folded")
            with _watched(stage, run, observer) as (live, seen):
                time.sleep(WARM_S)
                began = spent()
                time.sleep(ALONE_S - WARM_S)
                usual = _rate(began, spent())
                alone = list(seen.here)
                quiet = _latencies(live, seen, since=round(time.time() * 1000) - (ALONE_S - WARM_S) * 1000)
                _until(lambda: bool(seen.active), process, "the first exit")
                began = spent()
                _until(lambda: len(seen.active) >= profiles, process, "all exits")
                waking = _rate(began, spent())
                busy = _latencies(live, seen, since=minute)
                applied = round(time.time() * 1000)
                subprocess.run([command[0], "apply", str(after)], env=environment, check=True, capture_output=True)
                began = spent()
                _until(lambda: seen.chosen >= profiles // SHARE, process, "all who enter the edited segment")
                visiting = _rate(began, spent())
                edited = _latencies(live, seen, since=applied)
    return {
        "profiles": profiles,
        "rate": RATE,
        "exits": _told(alone),
        "minute": _told(seen.active),
        "reevaluated_s": (seen.chosen_at - applied) / 1000,
        "live": {"quiet": quiet, "minute": busy, "edited": edited},
        "cores": {"quiet": usual, "minute": waking, "edited": visiting},
    }


def _rate(began: tuple[float, float], ended: tuple[float, float]) -> float:
    """CPU in cores, between two looks."""
    return (ended[1] - began[1]) / (ended[0] - began[0])


def visits(profiles: int, minute: int) -> Iterator[clickstream.Row]:
    """One visit of each profile, so that its hour is over within the minute that begins then (ms)."""
    for number in range(profiles):
        received = minute - HOUR_MS + number * MINUTE_MS // profiles
        user = f"u{number:07d}"
        event = records.Event(
            received=received,
            occurred=received,
            source="visits/0",
            offset=number,
            id=user,
            event="Visited",
            user_id=user,
            properties={"place": number % SHARE},
        )
        yield clickstream.profile_key(user), records.encode(event)


def _definitions(folder: Path, least: int) -> Path:
    folder.mkdir()
    (folder / "rules.yaml").write_text(DEFINITIONS.format(least=least))
    return folder


@contextmanager
def _watched(stage: Stage, run: Run, observer: Consumer) -> Iterator[tuple[Live, Seen]]:
    """Live events are sent and all changes read, by two threads."""
    live, seen, ending = Live(stage, run.topic("events")), Seen(), threading.Event()

    def read() -> None:
        while not ending.is_set():
            for message in observer.consume(5_000, 0.1):
                if not message.error():
                    seen.take(message)

    reader = threading.Thread(target=read, daemon=True)
    live.start()
    reader.start()
    try:
        yield live, seen
    finally:
        live.stop()
        ending.set()
        reader.join()
        observer.close()


def _until(condition: Any, process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{what}: not within {LONGEST_S} s, exit code {process.poll()}")
        time.sleep(0.2)


def _latencies(live: Live, seen: Seen, since: int = 0) -> dict[str, float]:
    """Of the live events appended since then (ms)."""
    appended, greeted = dict(live.appended), dict(seen.greeted)
    return _told([greeted[name] - at for name, at in appended.items() if at >= since and name in greeted])


def _told(values: list[int]) -> dict[str, float]:
    if len(values) < 2:
        raise Failed("too few to speak of")
    cuts = quantiles(values, n=100)
    return {"count": len(values), "p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(values)}
