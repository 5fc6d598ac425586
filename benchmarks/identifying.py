"""What identity costs: a stream of which 30 % is anonymous and later linked, beside the same stream under user ids; a merge."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median, quantiles
from typing import Any

import orjson
from aiokafka.partitioner import murmur2

from benchmarks import clickstream
from benchmarks.folding import BATCH, SHOP, ingested, new_runner, quiet
from benchmarks.peers import DEFINITIONS
from rtcdp import profile as profiles
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.records import Link, encode
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load

ANONYMOUS = 0.3
LOGS_IN = 4
"""A user's so many-th event is followed by the call that says who they are."""
PARTITIONS = 4
FULL = 20_000
MERGES = 50
USER, VISITOR = "main/user_id:u", "main/anonymous_id:a"


def stream(count: int, *, anonymous: float) -> Iterator[bytes]:
    """Raw events: so many of each user's without the user id, before and after the call that links both."""
    dice, seen = random.Random(7), dict[str, int]()
    for event in clickstream.events(count):
        raw = orjson.loads(clickstream.as_raw(event)[1])
        user = raw["userId"]
        seen[user] = seen.get(user, 0) + 1
        if dice.random() < anonymous:
            del raw["userId"]
        yield orjson.dumps(raw)
        if anonymous and seen[user] == LOGS_IN:
            same = {name: raw[name] for name in ("anonymousId", "timestamp")}
            yield orjson.dumps({"type": "identify", "userId": user, "messageId": f"i-{user}", **same})


def cost(definitions: Definitions, raw: Iterable[bytes]) -> tuple[float, int]:
    """CPU seconds of ingesting and folding a stream in four partitions, all records of identity among it; records folded."""
    ingestor = Ingestor(definitions.tracking, definitions.identity, Source("bench", time="event"))
    runners = [new_runner(definitions) for _ in range(PARTITIONS)]
    waiting: list[deque[tuple[bytes, bytes]]] = [deque() for _ in runners]
    offsets, rows = [0] * PARTITIONS, list(raw)

    def step(least: int) -> None:
        for number, queue in enumerate(waiting):
            while queue and len(queue) >= least:
                batch = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
                start, offsets[number] = offsets[number], offsets[number] + len(batch)
                fold = runners[number].fold([(start + place, *row) for place, row in enumerate(batch)])
                runners[number].adopt(fold)
                for _, key, value in fold.appends:
                    waiting[partition(key)].append((key, value))

    with quiet():
        began = time.process_time()
        for offset, value in enumerate(rows):
            found = ingestor.ingest(value, "bench/0", offset, 0)
            if isinstance(found, Accepted):
                waiting[partition(found.key)].append((found.key, found.value))
            if offset % BATCH == 0:
                step(BATCH)
        while any(waiting):
            step(1)
        return time.process_time() - began, sum(offsets)


def partition(key: bytes) -> int:
    """Where the log keeps a profile key."""
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


def identity(count: int, rounds: int) -> dict[str, Any]:
    """Microseconds of CPU per raw event of both streams, alternating, and the median of their ratios."""
    definitions = load(DEFINITIONS)
    plain, linked = list(stream(count, anonymous=0.0)), list(stream(count, anonymous=ANONYMOUS))
    found: dict[str, list[float]] = {"plain": [], "linked": []}
    records = 0
    for _ in range(rounds):
        found["plain"].append(cost(definitions, plain)[0] / len(plain) * 1e6)
        seconds, records = cost(definitions, linked)
        found["linked"].append(seconds / len(linked) * 1e6)
    return {
        "plain_us": median(found["plain"]),
        "linked_us": median(found["linked"]),
        "ratio": median(linked / plain for plain, linked in zip(found["plain"], found["linked"], strict=True)),
        "records_per_event": records / len(linked),
        **merges(),
    }


def merges() -> dict[str, Any]:
    """Milliseconds of CPU that handing a full profile over and taking it in take: examples/shop, 10,000 events on each side."""
    definitions, received = load(SHOP), 0
    visitor, user = new_runner(definitions), new_runner(definitions)
    for number, (_, value) in enumerate(ingested(definitions, FULL)):
        runner, key = ((visitor, VISITOR), (user, USER))[number % 2]
        runner.adopt(runner.fold([(number, key.encode(), value)]))
        received = orjson.loads(value)["received"]
    before = dict(visitor.state), dict(user.state)
    link = encode(Link(to=USER, id="i", received=received, simulated=True))
    times = []
    with quiet():
        for number in range(FULL, FULL + MERGES):
            for runner, state in zip((visitor, user), before, strict=True):
                runner.state.update(state)
                runner.cache.clear()  # as stored
            began = time.process_time()
            given = visitor.fold([(number, VISITOR.encode(), link)])
            fold = user.fold([(number, USER.encode(), value) for _, _, value in given.appends])
            times.append((time.process_time() - began) * 1e3)
            stored = fold.state[USER.encode()] or b""
            if VISITOR not in profiles.decode(USER, stored).links:
                raise RuntimeError("the two have not become one")
    return {"merge_ms": median(times), "merge_p95_ms": quantiles(times, n=20)[18], "merged_bytes": len(given.appends[0][2])}
