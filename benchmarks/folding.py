"""The engine without Kafka: beside the hand-written job, with many rules, and what a profile costs in bytes."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import orjson

from benchmarks import clickstream, job
from benchmarks.peers import DEFINITIONS
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.folding.runner import PartitionRunner
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.position import Position, SwitchPoint
from rtcdp.profile import Profile
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.simulate.shop import Shop

BATCH = 1_000
SHOP = Path(__file__).parents[1] / "examples" / "shop"
DRAIN = 500


def by_hand(events: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """CPU seconds of the hand-written job over decoded events, and how many changes it found."""
    states: dict[str, dict[str, Any]] = {}
    changes: list[dict[str, Any]] = []
    process = job.process
    with quiet():
        began = time.process_time()
        for event in events:
            state = states.get(event["user_id"])
            if state is None:
                state = states[event["user_id"]] = job.new()
            changes.extend(process(state, event))
        return time.process_time() - began, len(changes)


def by_engine(compiled: Compiled, events: Sequence[tuple[str, Any]], *, generated: bool = True) -> tuple[float, int]:
    """CPU seconds of the engine over the same events, decoded, and how many changes it found."""
    profiles: dict[str, Profile] = {}
    outbox = Outbox("v")
    applies = Engine(compiled, generated=generated).applies
    with quiet():
        began = time.process_time()
        for key, event in events:
            profile = profiles.get(key)
            if profile is None:
                profile = profiles[key] = Profile(key)
            applies[event.event](profile, event, outbox)
        return time.process_time() - began, len(outbox.items)


def by_hand_whole(rows: Sequence[clickstream.Row]) -> float:
    """CPU seconds of decoding, the hand-written job and encoding outputs and the states touched by each batch."""
    states: dict[bytes, dict[str, Any]] = {}
    dumps, loads, process = orjson.dumps, orjson.loads, job.process
    with quiet():
        began = time.process_time()
        for start in range(0, len(rows), BATCH):
            touched: dict[bytes, dict[str, Any]] = {}
            for key, value in rows[start : start + BATCH]:
                state = states.get(key)
                if state is None:
                    state = states[key] = job.new()
                for change in process(state, loads(value)):
                    dumps(change)
                touched[key] = state
            for state in touched.values():
                dumps(state)
        return time.process_time() - began


def by_runner(definitions: Definitions, rows: Sequence[clickstream.Row]) -> float:
    """CPU seconds of the same through a partition's runner."""
    runner = new_runner(definitions)
    batches = [
        [(start + place, *row) for place, row in enumerate(rows[start : start + BATCH])] for start in range(0, len(rows), BATCH)
    ]
    with quiet():
        began = time.process_time()
        for batch in batches:
            runner.adopt(runner.fold(batch))
        return time.process_time() - began


def new_runner(definitions: Definitions) -> PartitionRunner:
    """A partition nobody has written to."""
    position = Position(switches=[SwitchPoint(0, definitions.version, 0)])
    return PartitionRunner(0, {}, position, {definitions.version: compile_definitions(definitions)})


def engine(count: int, rounds: int) -> dict[str, Any]:
    """Microseconds per event of both, alternating, and the medians of their ratios."""
    definitions = load(DEFINITIONS)
    compiled = compile_definitions(definitions)
    raw = list(clickstream.events(count))
    logged = [clickstream.as_log(event) for event in raw]
    decoded = [(key.decode(), compiled.decode(value)) for key, value in logged]
    rows = [clickstream.as_job(event) for event in raw]
    found: dict[str, list[float]] = {"hand": [], "engine": [], "readable": [], "hand_whole": [], "runner": []}
    for _ in range(rounds):
        found["hand"].append(by_hand(raw)[0])
        found["engine"].append(by_engine(compiled, decoded)[0])
        found["readable"].append(by_engine(compiled, decoded, generated=False)[0])
        found["hand_whole"].append(by_hand_whole(rows))
        found["runner"].append(by_runner(definitions, logged))
    result: dict[str, Any] = {f"{name}_us": median(seconds) / count * 1e6 for name, seconds in found.items()}
    result["ratio"] = median(e / h for e, h in zip(found["engine"], found["hand"], strict=True))
    result["readable_ratio"] = median(e / h for e, h in zip(found["readable"], found["hand"], strict=True))
    result["whole_ratio"] = median(r / h for r, h in zip(found["runner"], found["hand_whole"], strict=True))
    return result


def many_rules(count: int, rounds: int, rules: int) -> dict[str, Any]:
    """The engine with `rules` defined, of which an event touches the same as with 20."""
    with tempfile.TemporaryDirectory() as folder:
        few, written = load(DEFINITIONS), _with_more(Path(folder), rules)
        began = time.process_time()
        many = load(written)
        loaded_s = time.process_time() - began
    compiled_many = compile_definitions(many)
    compiled_s = time.process_time() - began - loaded_s
    definitions = len(many.segments) + len(many.features)
    found: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(rounds):
        for name, compiled in (("few", compile_definitions(few)), ("many", compiled_many)):
            events = [
                (key.decode(), compiled.decode(value)) for key, value in map(clickstream.as_log, clickstream.events(count))
            ]
            found[name].append(by_engine(compiled, events)[0])
    return {
        "rules": len(many.segments),
        "definitions": definitions,
        "load_s": loaded_s,
        "compile_s": compiled_s,
        "ready_s_per_10000": (loaded_s + compiled_s) / definitions * 10_000,
        "few_us": median(found["few"]) / count * 1e6,
        "many_us": median(found["many"]) / count * 1e6,
        "ratio": median(m / f for m, f in zip(found["many"], found["few"], strict=True)),
    }


