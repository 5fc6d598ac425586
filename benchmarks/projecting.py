"""The serving view: how fast `rtcdp project` fills an empty Redis from a changelog, beside a plain pipelined SET.

Every profile is distinct, so every record is decoded, named, rendered and written: nothing is saved by newer records of the
same profile. The ceiling writes the very same views with redis-py, `SET` by `SET` in pipelines of 1,000, into the same Redis.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import folding
from rtcdp import position as positions
from rtcdp.control.versions import DefinitionsTopic, apply
from rtcdp.position import POSITION_KEY, Position, SwitchPoint
from rtcdp.queries.inspection import partition_of
from rtcdp.rules.loading.folder import load
from rtcdp.servers.redis_server import RedisServer
from rtcdp.settings.config import Settings

PARTITIONS = 4
FOLDED = 60_000
PIPELINE = 1_000
FILL_S = 300.0


class Changelog:
    """A changelog with so many distinct profiles of examples/shop, their definitions, and no events in the other topics."""

    def __init__(self, bootstrap: str, profiles: int) -> None:
        app = f"bench-{uuid.uuid4().hex[:8]}"
        names = ("profile_changes", "triggers", "definitions_topic")
        self.settings = Settings(bootstrap=bootstrap, app=app, **{name: f"{app}-{name}" for name in names})
        settings, definitions = self.settings, load(folding.SHOP)
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._topics = [settings.changelog, settings.profile_changes, settings.triggers, settings.definitions_topic]
        counts = (PARTITIONS, PARTITIONS, PARTITIONS, 1)
        made = [NewTopic(name, count, 1) for name, count in zip(self._topics, counts, strict=True)]
        for future in self._admin.create_topics(made).values():
            future.result(30)
        topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, app)
        topic.read()
        apply(topic, definitions)
        self.definitions = definitions
        producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
        states = itertools.cycle(_states(definitions))
        for number in range(profiles):
            key = f"main/user_id:u{number:07d}".encode()
            producer.produce(settings.changelog, next(states), key, partition_of(key, PARTITIONS))
            if number % 1_000 == 0:
                producer.poll(0)
        position = positions.encode(Position(switches=[SwitchPoint(0, definitions.version, 0)]))
        producer.flush(60)
        for partition in range(PARTITIONS):
            producer.produce(settings.changelog, position, POSITION_KEY, partition)
        producer.flush(60)

    def config(self, folder: Path, redis_url: str) -> Path:
        """A file of settings for a process over this changelog and a Redis."""
        names = ("bootstrap", "app", "profile_changes", "triggers", "definitions_topic")
        text = "".join(f'{name} = "{getattr(self.settings, name)}"\n' for name in names)
        path = folder / "rtcdp.toml"
        files = f'api_tokens = "{folder}/tokens.json"\nstate_dir = "{folder}"\n'
        path.write_text(f'{text}redis = "{redis_url}"\nmetrics_port = -1\n{files}', "utf-8")
        return path

    def close(self) -> None:
        """Remove the topics."""
        self._admin.delete_topics(self._topics)


def project(bootstrap: str, profiles: int, rounds: int) -> dict[str, Any]:
    """Rates of both (a second) and their ratio, alternating; a round's Redis is new."""
    changelog = Changelog(bootstrap, profiles)
    found: list[dict[str, float]] = []
    try:
        for _ in range(rounds):
            with RedisServer() as server:
                rate, cpu_us, views = _fill(changelog, server, profiles)
                ceiling = _plain(server, views, profiles)
            found.append({"views_per_s": rate, "cpu_us": cpu_us, "plain_sets_per_s": ceiling, "ratio": rate / ceiling})
    finally:
        changelog.close()
    return {**{name: median(one[name] for one in found) for name in found[0]}, "profiles": profiles, "runs": found}


def _fill(changelog: Changelog, server: RedisServer, profiles: int) -> tuple[float, float, list[bytes]]:
    """Views a second between the first and the last, CPU us of the process per view, and some of the views."""
    with tempfile.TemporaryDirectory() as folder, redis.Redis.from_url(server.url) as client:
        path = changelog.config(Path(folder), server.url)
        process = subprocess.Popen(
            [sys.executable, "-m", "rtcdp.cli", "project", "--config", str(path)], stderr=subprocess.DEVNULL
        )
        try:
            usage = psutil.Process(process.pid)
            wanted = 2 * profiles  # a view and its meta each
            began, first, cpu = 0.0, 0, 0.0
            deadline = time.monotonic() + FILL_S
            while True:
                size = client.dbsize()
                if size > wanted // 10 and not began:
                    began, first, cpu = time.monotonic(), size, _cpu(usage)
                if size >= wanted:
                    ended, last, used = time.monotonic(), size, _cpu(usage)
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{client.dbsize()} of {wanted} keys after {FILL_S:.0f} s")
                time.sleep(0.01)
            names = [name for name, _ in zip(client.scan_iter(match="*:profile:*", count=1_000), range(5_000), strict=False)]
            views = [view for view in client.mget(names) if view is not None]
        finally:
            process.terminate()
            process.wait(15)
    done = (last - first) / 2
    return done / (ended - began), (used - cpu) / done * 1e6, views


def _plain(server: RedisServer, views: list[bytes], count: int) -> float:
    """SETs a second by one client of redis-py."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        values = itertools.cycle(views)
        began = time.monotonic()
        for start in range(0, count, PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, start + PIPELINE):
                pipeline.set(f"bench:profile:main/user_id:u{number:07d}", next(values))
            pipeline.execute()
        return count / (time.monotonic() - began)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _states(definitions: Any) -> Iterator[bytes]:
    runner = folding.new_runner(definitions)
    batch: list[tuple[int, bytes, bytes]] = []
    for offset, row in enumerate(folding.ingested(definitions, FOLDED)):
        batch.append((offset, *row))
        if len(batch) == folding.BATCH:
            runner.adopt(runner.fold(batch))
            batch.clear()
    yield from list(runner.state.values())
