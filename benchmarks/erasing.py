"""How long an erasure takes, from the command to the receipt that says it is complete, data keys destroyed and all."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import clickstream
from benchmarks.peers import BOTH, Keys
from benchmarks.streaming import Failed, Stage
from rtcdp.control.commands import new_id
from rtcdp.privacy.erasure import command_of, erase, wait
from rtcdp.settings.config import Settings

FOLDED_S = 120.0
MOST_S = 120.0


def erasing(stage: Stage, count: int, people: int) -> dict[str, Any]:
    """Erase the users with the most of `count` events, one after the other, while a worker runs. Raises Failed."""
    events = list(clickstream.events(count))
    busiest = [user for user, _ in Counter(event["user_id"] for event in events).most_common(people)]
    with tempfile.TemporaryDirectory(prefix="rtcdp-keys-") as folder, stage.run() as run:
        peer = Keys(Path(folder)).sealed(BOTH)
        stage.feed(run.topic("in"), (peer.encode(event) for event in events))
        command, environment = peer.start(run)
        settings = Settings.load({name.removeprefix("RTCDP_").lower(): value for name, value in environment.items()})
        with stage.started(peer.name, run, command, environment):
            _await_folded(stage, run.topic("out"), settings.app, count)
            seconds = [_erase(settings, clickstream.profile_key(user).decode()) for user in busiest]
    return {"complete_s": median(seconds), "most_s": max(seconds), "people": people, "events": count}


def _await_folded(stage: Stage, changes: str, app: str, count: int) -> None:
    """Wait until the worker has put out nothing more for a while: what came is folded."""
    observer = stage.observer(changes)
    try:
        seen, quiet, deadline = 0, time.monotonic(), time.monotonic() + FOLDED_S
        while time.monotonic() < deadline:
            found = len(observer.consume(5_000, 0.2))
            if found:
                seen, quiet = seen + found, time.monotonic()
            elif seen and time.monotonic() - quiet > 3:
                return
    finally:
        observer.close()
    raise Failed(f"{app} has not folded {count} events within {FOLDED_S:.0f} s")


def _erase(settings: Settings, key: str) -> float:
    """Seconds until the receipt of one erasure is complete. Raises Failed."""
    request, began = new_id(), time.monotonic()
    found = wait(settings, request, erase(settings, key, command_of(request, by="bench")), MOST_S)
    if found is None or not found.complete:
        raise Failed(f"the erasure was not complete within {MOST_S:.0f} s")
    return time.monotonic() - began
