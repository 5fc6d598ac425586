"""The engine's side of the comparison: definitions loaded from text, records encoded, outputs in the oracle's form."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.oracle import Happened, Output, Spec, Ticked, texts

from rtcdp import records
from rtcdp.folding.engine import Engine
from rtcdp.folding.fold import Fold
from rtcdp.folding.runner import PartitionRunner
from rtcdp.position import Position, SwitchPoint
from rtcdp.records import Event, Tick
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load

TENANT = "main/user_id:"


def compiled(sections: Spec | dict[str, Any]) -> Compiled:
    """Definitions as a folder holds them, loaded and compiled."""
    written = texts(sections) if isinstance(sections, Spec) else sections
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all.yaml").write_text(json.dumps({name: part for name, part in written.items() if part}))
        return compile_definitions(load(Path(folder)))


def record(item: Happened | Ticked, offset: int) -> tuple[int, bytes, bytes]:
    """A record of the log."""
    if isinstance(item, Ticked):
        return offset, records.TICK_KEY, records.encode(Tick(time=item.time, wake=1000, simulated=item.simulated))
    event = Event(
        received=item.received,
        occurred=item.occurred,
        source="events/0",
        offset=offset,
        id=item.id,
        event=item.event,
        properties=item.properties,
        traits=item.traits,
        simulated=item.simulated,
        historical=item.historical,
        channel=item.channel,
    )
    return offset, (TENANT + item.profile).encode(), records.encode(event)


def ms(moment: str) -> int:
    """Back from RFC 3339."""
    found = datetime.fromisoformat(moment) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return (found.days * 86_400 + found.seconds) * 1000 + found.microseconds // 1000


def outputs(changes: Iterable[bytes], triggers: Iterable[bytes]) -> dict[str, list[Output]]:
    """Outputs by profile, by `seq`, in the oracle's form with `id` and `seq` added."""
    found: dict[str, list[Output]] = {}
    for raw in map(json.loads, changes):
        keep = ("kind", "name", "cause", "old", "new", "reason", "historical", "by", "step", "arm", "id", "seq")
        item = {key: raw[key] for key in keep if raw.get(key) not in (None, "") and raw[key] is not False}
        item |= {"at": ms(raw["at"]), "message_id": raw.get("message_id", "")}
        found.setdefault(raw["profile"].removeprefix(TENANT), []).append(item)
    for raw in map(json.loads, triggers):
        data = raw["data"]
        item = {"kind": "trigger", "name": data["trigger"], "at": ms(data["decided"]), "cause": data["cause"]}
        item |= {
            "message_id": data.get("message_id", ""),
            "payload": data.get("payload", {}),
            "id": raw["id"],
            "seq": raw["seq"],
        }
        item |= {key: data[key] for key in ("step", "arm") if data.get(key)}
        item |= {key: ms(data[key]) for key in ("occurred", "received", "due")} | {"expires": ms(data["expires_at"])}
        found.setdefault(raw["subject"].removeprefix(TENANT), []).append(item)
    return {key: sorted(items, key=lambda item: item["seq"]) for key, items in found.items()}


class Partition:
    """A partition runner with everything it has put out."""

    def __init__(self, *versions: Compiled, generated: bool = True) -> None:
        self.registry = {version.version: version for version in versions}
        position = Position(switches=[SwitchPoint(1, versions[0].version, 0)])
        self.runner = PartitionRunner(0, {}, position, self.registry)
        for name, version in self.registry.items():
            self.runner._engines[name] = Engine(version, generated=generated)
        self.changes: list[bytes] = []
        self.triggers: list[bytes] = []
        self.letters: list[bytes] = []
        self.offset = -1

    def feed(self, batch: Sequence[Happened | Ticked]) -> Fold:
        """Fold a batch and take it over."""
        found = [record(item, self.offset + place) for place, item in enumerate(batch, 1)]
        self.offset += len(batch)
        return self.feed_records(found)

    def feed_records(self, batch: Sequence[Any]) -> Fold:
        fold = self.runner.fold(batch)
        self.runner.adopt(fold)
        self.changes += [value for _, value in fold.changes]
        self.triggers += [value for _, value in fold.triggers]
        self.letters += [value for _, value in fold.letters]
        return fold

    def feed_twice(self, batch: Sequence[Happened | Ticked]) -> Fold:
        """Fold a batch whose transaction fails, and again."""
        found = [record(item, self.offset + place) for place, item in enumerate(batch, 1)]
        self.runner.discard(self.runner.fold(found))
        return self.feed(batch)

    @property
    def outputs(self) -> dict[str, list[Output]]:
        return outputs(self.changes, self.triggers)


_WHOLE = re.compile(r"(?<=[ \[])(-?\d+)\.0(?=[,\]}])")
RANK = {"tag": 0, "entered": 1, "exited": 1}


def rank(item: Output) -> int:
    """Tags, then segments, then what is cancelled, then what is decided."""
    return RANK.get(item["kind"], 2 if item.get("reason") == "cancelled" else 3)


def moments(items: Sequence[Output]) -> list[list[Output]]:
    """Outputs by instant, each in the order of kinds; within a kind the order is not told by the language."""
    found: list[list[Output]] = []
    for item in items:
        bare = {key: value for key, value in item.items() if key not in ("id", "seq")}
        if found and found[-1][-1]["at"] == bare["at"]:
            found[-1].append(bare)
        else:
            found.append([bare])
    return found


def settled(items: Sequence[Output]) -> list[list[str]]:
    """The same, comparable; 1.0 is 1."""
    return [sorted(_WHOLE.sub(r"\1", json.dumps(item, sort_keys=True)) for item in moment) for moment in moments(items)]
