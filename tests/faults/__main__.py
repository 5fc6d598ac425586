"""The fault suite: every row on a real Apache Kafka, a table at the end, and `docs/reliability.json` where it was complete.

    python -m faults                       every row in full
    python -m faults --rows 1,4 --share 0.1    a tenth of two rows; nothing is written
    python -m faults --merge a.json b.json     the report from those of runs that were played apart
    python -m faults --rows 16 --json docs/reliability.json    one row played again, the others of the report kept
    python -m faults --release             at a release: state as this version writes it, kept for row 14 of all later ones

Exit code 0 where every row passed, every control was red and a full run had as many faults as it must, else 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faults import broker, consent, crashes, data, identities, neighbours, sealed, serving, soak, state, takeover, throughput
from faults.report import REPORT, keep, report, show, table, told, written
from faults.stage import Result, Stage, timed
from rtcdp.servers.brokers import find

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
    27: serving.row27,
}


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
    folder.mkdir(parents=True, exist_ok=True)
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
                    keep(place, report(results, arguments.share, kept))
        stage.close()
    print("\n" + table(results))
    return finished(results, arguments, kept, path)


def finished(results: list[Result], arguments: argparse.Namespace, kept: list[dict[str, Any]], path: Path | None) -> int:
    """Write the report, and the page's table; the exit code."""
    found = report(results, arguments.share, kept)
    if path is not None:
        keep(path, found)
        print(f"written: {path}")
        if path.resolve() == REPORT:
            show(found)
    print(told(found))
    complete = all(number in {row["row"] for row in found["rows"]} for number in ROWS)
    enough = not complete or arguments.share < 1 or all(one["count"] >= one["least"] for one in found["demands"])
    return 0 if enough and all(row["passed"] for row in found["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
