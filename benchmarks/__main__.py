"""Run the benchmarks: a table on the terminal, and benchmarks/results.json.

Every figure of rtcdp stands beside its ceiling, taken in the same round on the same broker; ratios are medians of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import (
    aggregating,
    asking,
    clickstream,
    collecting,
    delivering,
    erasing,
    folding,
    identifying,
    projecting,
    readme,
    streaming,
    timing,
)
from benchmarks.backtesting import backtest
from benchmarks.peers import BOTH, PROFILE, STATE, TXN, Keys, Peer
from benchmarks.restoring import restore
from benchmarks.streaming import Stage
from rtcdp.servers import brokers, kafka_jars

RESULTS = Path(__file__).parent / "results.json"
RATE = 500
ASKED = 1_000
PARTS = (
    "throughput", "latency", "engine", "aggregates", "rules", "identity", "state", "backtest", "restore", "memory", "timing",
    "projection", "api", "delivery", "collector", "encryption", "erasure",
)  # fmt: skip
Row = tuple[str, str, str]  # what, figure, wanted

console = Console(highlight=False, width=None if sys.stdout.isatty() else 132)


def main() -> None:
    """Run what the arguments ask for."""
    options = _options()
    if options.table:
        console.print(
            "README.md: " + ("written" if readme.write(json.loads(options.results.read_text())) else "it is so already")
        )
        return
    results: dict[str, Any] = json.loads(options.results.read_text()) if options.results.exists() else {}
    results |= {"commit": _commit(), "machine": _machine(), "at": _now()}
    rows: list[Row] = []

    def keep(part: str, found: tuple[dict[str, Any], list[Row]]) -> None:
        """Each part is written when it is there, and says at which commit it was measured."""
        results[part] = found[0]
        measured = results.setdefault("measured", {})
        measured[part] = {"commit": results["commit"], "at": _now(), "options": _plain(options)}
        rows.extend(found[1])
        options.results.write_text(json.dumps(results, indent=2, default=str) + "\n")

    for part, measure in _WITHOUT_KAFKA.items():
        if part in options.only:
            console.print(f"{part} ...", style="dim")
            keep(part, measure(options))
    if _WITH_KAFKA.keys() & set(options.only):
        with brokers.find(options.bootstrap) as broker, tempfile.TemporaryDirectory(prefix="rtcdp-bench-") as logs:
            console.print(f"Kafka: {broker.kind}, {broker.bootstrap}", style="dim")
            kept = Path(options.logs or logs)
            kept.mkdir(parents=True, exist_ok=True)
            stage = Stage(broker.bootstrap, getattr(broker, "pid", 0), kept)
            for part, run in _WITH_KAFKA.items():
                if part in options.only:
                    keep(part, run(options, stage))
    _show(rows, results)
    console.print(f"written: {options.results}", style="dim")
    if options.results == RESULTS and all(part in results for part in readme.PARTS):
        readme.write(results)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in {"results", "bootstrap", "logs", "only"}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--events", type=int, default=800_000, help="events of a throughput run")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds of everything that is compared")
    parser.add_argument("--seconds", type=float, default=20, help="length of a latency run")
    parser.add_argument("--folded", type=int, default=200_000, help="events of the runs without Kafka")
    parser.add_argument("--rules", type=int, default=10_000, help="how many rules are many")
    parser.add_argument("--profiles", type=int, default=300_000, help="profiles to restore")
    parser.add_argument("--held", type=int, default=1_000_000, help="profiles to hold in memory")
    parser.add_argument("--projected", type=int, default=200_000, help="profiles to project into Redis")
    parser.add_argument("--delivered", type=int, default=40_000, help="triggers to deliver")
    parser.add_argument("--sealed", type=int, default=400_000, help="events of a run with and without encryption")
    parser.add_argument("--bootstrap", default="", help="use this Kafka; default: one of our own")
    parser.add_argument("--logs", default="", help="keep the peers' logs in this folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write")
    parser.add_argument("--table", action="store_true", help="measure nothing: put what was measured into the README")
    parser.add_argument("--quick", action="store_true", help="a look whether everything runs: small and not to be quoted")
    options = parser.parse_args()
    if options.quick:
        options.events, options.rounds, options.seconds, options.folded = 40_000, 1, 8, 20_000
        options.rules, options.profiles, options.held = 1_000, 20_000, 50_000
        options.projected, options.delivered, options.sealed = 20_000, 5_000, 20_000
        if options.results == RESULTS:
            options.results = Path(tempfile.gettempdir()) / "rtcdp-bench-quick.json"
    return options


# ---- with Kafka ----------------------------------------------------------------------------------------------------


def _throughput(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    expected = {
        segments: streaming.reference(clickstream.events(options.events), segments)
        for segments in {STATE.segments, PROFILE.segments}
    }
    warm = min(options.events, 50_000)
    for peer in (STATE, TXN):  # the broker's own first run is slow
        streaming.throughput(stage, peer, warm, streaming.reference(clickstream.events(warm), peer.segments))
    rounds: list[dict[str, streaming.Throughput]] = []
    for number in range(options.rounds):
        found = {}
        for peer in (STATE, TXN, PROFILE, BOTH):
            found[peer.name] = run = streaming.throughput(stage, peer, options.events, expected[peer.segments])
            console.print(f"  {number + 1}: {run.peer:20} {run.events_per_s:9,.0f} events/s {run.cpu_us:6.1f} us", style="dim")
        rounds.append(found)

    def figure(peer: Peer, value: str) -> float:
        return median(getattr(one[peer.name], value) for one in rounds)

    def ratio(peer: Peer, other: Peer, value: str = "events_per_s") -> float:
        return median(getattr(one[peer.name], value) / getattr(one[other.name], value) for one in rounds)

    result = {
        "ceiling": figure(STATE, "events_per_s"),
        "ceiling_txn": figure(TXN, "events_per_s"),
        "rtcdp": figure(PROFILE, "events_per_s"),
        "both": figure(BOTH, "events_per_s"),
        "ratio": ratio(PROFILE, STATE),
        "ratio_txn": ratio(PROFILE, TXN),
        "ratio_both": ratio(BOTH, STATE),
        "cpu_ratio": ratio(PROFILE, STATE, "cpu_us"),
        "cpu_us": {peer.name: figure(peer, "cpu_us") for peer in (STATE, TXN, PROFILE, BOTH)},
        "wrong_outputs": sum(run.missing + run.extra + run.repeated for one in rounds for run in one.values()),
        "runs": [[asdict(run) for run in one.values()] for one in rounds],
    }
    rows = [
        ("profile stage", _rate(result["rtcdp"], result["cpu_us"][PROFILE.name]), ""),
        ("ceiling without transactions", _rate(result["ceiling"], result["cpu_us"][STATE.name]), ""),
        ("ceiling with transactions", _rate(result["ceiling_txn"], result["cpu_us"][TXN.name]), ""),
        ("both agents, from events", _rate(result["both"], result["cpu_us"][BOTH.name]), ""),
        ("profile stage / ceiling", f"{result['ratio']:.2f}", ">= 0.7"),
        ("profile stage / ceiling with transactions", f"{result['ratio_txn']:.2f}", ">= 0.9"),
        ("CPU per event / ceiling", f"{result['cpu_ratio']:.2f}", "<= 1.4"),
        ("both agents / ceiling", f"{result['ratio_both']:.2f}", ">= 0.4"),
        ("missing, extra and repeated outputs", f"{result['wrong_outputs']}", "0"),
    ]
    return result, rows


def _encryption(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    """The same workers with and without encryption, in turn, over the same input."""
    events = list(clickstream.events(options.sealed))
    expected = streaming.reference(events, PROFILE.segments)
    with tempfile.TemporaryDirectory(prefix="rtcdp-keys-") as folder:
        keys = Keys(Path(folder))
        pairs = [(PROFILE, keys.sealed(PROFILE)), (BOTH, keys.sealed(BOTH))]
        runs: dict[str, list[streaming.Throughput]] = {peer.name: [] for pair in pairs for peer in pair}
        rows_of = {peer.name: [peer.encode(event) for event in events] for pair in pairs for peer in pair}
        for number in range(options.rounds):
            for peer in (peer for pair in pairs for peer in pair):
                run = streaming.throughput(stage, peer, options.sealed, expected, rows=rows_of[peer.name])
                runs[peer.name].append(run)
                console.print(
                    f"  {number + 1}: {run.peer:26} {run.events_per_s:9,.0f} events/s {run.cpu_us:6.1f} us", style="dim"
                )
    result: dict[str, Any] = {
        "wrong_outputs": sum(run.missing + run.extra + run.repeated for some in runs.values() for run in some)
    }
    rows: list[Row] = []
    for role, (plain, sealed) in zip(("profile", "both"), pairs, strict=True):
        each = list(zip(runs[plain.name], runs[sealed.name], strict=True))
        result[role] = {
            "time": median(one.events_per_s / other.events_per_s for one, other in each),
            "cpu": median(other.cpu_us / one.cpu_us for one, other in each),
        }
        figures = f"{result[role]['time']:.2f} time, {result[role]['cpu']:.2f} CPU"
        rows.append(
            (f"encryption, {'profile stage' if role == 'profile' else 'both agents'}: cost per event", figures, "<= 1.3")
        )
    rows.append(("encryption: missing, extra and repeated outputs", f"{result['wrong_outputs']}", "0"))
    return result, rows


def _erasure(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    found = erasing.erasing(stage, options.sealed // 10, options.rounds)
    told = f"{found['complete_s']:.0f} s ({found['most_s']:.0f} at most)"
    return found, [("an erasure, until its receipt is complete", told, "< 60 s")]


def _latency(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    streaming.latency(stage, TXN, RATE, 5)  # the broker's first transactions are slow
    result: dict[str, Any] = {"rate": RATE}
    rows: list[Row] = []
    for shape, skewed in (("all_busy", False), ("one_hot", True)):
        rounds: list[dict[str, streaming.Latency]] = []
        for number in range(options.rounds):
            found = {}
            for peer in (TXN, PROFILE, BOTH):
                found[peer.name] = run = streaming.latency(stage, peer, RATE, options.seconds, skewed=skewed)
                told = f"{run.peer:20} p50 {run.p50_ms:6.1f} p99 {run.p99_ms:6.1f} ms, CPU {run.cpu:.0f} %"
                console.print(f"  {shape} {number + 1}: {told}", style="dim")
            rounds.append(found)
        result[shape] = _latencies(rounds)
        rows += _latency_rows(shape.replace("_", " "), result[shape])
    return result, rows


def _latencies(rounds: list[dict[str, streaming.Latency]]) -> dict[str, Any]:
    values = ("p50_ms", "p99_ms", "max_ms", "cpu", "broker_cpu")
    return {
        **{peer: {value: median(getattr(one[peer], value) for one in rounds) for value in values} for peer in rounds[0]},
        "p50_ratio": median(one[PROFILE.name].p50_ms / one[TXN.name].p50_ms for one in rounds),
        "p99_ratio": median(one[PROFILE.name].p99_ms / one[TXN.name].p99_ms for one in rounds),
        "both_more_p50_ms": median(one[BOTH.name].p50_ms - one[PROFILE.name].p50_ms for one in rounds),
        "both_more_p99_ms": median(one[BOTH.name].p99_ms - one[PROFILE.name].p99_ms for one in rounds),
        "runs": [[asdict(run) for run in one.values()] for one in rounds],
    }


def _latency_rows(shape: str, found: dict[str, Any]) -> list[Row]:
    def told(peer: Peer) -> str:
        one = found[peer.name]
        return f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f} ms, CPU {one['cpu']:.0f} % (broker {one['broker_cpu']:.0f} %)"

    return [
        (f"{shape}: ceiling with transactions, p50 / p99", told(TXN), ""),
        (f"{shape}: profile stage, p50 / p99", told(PROFILE), "CPU <= 40 %"),
        (f"{shape}: profile stage / ceiling, p50", f"{found['p50_ratio']:.2f}", "<= 1.2"),
        (f"{shape}: profile stage / ceiling, p99", f"{found['p99_ratio']:.2f}", "<= 1.5"),
        (f"{shape}: both agents, p50 / p99", told(BOTH), "CPU <= 60 %"),
        (f"{shape}: both agents, more than the profile stage, p50", f"{found['both_more_p50_ms']:.1f} ms", "<= 8 ms"),
        (f"{shape}: both agents, more than the profile stage, p99", f"{found['both_more_p99_ms']:.1f} ms", "<= 30 ms"),
    ]


def _restore(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"restoring {options.profiles:,} profiles ...", style="dim")
    found = [restore(stage, options.profiles) for _ in range(options.rounds)]
    result = {**found[0], "profiles_per_s": median(one["profiles_per_s"] for one in found), "runs": found}
    return result, [(f"restoring {options.profiles:,} profiles", f"{result['profiles_per_s']:,.0f} profiles/s", ">= 150,000")]


def _memory(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"holding {options.held:,} profiles ...", style="dim")
    result = restore(stage, options.held)
    told = f"{result['rss_mb']:,.0f} MiB, {result['bytes_per_profile']:,.0f} bytes per profile"
    return result, [(f"memory with {options.held:,} profiles, restored", told, "")]


def _timing(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"{options.held:,} exits within a minute ...", style="dim")
    result = timing.measure(stage, options.held)
    exits, minute, live, cores = result["exits"], result["minute"], result["live"], result["cores"].values()
    return result, [
        (f"exits by time alone at {timing.RATE} events/s, late by p50 / p99", _late(exits), "p99 <= 1,000 ms"),
        (f"{options.held:,} exits within a minute, late by p50 / p99", _late(minute), ""),
        ("the last of them", f"{minute['max_ms'] / 1000:.1f} s", "<= 60 s"),
        ("live events meanwhile, p50 / p99", _late(live["minute"]), "p99 <= 250 ms"),
        (f"a segment edited over {options.held:,} profiles", f"{result['reevaluated_s']:.1f} s", "<= 60 s"),
        ("live events meanwhile, p50 / p99", _late(live["edited"]), "p99 <= 250 ms"),
        ("CPU of the worker: live events alone / minute / edited", " / ".join(f"{one:.2f}" for one in cores), "cores"),
    ]


def _late(found: dict[str, float]) -> str:
    return f"{found['p50_ms']:,.0f} / {found['p99_ms']:,.0f} ms"


def _projection(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"projecting {options.projected:,} profiles ...", style="dim")
    result = projecting.project(stage.bootstrap, options.projected, options.rounds)
    return result, [
        (
            "profiles into an empty Redis",
            f"{result['views_per_s']:,.0f} views/s, {result['cpu_us']:.1f} us CPU",
            ">= 30,000, or",
        ),
        ("the same views by pipelined SET", f"{result['plain_sets_per_s']:,.0f}/s", ""),
        ("projection / pipelined SET", f"{result['ratio']:.2f}", ">= 0.5"),
    ]


def _delivery(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"delivering {options.delivered:,} triggers ...", style="dim")
    result = delivering.measure(stage.bootstrap, options.delivered, options.rounds)
    return result, [
        ("deliveries to a local receiver", f"{result['per_s']:,.0f}/s, {result['cpu_us']:.0f} us CPU", ">= 2,000"),
        ("the HTTP client alone", f"{result['client_per_s']:,.0f}/s", ""),
        ("requests made twice", f"{result['repeated']}", "0"),
    ]


def _collector(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print("collecting ...", style="dim")
    result = collecting.measure(stage.bootstrap, options.rounds, min(options.seconds, 10))
    cpu, echo, own = result["cpu_us"], result["echo_ms"], result["collector_ms"]
    return result, [
        ("echo of the same framework, one event a request", _rate(result["echo"], cpu["echo"]), ""),
        ("collector, acknowledged by Kafka", _rate(result["collector"], cpu["collector"]), ""),
        ("collector / echo", f"{result['ratio']:.2f}", ">= 0.5"),
        (f"collector, batches of {collecting.BATCH}", f"{result['batched']:,.0f} events/s", ""),
        (f"echo, p50 / p99 at {RATE} requests/s", f"{echo['p50_ms']:.1f} / {echo['p99_ms']:.1f} ms", ""),
        (f"collector, p50 / p99 at {RATE} requests/s", f"{own['p50_ms']:.1f} / {own['p99_ms']:.1f} ms", ""),
        ("acknowledged events missing in the topic", f"{result['lost']}", "0"),
    ]


def _api(options: argparse.Namespace, stage: Stage) -> tuple[dict[str, Any], list[Row]]:
    console.print(f"asking {ASKED} times a second ...", style="dim")
    result = asking.ask(stage.bootstrap, options.rounds, ASKED, min(options.seconds, 15))
    told = f"{result['p50_ms']:.1f} / {result['p99_ms']:.1f} ms"
    bare = f"{result['bare_p50_ms']:.1f} / {result['bare_p99_ms']:.1f} ms"
    return result, [
        (f"GET .../now, {ASKED} a second, p50 / p99", told, "p99 <= 10 ms, or"),
        ("a bare Redis GET through the same server", bare, ""),
        ("now / bare GET, p99", f"{result['p99_ratio']:.2f}", "<= 3"),
        ("CPU a request: now, bare GET", f"{result['cpu_us']:.0f} / {result['bare_cpu_us']:.0f} us", ""),
    ]


# ---- without Kafka -------------------------------------------------------------------------------------------------


def _aggregates(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    result = aggregating.measure(options.folded // 4, options.rounds)
    return result, [(f"{name} / a plain counter", f"{one['ratio']:.2f}", "<= 3") for name, one in result.items()]


def _engine(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    result = folding.engine(options.folded, options.rounds)
    return result, [
        ("hand-written job, decoded events", f"{result['hand_us']:.2f} us", ""),
        ("engine, same decoded events", f"{result['engine_us']:.2f} us", ""),
        ("engine / hand-written job", f"{result['ratio']:.2f}", "<= 1.0"),
        ("with decoding and encoding", f"{result['runner_us']:.2f} / {result['hand_whole_us']:.2f} us", ""),
    ]


def _rules(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    result = folding.many_rules(options.folded, options.rounds, options.rules)
    result["touched"] = touched = folding.touched_rules(options.folded // 4, options.rounds)
    return result, [
        (f"{options.rules:,} rules / 20 rules, events that touch the same", f"{result['ratio']:.2f}", "<= 1.2"),
        ("10,000 definitions read and compiled", f"{result['ready_s_per_10000']:.2f} s", "< 1 s"),
        ("200 rules touched / 10, over the same features", f"{touched['shared']['ratio']:.2f}", "<= 3"),
        ("200 rules told apart by a property / 10", f"{touched['told_apart']['ratio']:.2f}", "<= 3"),
        ("200 features updated by each event / 10", f"{touched['separate']['ratio']:.2f}", ""),
    ]


def _identity(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    found = identifying.identity(options.folded, options.rounds)
    return found, [
        ("ingesting and folding, user ids alone", f"{found['plain_us']:.1f} us", ""),
        ("30 % anonymous, later linked / user ids alone", f"{found['ratio']:.2f}", "<= 1.5"),
        ("two full profiles become one", f"{found['merge_ms']:.1f} ms ({found['merge_p95_ms']:.1f} p95)", "< 5 ms"),
    ]


def _backtest(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    result = backtest(options.folded, options.rounds)
    return result, [
        ("back-test of a log, one process", f"{result['events_per_s']:,.0f} events/s", ">= 100,000"),
        ("decoding and engine alone / back-test", f"{result['ratio']:.2f}", ">= 0.8"),
    ]


def _state(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    found = folding.state(options.folded)
    shop, job = found["shop"], found["rt_segments"]
    result = {"bytes_mean": shop["bytes_mean"], "bytes_per_write": shop["bytes_per_write"], **found}
    return result, [
        ("bytes per profile, examples/shop (p99)", f"{shop['bytes_mean']:.0f} ({shop['bytes_p99']:.0f})", "<= 600"),
        ("bytes per changelog write, examples/shop", f"{shop['bytes_per_write']:.0f}", ""),
        ("bytes per profile, RT-segments (p99)", f"{job['bytes_mean']:.0f} ({job['bytes_p99']:.0f})", ""),
    ]


Part = tuple[dict[str, Any], list[Row]]
_WITHOUT_KAFKA: dict[str, Callable[[argparse.Namespace], Part]] = {
    "engine": _engine,
    "aggregates": _aggregates,
    "rules": _rules,
    "identity": _identity,
    "state": _state,
    "backtest": _backtest,
}
_WITH_KAFKA: dict[str, Callable[[argparse.Namespace, Stage], Part]] = {
    "throughput": _throughput,
    "latency": _latency,
    "restore": _restore,
    "memory": _memory,
    "timing": _timing,
    "projection": _projection,
    "api": _api,
    "delivery": _delivery,
    "collector": _collector,
    "encryption": _encryption,
    "erasure": _erasure,
}


# ---- telling -------------------------------------------------------------------------------------------------------


def _rate(events_per_s: float, cpu_us: float) -> str:
    return f"{events_per_s:,.0f} events/s, {cpu_us:.1f} us CPU"


def _show(rows: Iterable[Row], results: dict[str, Any]) -> None:
    machine = results["machine"]
    table = Table(
        title=f"rtcdp {results['commit']}", caption=f"{machine['cpu']}, {machine['cores']} cores, Kafka {machine['kafka']}"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("wanted", justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", ":!results.json")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists():
        names = [line.partition(":")[2].strip() for line in known.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": kafka_jars.kafka_version(),
    }


if __name__ == "__main__":
    main()
