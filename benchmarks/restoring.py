"""A worker that comes back: how fast it restores its profiles from the changelog, and what memory they take."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

from benchmarks import clickstream
from benchmarks.peers import PARTITIONS, PROFILE, Run
from benchmarks.streaming import Failed, Process, Stage

EVENTS_EACH = 3
READY_S = 600.0
_RESTORED = re.compile(r"partition \d+: (\d+) profiles at offset (-?\d+) in ([0-9.]+) s")


def spread(profiles: int) -> Iterator[clickstream.Row]:
    """Events that touch each of `profiles` users EVENTS_EACH times."""
    for place, event in enumerate(clickstream.events(profiles * EVENTS_EACH)):
        event["user_id"] = f"u{place % profiles:07d}"
        yield PROFILE.encode(event)


def restore(stage: Stage, profiles: int) -> dict[str, Any]:
    """Fill a worker with so many profiles, stop it, start it again.

    profiles_per_s: profiles over the time of the slowest partition (they are restored side by side): fencing, reading the
    changelog and indexing due times included. rss_mb: of the worker that has just restored them, and of an empty one.
    """
    with stage.run() as run:
        empty = _empty(stage)
        stage.feed(run.topic("in"), spread(profiles))
        with stage.started("fill", run, *PROFILE.start(run)) as process:
            _until_folded(stage, run, process, profiles * EVENTS_EACH)
            filled = Process(process.pid).rss_mb()
        with stage.started("restore", run, *PROFILE.start(run)) as process:
            found = _until_restored(stage.log("restore", run), process)
            rss = Process(process.pid).rss_mb()
    if sum(count for count, _ in found) != profiles:
        raise Failed(f"{sum(count for count, _ in found)} of {profiles} profiles came back")
    return {
        "profiles": profiles,
        "seconds": max(seconds for _, seconds in found),
        "profiles_per_s": profiles / max(seconds for _, seconds in found),
        "rss_mb": rss,
        "rss_filled_mb": filled,
        "rss_empty_mb": empty,
        "bytes_per_profile": (rss - empty) * 2**20 / profiles,
    }


def _empty(stage: Stage) -> float:
    """Memory of a worker without a profile."""
    with stage.run() as run, stage.started("empty", run, *PROFILE.start(run)) as process:
        _until_restored(stage.log("empty", run), process)
        return Process(process.pid).rss_mb()


def _until_restored(log: Path, process: Popen[bytes]) -> list[tuple[int, float]]:
    """Profiles and seconds of every partition, once the log tells of all."""
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        found = _RESTORED.findall(log.read_text(errors="replace"))
        if len(found) == PARTITIONS:
            return [(int(count), float(seconds)) for count, _, seconds in found]
        time.sleep(0.1)
    raise Failed(f"not restored, exit code {process.poll()}: {log.read_text(errors='replace')[-500:]}")


def _until_folded(stage: Stage, run: Run, process: Popen[bytes], records: int) -> None:
    """Wait until the worker's group has committed past the last record: everything is in the changelog then."""
    deadline = time.monotonic() + READY_S
    while stage.folded(run) < records:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{stage.folded(run)} of {records} records folded in {READY_S:.0f} s")
        time.sleep(0.2)
