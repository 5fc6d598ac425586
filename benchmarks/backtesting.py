"""The back-test over a log, beside the engine alone and the decoding of the same records."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from benchmarks import clickstream, folding
from benchmarks.peers import DEFINITIONS
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load
from rtcdp.simulate.measuring import measure


def backtest(count: int, rounds: int) -> dict[str, Any]:
    """Microseconds of processor time per event, alternating, and the median ratio to engine and decoding together."""
    definitions = load(DEFINITIONS)
    compiled = compile_definitions(definitions)
    rows = [clickstream.as_log(event) for event in clickstream.events(count)]
    found: dict[str, list[float]] = {"decode": [], "engine": [], "backtest": []}
    for _ in range(rounds):
        began = time.process_time()
        decoded = [(key.decode(), compiled.decode(value)) for key, value in rows]
        found["decode"].append(time.process_time() - began)
        found["engine"].append(folding.by_engine(compiled, decoded)[0])
        found["backtest"].append(measure(compiled, rows).seconds)
    result: dict[str, Any] = {f"{name}_us": median(seconds) / count * 1e6 for name, seconds in found.items()}
    result["events_per_s"] = 1e6 / result["backtest_us"]
    result["ratio"] = median((d + e) / b for d, e, b in zip(found["decode"], found["engine"], found["backtest"], strict=True))
    return result
