"""The fault suite: every row on a real Apache Kafka, a table at the end, and `docs/reliability.json` where it was complete.

    python -m faults                       every row in full
    python -m faults --rows 1,4 --share 0.1    a tenth of two rows; nothing is written
    python -m faults --merge a.json b.json     the report from those of runs that were played apart
    python -m faults --rows 16 --json docs/reliability.json    one row played again, the others of the report kept
    python -m faults --release             at a release: state as this version writes it, kept for row 14 of all later ones

Exit code 0 where every row passed and every control was red, else 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faults import broker, consent, crashes, data, identities, neighbours, sealed, soak, state, takeover, throughput
from faults.stage import BAD, Result, Stage, timed
from rtcdp.servers.brokers import find
from rtcdp.servers.kafka_jars import kafka_version

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reliability.json"
ROWS: Mapping[int, Callable[[Stage], Result]] = {
    1: crashes.row1,
    2: crashes.row2,
    3: crashes.row3,
    4: crashes.row4,
    5: broker.row5,
    6: broker.row6,
    7: broker.row7,
    8: data.row8,
    9: data.row9,
    10: data.row10,
    11: data.row11,
    12: state.row12,
    13: state.row13,
    14: state.row14,
    15: state.row15,
    16: soak.row16,
    17: state.row17,
    18: soak.row18,
    19: takeover.row19,
    20: crashes.row20,
    21: identities.row21,
    22: consent.row22,
    23: sealed.row23,
    24: throughput.row24,
    25: neighbours.row25,
    26: neighbours.row26,
}
COLUMNS = ("row", "name", "events", "faults", "in txn", *BAD, "gap s", "caught up s", "control", "s")


def table(results: list[Result]) -> str:
    """The report as text."""
    lines = [COLUMNS]
    for one in results:
        control = "none" if one.control_red is None else "red" if one.control_red else "NOT RED"
        bad = [getattr(one, name) for name in BAD]
        counts = (
            one.events,
            one.faults,
            one.kills_in_transaction,
            *bad,
            one.worst_gap_s,
            one.caught_up_s,
            control,
            one.seconds,
        )
        lines.append((one.row, one.name + ("" if one.passed else " (FAILED)"), *counts))
    texts = [[str(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in texts)


def written(path: Path) -> list[dict[str, Any]]:
    """The rows of a report that is there already: those not played now are kept, each with the commit it was played at."""
    if not path.exists():
        return []
    found = json.loads(path.read_text("utf-8"))
    about = {name: found[name] for name in ("at", "commit", "share") if name in found}
    rows = [{**about, **row} for row in found["rows"]]
    return [{**row, "commit": in_history(row["commit"])} for row in rows]


def git(*words: str) -> str:
    """What git says; nothing where it cannot say it."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def in_history(commit: str) -> str:
    """That commit, or where it was played before it was put on top of others: the last one of this history that was in it."""
    base = git("merge-base", "HEAD", commit)
    return git("rev-parse", "--short", base) if base else commit


def report(results: list[Result], arguments: argparse.Namespace, kept: list[dict[str, Any]]) -> dict[str, Any]:
    """The report as data. kept: rows of an earlier one."""
    now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": git("rev-parse", "--short", "HEAD")}
    played = {one.row: {**now, "share": arguments.share, **one.as_json()} for one in results}
    rows = sorted([*played.values(), *(row for row in kept if row["row"] not in played)], key=lambda row: row["row"])
    sums = {name: sum(row[name] for row in rows) for name in ("events", "faults", "kills_in_transaction", *BAD)}
    return {
        **now,
        "kafka": f"Apache Kafka {kafka_version()}, one node",
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "seed": arguments.seed,
        "total": sums,
        "rows": rows,
    }


MARKS = ("<!-- table: begin -->", "<!-- table: end -->")


def show(found: dict[str, Any]) -> None:
    """Write the report's table into the page about it."""
    page = REPORT.with_suffix(".md")
    head = (
        "row",
        "what",
        "events",
        "faults",
        "in a transaction",
        *(name.replace("_", " ") for name in BAD),
        "gap s",
        "control",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        control = "none" if row["control_red"] is None else "red" if row["control_red"] else "**not red**"
        name = row["name"] + ("" if row["passed"] else " (**failed**)")
        counts = (row["events"], row["faults"], row["kills_in_transaction"], *(row[name] for name in BAD), row["worst_gap_s"])
        lines.append(f"| {row['row']} | {name} | {' | '.join(map(str, counts))} | {control} |")
    total = found["total"]
    sums = (total["events"], total["faults"], total["kills_in_transaction"], *(total[name] for name in BAD))
    lines.append(f"| | all | {' | '.join(map(str, sums))} | | |")
    notes = [f"* Row {row['row']}: {row['note'].strip(' ;')}." for row in found["rows"] if row["note"]]
    about = f"{found['kafka']}; {found['machine']}; {found['at']}. Each row's commit, seed and share are in the JSON."
    before, rest = page.read_text("utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text("\n".join([before + MARKS[0], about, "", *lines, "", *notes, MARKS[1]]) + after, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Plays the fault suite on a real Kafka.")
    parser.add_argument("--rows", default="", help="row numbers, comma-separated; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="how much of each row, 0 to 1")
    parser.add_argument("--jobs", type=int, default=1, help="rows played beside each other")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="after so many, no further row and no further crash is begun"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where logs, seeds and histories are kept")
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="+",
        default=[],
        help="reports of other runs: their rows are kept; without --rows nothing is played",
    )
    parser.add_argument("--release", action="store_true", help=f"write this version's state to {state.VERSIONS.name}/")
    parser.add_argument("--json", type=Path, help=f"where to write the report; default: {REPORT.name} for a run of all rows")
    arguments = parser.parse_args()
    wanted = [int(number) for number in arguments.rows.split(",") if number] or list(ROWS)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="rtcdp-faults-"))
    print(f"histories: {folder}", flush=True)
    results: list[Result] = []
    path = arguments.json or (REPORT if not arguments.rows and arguments.share >= 1 else None)
    if arguments.merge and path is None:
        path = REPORT
    reports = [*filter(None, [path]), *arguments.merge]
    kept = list({row["row"]: row for one in reports for row in written(one)}.values())
    if arguments.merge and not arguments.rows:
        return finished([], arguments, kept, path)
    with find() as kafka:
        stage = Stage(kafka.bootstrap, folder, arguments.seed, arguments.share, arguments.minutes)
        if arguments.release:
            print(state.make(stage, state.VERSIONS / f"{version('rtcdp')}.rtcdp"))
            stage.close()
            return 0
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for future in as_completed([pool.submit(timed, ROWS[number], stage) for number in wanted]):
                result = future.result()
                results.append(result)
                print(table([result]), *result.failures, sep="\n", flush=True)
                results.sort(key=lambda one: one.row)
                for place in filter(None, (folder / "results.json", path)):
                    place.write_text(json.dumps(report(results, arguments, kept), indent=1, ensure_ascii=False) + "\n", "utf-8")
        stage.close()
    print("\n" + table(results))
    return finished(results, arguments, kept, path)


def finished(results: list[Result], arguments: argparse.Namespace, kept: list[dict[str, Any]], path: Path | None) -> int:
    """Write the report, and the page's table; the exit code."""
    found = report(results, arguments, kept)
    if path is not None:
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"written: {path}")
        if path.resolve() == REPORT:
            show(found)
    return 0 if all(row["passed"] for row in found["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