def touched_rules(count: int, rounds: int) -> dict[str, Any]:
    """What it costs that an event touches 200 rules and not 10.

    shared:    rules that compare the same ten features with constants of their own.
    told_apart: rules over features that count events of one category each: an event concerns those of its own alone.
    separate:  rules over a feature each, which every event updates.
    """
    found: dict[str, Any] = {}
    for name, write in _TOUCHED.items():
        made = {rules: _compiled(*write(rules)) for rules in (10, 200)}
        logged = [clickstream.as_log(event) for event in clickstream.events(count)]
        seconds: dict[int, list[float]] = {10: [], 200: []}
        for _ in range(rounds):
            for rules, compiled in made.items():
                events = [(key.decode(), compiled.decode(value)) for key, value in logged]
                seconds[rules].append(by_engine(compiled, events)[0])
        found[name] = {
            "few_us": median(seconds[10]) / count * 1e6,
            "many_us": median(seconds[200]) / count * 1e6,
            "ratio": median(many / few for few, many in zip(*seconds.values(), strict=True)),
        }
    return found


def _compiled(features: dict[str, Any], segments: dict[str, str]) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all.yaml").write_text(json.dumps({"features": features, "segments": segments}))
        return compile_definitions(load(Path(folder)))


def _shared(rules: int) -> tuple[dict[str, Any], dict[str, str]]:
    features = {f"f{place}": {"count": "*", "within": f"{place + 1}d"} for place in range(10)}
    return features, {f"s{place}": f"f{place % 10} >= {place // 10 + 1}" for place in range(rules)}


def _told_apart(rules: int) -> tuple[dict[str, Any], dict[str, str]]:
    kinds = clickstream.CATEGORIES
    where = [f"properties.category == '{kinds[place] if place < len(kinds) else place}'" for place in range(rules)]
    features = {f"f{place}": {"count": "*", "within": "7d", "where": text} for place, text in enumerate(where)}
    return features, {f"s{place}": f"f{place} >= {place % 7 + 1}" for place in range(rules)}


def _separate(rules: int) -> tuple[dict[str, Any], dict[str, str]]:
    features = {f"f{place}": {"count": "*", "within": f"{place + 1}h"} for place in range(rules)}
    return features, {f"s{place}": f"f{place} >= {place % 7 + 1}" for place in range(rules)}


_TOUCHED = {"shared": _shared, "told_apart": _told_apart, "separate": _separate}


def _with_more(folder: Path, rules: int) -> Path:
    """The RT-segments folder with segments over other events, up to `rules` in all."""
    shutil.copytree(DEFINITIONS, folder, dirs_exist_ok=True)
    more = rules - len(job.SEGMENTS)
    features = "".join(f"  other_{place}: {{count: Other {place}, within: {place % 90 + 1}d}}\n" for place in range(more))
    segments = "".join(f"  others_{place}: other_{place} >= {place % 7 + 1}\n" for place in range(more))
    (folder / "more.yaml").write_text(f"features:\n{features}segments:\n{segments}")
    return folder


def state(count: int) -> dict[str, Any]:
    """Bytes per profile and per changelog write, of the RT-segments job and of examples/shop."""
    found = {"rt_segments": _sizes(load(DEFINITIONS), map(clickstream.as_log, clickstream.events(count)))}
    definitions = load(SHOP)
    found["shop"] = _sizes(definitions, ingested(definitions, count))
    return found


def ingested(definitions: Definitions, count: int) -> Iterable[clickstream.Row]:
    """Records of the log that `count` raw records of the shop become."""
    ingestor = Ingestor(definitions.tracking, definitions.identity, Source("bench", time="event"))
    shop = Shop()
    for offset, (_, value) in enumerate(shop.records(count)):
        result = ingestor.ingest(value, "bench/0", offset, shop.now)
        if isinstance(result, Accepted):
            yield result.key, result.value


def _sizes(definitions: Definitions, rows: Iterable[clickstream.Row]) -> dict[str, Any]:
    runner = new_runner(definitions)
    written: list[int] = []
    batch: list[tuple[int, bytes, bytes]] = []
    folded = 0
    for offset, (key, value) in enumerate(rows):
        folded = offset + 1
        batch.append((offset, key, value))
        if len(batch) == DRAIN:
            written += _write(runner, batch)
            batch.clear()
    written += _write(runner, batch)
    held = [len(value) for value in runner.state.values()]
    return {
        "events": folded,
        "profiles": len(held),
        "bytes_mean": mean(held),
        "bytes_p99": quantiles(held, n=100)[98],
        "bytes_per_write": mean(written),
        "writes_per_event": len(written) / folded,
    }


def _write(runner: PartitionRunner, batch: list[tuple[int, bytes, bytes]]) -> list[int]:
    fold = runner.fold(batch)
    runner.adopt(fold)
    return [len(value) for value in fold.state.values() if value is not None]


@contextmanager
def quiet() -> Any:
    """Leave what was made before out of the garbage collector's sight while something is measured."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
