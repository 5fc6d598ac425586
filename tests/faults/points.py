"""Fail points: named places in a worker at which it can be killed or stopped. Only the test's launcher puts them in.

Production code knows nothing of them: they wrap the methods between which the places lie, in the process that is to die.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTING = ("start.checked", "start.fenced", "start.restoring", "start.restored", "start.taken_over")
STEPS = (
    "step1.taken",
    "step2.folded",
    "step3.begun",
    "step3.changes",
    "step3.triggers",
    "step3.letters",
    "step3.appends",
    "step3.state",
    "step3.position",
    "step3.committing",
    "step3.committed",
    "step4.adopted",
    "step4.done",
)
INGEST = ("ingest.taken", "ingest.produced", "ingest.acknowledged", "ingest.published", "group.committed")
REVOKE = ("revoke.begun", "revoke.done")
IDENTITY = ("step3.link", "step3.merge", "step3.part", "step3.forward")
"""As step3.appends, of a batch in which such a record is: told whose it is, handed over, given back, passed on."""
POINTS = (*STARTING, *STEPS, *INGEST, *REVOKE, *IDENTITY)
OPEN = STEPS[3:10]
"""Those with a transaction open and something in it."""


class Plan:
    """What happens where.

    point:  where; empty: nowhere.
    after:  the how-manieth passing counts.
    action: `kill` or `stop`.
    flush:  inside a transaction: bring what was produced to the broker first, so that it lies in an open transaction.
    log:    file to which a line is written before.
    """

    def __init__(self, log: Path, point: str = "", after: int = 1, action: str = "kill", *, flush: bool = True) -> None:
        self.point, self.after, self.action, self.flush, self.log = point, after, action, flush, log
        self.passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, point: str, producer: Any = None, delay: float = 0.0) -> None:
        """The worker is at this point."""
        with self._lock:
            if point != self.point or self.action == "done":
                return
            self.passed[point] += 1
            if self.passed[point] < self.after:
                return
            action, self.action = self.action, "done"
        flushed = producer is not None and self.flush and producer.flush(5.0) == 0
        within = flushed and point in (*OPEN, *IDENTITY)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"point": point, "action": action, "pid": os.getpid(), "open": within}) + "\n")
        if delay:
            threading.Thread(target=self._act, args=(action, delay), daemon=True).start()
        else:
            self._act(action, 0.0)

    def _act(self, action: str, delay: float) -> None:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def after(owner: Any, name: str, then: Callable[..., None]) -> None:
    """Call `then(result, *args)` after each call of a method."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        then(result, *args)
        return result

    setattr(owner, name, wrapped)


def after_awaited(owner: Any, name: str, then: Callable[..., None], first: Callable[..., None] | None = None) -> None:
    """The same for a coroutine method; `first` before it."""
    original = getattr(owner, name)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if first is not None:
            first(*args)
        result = await original(*args, **kwargs)
        then(result, *args)
        return result

    setattr(owner, name, wrapped)


def install(plan: Plan, topics: dict[str, str]) -> None:
    """Put the points into this process. topics: setting name to topic."""
    from rtcdp.folding.runner import PartitionRunner
    from rtcdp.transport.consumer import Consumer
    from rtcdp.transport.gapless import GaplessProducer
    from rtcdp.transport.owner import Batch
    from rtcdp.transport.transactions import TransactionalProducer
    from rtcdp.worker import main
    from rtcdp.worker.ingest.agent import Ingest
    from rtcdp.worker.ingest.progress import ProgressWriter
    from rtcdp.worker.profiles import agent as profiles

    reach = plan.reach
    log = topics["profile_events"]
    after(main, "preflight", lambda *_: reach("start.checked"))
    after(TransactionalProducer, "open", lambda *_: reach("start.fenced"))
    _restoring(profiles, reach)
    after_awaited(profiles.ProfileAgent, "take_over", lambda *_: reach("start.taken_over"))

    def taken(messages: Any, batch: Any, *_: Any) -> None:
        if messages:
            reach("step1.taken" if batch.topic == log else "ingest.taken")

    after(Batch, "take", taken)
    after(PartitionRunner, "fold", lambda *_: reach("step2.folded"))
    after(PartitionRunner, "adopt", lambda *_: reach("step4.adopted"))
    after(Batch, "end", lambda _, batch: reach("step4.done") if batch.topic == log else None)
    _transaction(TransactionalProducer, topics, reach)
    _one_by_one(GaplessProducer)
    after(GaplessProducer, "produce", lambda *_: reach("ingest.produced"))
    after(GaplessProducer, "acknowledged", lambda found, *_: reach("ingest.acknowledged") if found else None)
    after(ProgressWriter, "publish", lambda _, writer, *__: reach("ingest.published", writer._producer))
    after_awaited(Consumer, "commit", lambda done, *_: reach("group.committed") if done else None)
    owned: list[bool] = []  # a worker lets go of nothing when it joins
    after_awaited(Consumer, "perform_seek", lambda *_: owned.append(True))

    def revoked(point: str) -> Callable[..., None]:
        return lambda *_: reach(point) if owned else None

    for owner in (profiles.ProfileAgent, Ingest):
        after_awaited(owner, "let_go", revoked("revoke.done"), revoked("revoke.begun"))


def _one_by_one(producer: Any) -> None:
    """Many records are produced as so many single ones, between which there is a point."""

    def produce_all(self: Any, topic: str, records: Any, *, source: str) -> int:
        for key, value, offset in records:
            self.produce(topic, key, value, source=source, offset=offset)
        return len(records)

    producer.produce_all = produce_all


def _restoring(profiles: Any, reach: Callable[..., None]) -> None:
    original = profiles.restore

    def restore(*args: Any, progress: Any = None, **kwargs: Any) -> Any:
        def report(*at: int) -> None:
            reach("start.restoring")
            if progress is not None:
                progress(*at)

        result = original(*args, progress=report, **kwargs)
        reach("start.restored")
        return result

    profiles.restore = restore


def _transaction(producer: Any, topics: dict[str, str], reach: Callable[..., None]) -> None:
    """The points inside step 3. The changelog is written twice: the profiles, then the position."""
    names = {
        topics["profile_changes"]: "step3.changes",
        topics["triggers"]: "step3.triggers",
        topics["events_dlq"]: "step3.letters",
        topics["profile_events"]: "step3.appends",
    }
    original = producer.produce

    def produce(self: Any, topic: str, records: Any, partition: int | None = None, **options: Any) -> None:
        records = list(records)
        original(self, topic, records, partition, **options)
        if topic == topics["changelog"]:
            last = records and records[-1][0].startswith(b"~")
            reach("step3.position" if last else "step3.state", self._producer)
        elif records:
            for kind in (point.removeprefix("step3.") for point in IDENTITY if topic == topics["profile_events"]):
                if any((value or b"").startswith(f'{{"kind":"{kind}"'.encode()) for _, value in records):
                    reach(f"step3.{kind}", self._producer)
            reach(names[topic], self._producer)

    producer.produce = produce
    after(producer, "begin", lambda *_: reach("step3.begun"))
    committing = producer.commit

    def commit(self: Any, *args: Any) -> None:
        reach("step3.committing", self._producer, 0.002)
        committing(self, *args)
        reach("step3.committed")

    producer.commit = commit
