"""Row 24: what transactions cost, by the clock: the same worker with them and without."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from faults.processes import wait_for
from faults.rig import Rig
from faults.stage import Result, Stage

EVENTS = 300_000
PEOPLE = 20_000
ROUNDS = 3
LEAST = 0.75
"""Of the throughput without transactions."""
BEGUN = 0.1
"""Share of the outputs before which nothing counts: the start."""


def row24(stage: Stage) -> Result:
    """throughput with transactions, beside the same build without"""
    result = Result(24, "throughput with transactions, beside the same build without", stage.seed)
    events = stage.count(EVENTS, 20_000)
    rates: dict[str, list[float]] = {"with": [], "without": []}
    costs: dict[str, list[float]] = {"with": [], "without": []}
    with stage.rig("throughput", partitions=4) as rig:
        _fill(rig, events)
        for number in range(ROUNDS):
            for name, off in (("with", ()), ("without", ("transaction",))):
                rate, cost = _measure(rig, f"{name}{number}", off, events)
                rates[name].append(rate)
                costs[name].append(cost)
                rig.note("measured", name=name, rate=rate, cpu_us=cost)
    ratio = median(rates["with"]) / median(rates["without"])
    told = ", ".join(
        f"{name} {median(rates[name]):,.0f} events/s at {median(costs[name]):.1f} us of CPU" for name in ("with", "without")
    )
    result.events = events * ROUNDS * 2
    result.note = (
        f"{told}: {ratio:.2f} (limit {LEAST}); the profile stage, medians of {ROUNDS} alternating runs; load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; a comparison is its own control"
    )
    if ratio < LEAST:
        result.fail(f"transactions cost too much: {ratio:.2f} of the throughput without")
    return result


def _fill(rig: Rig, events: int) -> None:
    """So many events in the log, by a worker that only takes them in."""
    chance = rig.random
    for number in range(events):
        event = chance.choices(("Product Viewed", "Product Added", "Order Completed"), (6, 2, 2))[0]
        properties = {"amount": number % 900} if event == "Order Completed" else {"item": f"i{number % 20}"}
        user = f"u{chance.randrange(PEOPLE)}"
        body = {"type": "track", "event": event, "userId": user, "messageId": f"m{number}", "properties": properties}
        rig.sender.send(json.dumps(body).encode(), user)
    rig.sender.producer.flush(120)
    worker = rig.start(agents="ingest")
    wait_for(lambda: rig.topics.end_of(rig.settings.profile_events) >= events, 300, "the events in the log")
    worker.end(signal.SIGTERM)


def _measure(rig: Rig, name: str, off: tuple[str, ...], events: int) -> tuple[float, float]:
    """Events per second, and CPU per event (us), of a worker that has never seen that log."""
    app = f"{rig.name}-{name}"
    outputs = [f"{app}-changes", f"{app}-triggers"]
    admin = AdminClient({"bootstrap.servers": rig.bootstrap, "log_level": 0})
    config = {"message.timestamp.type": "LogAppendTime"}
    partitions = rig.settings.partitions
    for future in admin.create_topics([NewTopic(topic, partitions, 1, config=config) for topic in outputs]).values():
        future.result(30)
    asking = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": app, "log_level": 0})
    places = [TopicPartition(rig.settings.profile_events, number) for number in range(partitions)]
    try:
        topics = {"profile_changes": outputs[0], "triggers": outputs[1], "events_dlq": f"{app}-dlq"}
        worker = rig.start(name, off=off, agents="profile", app=app, definitions_topic=f"{app}-definitions", **topics)
        wait_for(lambda: sum(max(0, place.offset) for place in asking.committed(places, 10)) >= events, 300, "all of it folded")
        used = _cpu_s(worker.pid)
        worker.end(signal.SIGTERM)
        times = sorted(message.timestamp()[1] for message in rig.topics.read(*outputs))
    finally:
        asking.close()
        mine = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(app)]
        for future in admin.delete_topics(mine).values():
            future.result(30)
    begun = times[int(len(times) * BEGUN)]
    return events * (1 - BEGUN) / max(0.001, (times[-1] - begun) / 1_000), used / events * 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
