"""The README's table of figures, made from benchmarks/results.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import BOTH, PROFILE, STATE, TXN, Peer

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- numbers: begin (from benchmarks/results.json) -->\n"
END = "<!-- numbers: end -->"
PARTS = ("throughput", "latency", "engine", "rules", "state", "restore", "memory")
"""What has to be measured for the table; other parts are added where they are."""

Results = Mapping[str, Any]


def table(results: Results) -> str:
    """The table as Markdown, each line ending in a line feed. results: what `python -m benchmarks` wrote, all parts."""
    rows = [*_throughput(results["throughput"]), *_latency(results["latency"]), *_alone(results)]
    return "".join(f"| {what} | {measured} |\n" for what, measured in (("what", "measured"), ("---", "---"), *rows)).replace(
        "| --- | --- |", "|---|---|"
    )


def spread(results: Results) -> str:
    """How far the rounds behind the medians differ, in a sentence."""
    rounds = [{run["peer"]: run["p50_ms"] for run in one} for one in results["latency"]["all_busy"]["runs"]]
    told = []
    for name, peer in (("the ceiling", TXN), ("the profile agent", PROFILE)):
        values = [one[peer.name] for one in rounds]
        told.append(f"{name} {min(values):.0f} to {max(values):.0f} ms")
    times = len(results["restore"]["runs"])
    restored = "once" if times == 1 else f"{times} times"
    busy = f"p50 with all partitions busy: {told[0]}, {told[1]}"
    return f"The rounds of latency differ widely\n({busy}); restoring was measured {restored}, memory once."


def write(results: Results, path: Path = README) -> bool:
    """Put the table and the spread into a README; False where they stood there already."""
    text = path.read_text("utf-8")
    new = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + table(results) + END, text, flags=re.DOTALL)
    new = re.sub(r"(?<=<!-- spread -->).*?(?=<!-- /spread -->)", lambda _: spread(results), new, flags=re.DOTALL)
    if new == text:
        return False
    path.write_text(new, "utf-8")
    return True


def _throughput(found: Results) -> list[tuple[str, str]]:
    def rate(value: str, peer: Peer) -> tuple[str, str]:
        return f"{found[value] / 1000:.0f} k events/s", f"{found['cpu_us'][peer.name]:.0f} us"

    ceiling, transactions = rate("ceiling", STATE), rate("ceiling_txn", TXN)
    profile, both, one = rate("rtcdp", PROFILE), rate("both", BOTH), "the one with transactions"
    return [
        (
            "ceiling: a plain librdkafka loop, hand-written job, outputs and changelog",
            f"{ceiling[0]}, {ceiling[1]} of CPU an event",
        ),
        ("the same with a transaction per batch and partition", f"{transactions[0]}, {transactions[1]}"),
        (
            "**profile agent**, exactly once (20 segments)",
            f"**{profile[0]}**, {profile[1]}: {found['ratio']:.2f} of the ceiling, {found['ratio_txn']:.2f} of {one}",
        ),
        (
            "both agents in one process, from raw events",
            f"{both[0]}, {both[1]}: {found['ratio_both']:.2f} of the ceiling",
        ),
        ("missing, extra or repeated outputs in all of these runs", f"{found['wrong_outputs']}"),
    ]


def _latency(found: Results) -> list[tuple[str, str]]:
    rows = []
    begins = {
        "all_busy": f"latency p50 / p99 at {found['rate']} events/s, all partitions busy: ceiling with transactions",
        "one_hot": "the same, one hot partition and the rest idle: ceiling with transactions",
    }
    for shape, begin in begins.items():
        one = found[shape]

        def told(peer: Peer, of: Results = one) -> str:
            values = of[peer.name]
            return f"{values['p50_ms']:.0f} / {values['p99_ms']:.0f} ms, {values['cpu']:.0f} % of a core"

        rows += [
            (begin, told(TXN)),
            ("**profile agent**", told(PROFILE)),
            (
                "profile agent beside that ceiling, pair by pair, p50 / p99",
                f"{one['p50_ratio']:.2f}x / {one['p99_ratio']:.2f}x",
            ),
            ("both agents", told(BOTH)),
        ]
    return rows


def _alone(results: Results) -> list[tuple[str, str]]:
    state, memory, restore = results["state"], results["memory"], results["restore"]
    hand = "the hand-written job (which knows no message ids and no time of its own)"
    rows = [
        (f"engine alone, generated functions, beside {hand}", f"{results['engine']['ratio']:.2f}x"),
        (
            f"{results['rules']['rules']:,} rules beside 20, for an event that touches the same ones",
            f"{results['rules']['ratio']:.2f}x",
        ),
        (f"restoring {restore['profiles']:,} profiles", f"{restore['profiles_per_s'] / 1000:.0f} k profiles/s"),
        (
            "a profile of `examples/shop`, mean; a changelog write",
            f"{state['bytes_mean']:.0f} bytes; {state['bytes_per_write']:.0f} bytes",
        ),
        (
            f"memory of a worker with {memory['profiles']:,} restored profiles",
            f"{memory['rss_mb']:.0f} MiB, {memory['bytes_per_profile']:.0f} bytes a profile",
        ),
    ]
    return [*rows, *_timing(results), *_around(results)]


def _timing(results: Results) -> list[tuple[str, str]]:
    if "timing" not in results:
        return []
    found = results["timing"]
    exits, minute, live, many = found["exits"], found["minute"], found["live"], f"{found['profiles']:,}"
    return [
        (
            f"exits by time alone at {found['rate']} events/s, late by p50 / p99",
            f"{exits['p50_ms'] / 1000:.1f} / {exits['p99_ms'] / 1000:.1f} s",
        ),
        (
            f"{many} profiles that leave a segment within one minute: the last is late by; live events meanwhile, p99",
            f"{minute['max_ms'] / 1000:.1f} s; {live['minute']['p99_ms']:.0f} ms",
        ),
        (
            f"a segment edited over {many} profiles; live events meanwhile, p99",
            f"{found['reevaluated_s']:.0f} s; {live['edited']['p99_ms']:.0f} ms",
        ),
    ]


def _around(results: Results) -> list[tuple[str, str]]:
    """What surrounds the stream, where it was measured."""
    rows = []
    if found := results.get("backtest"):
        rows.append(("a back-test in one process", f"{found['events_per_s'] / 1000:.0f} k events/s"))
    if found := results.get("collector"):
        told = f"{found['collector'] / 1000:.1f} k/s, {found['ratio']:.2f} of a bare echo"
        rows.append(("events taken over HTTP, one a request, acknowledged by Kafka", told))
    if found := results.get("api"):
        told = f"{found['p50_ms']:.1f} / {found['p99_ms']:.1f} ms, {found['p99_ratio']:.1f}x of a bare Redis GET"
        rows.append((f"`GET .../now` at {found['rate']:,} requests/s, p50 / p99", told))
    if found := results.get("delivery"):
        rows.append(("deliveries to a local webhook", f"{found['per_s'] / 1000:.1f} k/s"))
    if found := results.get("projection"):
        told = f"{found['views_per_s'] / 1000:.0f} k views/s, {found['ratio']:.2f} of plain pipelined SETs"
        rows.append(("profiles projected into an empty Redis", told))
    return rows
