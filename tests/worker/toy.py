"""A toy fold and a worker process over it: counts records per key, so that a record lost or folded twice shows.

python toy.py BOOTSTRAP APP [INSTANCE]
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

from rtcdp import position as positions
from rtcdp.position import Position


@dataclass
class ToyFold:
    changes: list[tuple[bytes, bytes]] = field(default_factory=list)
    triggers: list[tuple[bytes, bytes]] = field(default_factory=list)
    letters: list[tuple[bytes, bytes]] = field(default_factory=list)
    appends: list[tuple[int | None, bytes, bytes]] = field(default_factory=list)
    state: dict[bytes, bytes | None] = field(default_factory=dict)
    position: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    appended: list[int] = field(default_factory=list)
    erased: list[bytes] = field(default_factory=list)
    offset: int = -1


class ToyRunner:
    """The state of a key is how many records it had; every record makes one change `key -> count`."""

    def __init__(self, partition: int, state: MutableMapping[bytes, bytes], position: Position) -> None:
        self.partition = partition
        self.state = state
        self.position = position
        self.work = int(os.environ.get("TOY_WORK", "0"))

    def fold(self, records: Sequence[tuple[int, bytes | None, bytes | None]]) -> ToyFold:
        fold, touched, state = ToyFold(), {}, self.state
        for _offset, key, _value in records:
            if key is None or key.startswith(b"~"):
                continue
            count = touched.get(key)
            if count is None:
                count = int(state.get(key, b"0"))
            touched[key] = count + 1
            fold.changes.append((key, b"%d" % (count + 1)))
            for _ in range(self.work):
                json.loads('{"a": 1}')
        fold.offset = records[-1][0] if records else self.position.offset
        fold.state = {key: b"%d" % count for key, count in touched.items()}
        fold.position = positions.encode(
            Position(topic_id=self.position.topic_id, offset=fold.offset, switches=self.position.switches)
        )
        return fold

    def ahead(self, records: Sequence[tuple[int, bytes | None, bytes | None]]) -> None:
        """Nothing takes long."""

    def adopt(self, fold: ToyFold) -> None:
        self.state.update({key: value for key, value in fold.state.items() if value is not None})
        self.position.offset = fold.offset

    def discard(self, fold: ToyFold) -> None:
        pass

    def next_tick(self, watermark: int, wakes: int) -> bytes | None:
        return None

    def tick_after(self, fold: ToyFold, watermark: int, wakes: int) -> bytes | None:
        return None

    def order(self) -> Iterator[None]:
        return iter(())

    def rebuild_timers(self) -> None:
        pass


def main(bootstrap: str, app: str, instance: str = "") -> None:
    import faust
    from protections import dwell, switch_off  # beside this program

    from rtcdp.settings.config import Settings
    from rtcdp.worker.app import build

    switch_off()
    dwell(float(os.environ.get("TOY_DWELL", "0")))

    settings = Settings.load(
        {
            "bootstrap": bootstrap,
            "app": app,
            "agents": "profile",
            "instance": instance,
            "profile_events": f"{app}-log",
            "profile_changes": f"{app}-changes",
            "triggers": f"{app}-triggers",
            "events_dlq": f"{app}-dlq",
            "state_dir": os.environ["TOY_DIR"],
        }
    )
    worker = build(settings, topic_ids={f"{app}-log": os.environ.get("TOY_TOPIC_ID", "id")}, new_runner=ToyRunner)
    faust.Worker(worker.app, loglevel="INFO", logfile=None, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
