"""A deployment under attack: topics of its own, workers as processes, a load, and at the end the oracle's verdict."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from faults.processes import Failed, Launcher, Worker, wait_for
from faults.sender import Sender
from faults.sending import Load
from faults.topics import Topics
from rtcdp.settings.config import Settings

HERE = Path(__file__).parent
DEFINITIONS = HERE / "definitions"
QUIET = 1.4
"""After the last event: until time has done what it will (s); the longest window is 1 s, the grace 0.25 s."""


class Rig:
    """A deployment: its topics, its workers, its history on disk.

    bootstrap: where this rig reaches Kafka; workers: where the workers do, if that is another address.
    off: protections that are switched off in every worker.
    event_time: the events carry their own times.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        launcher: Launcher,
        *,
        seed: int = 1,
        workers: str = "",
        off: tuple[str, ...] = (),
        event_time: bool = False,
        **settings: Any,
    ) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.seed = seed
        self.random = random.Random(seed)
        self.off = off
        self.faults = 0
        self.group_faults = 0
        self.restarts = 0
        self.next_point = ""
        """Where the next worker that is started again is to die."""
        self.keeping = False
        """Whether workers that end are started again."""
        self.unrefused: list[str] = []
        self.before: list[Rig] = []
        self.history: list[dict[str, Any]] = []
        self.oracle = "oracle"
        """The module that judges."""
        self._launcher = launcher
        folder.mkdir(parents=True, exist_ok=True)
        self.taken_over = folder / "taken-over.txt"
        self.taken_over.touch()
        self.name = f"f{uuid.uuid4().hex[:8]}"
        self.source = f"{self.name}-events"
        names = ("commands", "events_dlq", "profile_events", "profile_changes", "triggers", "ingest_progress", "audit")
        names += ("deliveries", "deliveries_dlq", "delivery_commands")
        values = {
            "bootstrap": workers or bootstrap,
            "app": self.name,
            "sources": f"{self.source}:event" if event_time else self.source,
            "definitions_topic": f"{self.name}-definitions",
            "partitions": 2,
            "metrics_port": -1,
            "state_dir": str(folder / "state"),
            "definitions": str(DEFINITIONS),
            "log_level": "info",
            **{name: f"{self.name}-{name.replace('_', '-')}" for name in names},
            **settings,
        }
        self.values = values
        self.settings = Settings(**values)
        self.sealed = self.settings.encryption != "off"
        """Whether nobody may be named in the log and in state."""
        self.workers: list[Worker] = []
        self._newest: dict[str, Worker] = {}
        self._create_topics()
        self.sender = Sender(bootstrap, self.source, self.settings, seed)
        self.topics = Topics(bootstrap, self.settings)
        self.started = time.monotonic()

    def _create_topics(self) -> None:
        """Those that the load needs before the first worker is there; preflight makes the others."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "10000000"}
        new = NewTopic(self.source, self.settings.partitions, 1, config=config)
        wait_for(lambda: _created(admin, new), 60, "the source topic")

    # ---- workers ----

    def start(
        self,
        instance: str = "one",
        point: str = "",
        *,
        off: tuple[str, ...] | None = None,
        action: str = "kill",
        after: int = 1,
        process: str = "worker",
        **more: Any,
    ) -> Worker:
        """Start a worker, with a fault planned at a fail point where one is named; or another process of the deployment."""
        order = {
            "settings": {**self.values, "instance": instance, **more},
            "log": str(self.folder / f"worker-{instance or len(self.workers)}.log"),
            "points": str(self.folder / "points.jsonl"),
            "taken_over": str(self.taken_over),
            "plan": {"point": point, "action": action, "after": after},
            "process": process,
            "off": list(self.off if off is None else off),
        }
        worker = Worker(self._launcher, order)
        self.workers.append(worker)
        self._newest[instance] = worker
        self.note("start", instance=instance, point=point, after=after, pid=worker.pid)
        return worker

    def up(self, instance: str = "one", seconds: float = 300.0) -> Worker:
        """A worker that works: started again where it does not come up, as on a machine that is kept too busy."""
        deadline = time.monotonic() + seconds
        while True:
            worker = self.start(instance)
            try:
                self.moving(max(1.0, deadline - time.monotonic()))
            except Failed:
                if worker.code is None or time.monotonic() > deadline:
                    raise
                self.note("ended", pid=worker.pid, code=worker.code)
            else:
                return worker

    def newest(self, instance: str) -> Worker:
        """The worker that was started last under a name."""
        return self._newest[instance]

    def note(self, what: str, **more: Any) -> None:
        """A line of the history."""
        self.history.append({"at": round(time.monotonic() - self.started, 3), "what": what, **more})

    def fault(self, what: str, *, group: bool = False, **more: Any) -> None:
        """A fault was injected. group: it struck all workers at once, or moved partitions."""
        self.faults += 1
        self.group_faults += group
        self.note(what, group=group, **more)

    def points(self) -> list[dict[str, Any]]:
        """The fail points at which workers have died or stopped."""
        path = self.folder / "points.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    @contextmanager
    def kept(self, *instances: str, **more: Any) -> Iterator[list[Worker]]:
        """Workers that are started again whenever they end, as an orchestrator does it; they are killed at the end."""
        running = [self.start(instance, **more) for instance in instances]
        over = threading.Event()
        self.keeping = True

        def keep() -> None:
            while not over.wait(0.05):
                for place, worker in enumerate(running):
                    if worker.code is not None and not over.is_set():
                        self.restarts += 1
                        self.note("ended", pid=worker.pid, code=worker.code)
                        point, self.next_point = self.next_point, ""
                        running[place] = self.start(instances[place], point, **more)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield running
        finally:
            over.set()
            self.keeping = False
            keeper.join()

    @contextmanager
    def once(self, *instances: str) -> Iterator[list[Worker]]:
        """As `kept`, and nobody starts them again."""
        yield [self.start(instance) for instance in instances]

    def last_words(self, instance: str = "one") -> str:
        """The last line that a worker has said of itself."""
        text = (self.folder / f"worker-{instance}.log").read_text("utf-8", "replace")
        lines = re.sub("\b ?|\x1b\\[\\?25h", "", text).splitlines()  # without what Faust does for a terminal
        return next((line for line in reversed(lines) if line.startswith("rtcdp: ")), "")

    def await_no_members(self) -> None:
        """Wait until the group has no members: it forgets killed ones after their session."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

        def look() -> bool:
            return not admin.describe_consumer_groups([self.name])[self.name].result(20).members

        wait_for(look, 30, "an empty group")

    def stop(self, seconds: float = 20.0) -> None:
        """Tell every worker to stop, in order; after a while by force."""
        for worker in self.workers:
            worker.send(signal.SIGCONT)
            worker.send(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        for worker in self.workers:
            try:
                worker.wait(max(0.1, deadline - time.monotonic()))
            except Failed:
                self.note("did not stop", pid=worker.pid)
                worker.end(signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs, delete the topics, write the history down."""
        for worker in self.workers:
            if worker.code is None:
                worker.end(signal.SIGKILL)
        (self.folder / "history.json").write_text(json.dumps(self.history, indent=1), "utf-8")
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        admin.delete_topics([self.source, *self.settings.own_topics().values()])

    def await_load(self, load: Load, events: int) -> None:
        """Wait until so many events have been sent."""
        wait_for(lambda: load.sent >= events, 600, f"{events} events")

    def await_end(self, worker: Worker, seconds: float) -> int:
        """Wait until a worker has died at its fail point; one that never came there is killed. Its exit code."""
        try:
            return worker.wait(seconds)
        except Failed:
            self.note("not reached", pid=worker.pid)
            return worker.end(signal.SIGKILL)

    def takeovers(self, worker: Worker) -> int:
        """How often a worker has taken partitions over."""
        return self.taken_over.read_text("utf-8").count(f"taken over by {worker.pid}\n")

    def await_takeover(self, worker: Worker, before: int, seconds: float = 90.0) -> None:
        """Wait until a worker has taken partitions over more often than that."""
        wait_for(lambda: self.takeovers(worker) > before, seconds, "the takeover")

    def owned_by(self, worker: Worker, seconds: float = 60.0) -> None:
        """Wait until a worker has taken partitions over."""

        def look() -> bool:
            ended = worker.code
            if self.takeovers(worker):
                return True
            if ended is not None:
                raise Failed(f"worker {worker.pid} ended with {ended} instead of taking over")
            return False

        wait_for(look, seconds, f"a takeover by {worker.pid}")

    def stopped(self, worker: Worker, seconds: float) -> None:
        """Wait until a worker has come to its point and stands still."""

        def look() -> bool:
            if worker.code is not None:
                raise Failed(f"worker {worker.pid} ended with {worker.code} instead of standing still")
            state = Path(f"/proc/{worker.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
            return state in "Tt"

        wait_for(look, seconds, f"worker {worker.pid} at its fail point")

    def outputs(self) -> int:
        """How many committed records lie in `triggers`: by its offsets."""
        return self.topics.end_of(self.settings.triggers)

    def moving(self, seconds: float = 60.0) -> None:
        """Wait until something comes out that was not there at the call."""
        before = self.outputs()

        def look() -> bool:
            if self.workers and all(worker.code is not None for worker in self.workers) and not self.keeping:
                raise Failed("no worker runs any more")
            return self.outputs() > before

        wait_for(look, seconds, "an output")

    def part(self) -> dict[str, str]:
        """Where everything lies."""
        return {"bootstrap": self.bootstrap, "source": self.source, **self.settings.own_topics()}

    # ---- the end ----

    def probe(self, seconds: float = 60.0) -> float:
        """Let time do the rest, ask every user for its state, wait until all have answered; how long that took (s).

        Where not all answer in time, the verdict says what is missing.
        """
        began = time.monotonic()
        self.sender.producer.flush(120)
        time.sleep(QUIET)
        for user in sorted(self.sender.users):
            self.sender.send(self.sender.event(user, "probe", "Probe", {}), user)
        self.sender.producer.flush(60)
        answered = self.topics.answers(len(self.sender.users), seconds)
        self.note("probed", unanswered=len(self.sender.users) - len(answered))
        return time.monotonic() - began - QUIET

    def verdict(self) -> dict[str, Any]:
        """What the oracle says; the outputs of workers that are still running may not be complete."""
        job = {"folder": str(self.folder), "parts": [rig.part() for rig in (*self.before, self)], "sealed": self.sealed}
        path = self.folder / "job.json"
        path.write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-m", f"faults.{self.oracle}", str(path)]
        environ = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            raise Failed(f"the oracle ended with {done.returncode}: {done.stderr[-2000:]}")
        verdict: dict[str, Any] = json.loads((self.folder / "verdict.json").read_text("utf-8"))
        return verdict


def _created(admin: AdminClient, topic: NewTopic) -> bool:
    try:
        admin.create_topics([topic])[topic.topic].result(10)
    except KafkaException:
        return False  # the broker is only just there
    return True
