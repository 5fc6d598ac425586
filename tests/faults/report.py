"""The report: a table to read, data to keep, and the table in the page about it."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults.stage import BAD, FAULTS, Result
from rtcdp.servers.kafka_jars import kafka_version

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reliability.json"


@dataclass(frozen=True)
class Demand:
    """What a full run has to come to, or it has not tried hard enough.

    what:  in words; count: the field of a row that is summed, over the rows from `first` to `last`; least: to reach.
    """

    what: str
    count: str
    first: int
    last: int
    least: int

    def met_by(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """How far these rows come."""
        count = sum(row[self.count] for row in rows if self.first <= row["row"] <= self.last)
        return {"what": self.what, "rows": f"{self.first}-{self.last}", "count": count, "least": self.least}


DEMANDS = (
    Demand("faults", "faults", 1, 8, 1_000),
    Demand("crashes at named fail points, each with a restart at once", "crashes_at_points", 1, 8, 700),
    Demand("kills within an open transaction", "kills_in_transaction", 1, 8, 200),
    Demand("faults of the whole group", "group_faults", 3, 7, 50),
)


def told(found: dict[str, Any]) -> str:
    """The demands on a report as lines."""
    lines = (f"{one['what']} in rows {one['rows']}: {one['count']:,} (at least {one['least']:,})" for one in found["demands"])
    return "\n".join(lines)


COLUMNS = ("row", "name", "events", "faults", "at points", "in txn", "group", *BAD, "gap s", "caught up s", "control", "s")


def table(results: list[Result]) -> str:
    """The report as text."""
    lines = [COLUMNS]
    for one in results:
        control = "none" if one.control_red is None else "red" if one.control_red else "NOT RED"
        bad = [getattr(one, name) for name in BAD]
        counts = (
            one.events,
            *(getattr(one, name) for name in FAULTS),
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
    rows = [{**about, **dict.fromkeys(FAULTS, 0), **row} for row in found["rows"]]  # earlier releases counted fewer kinds
    return [{**row, "commit": in_history(row["commit"])} for row in rows]


def git(*words: str) -> str:
    """What git says; nothing where it cannot say it."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def in_history(commit: str) -> str:
    """That commit, or where it was played before it was put on top of others: the last one of this history that was in it."""
    base = git("merge-base", "HEAD", commit)
    return git("rev-parse", "--short", base) if base else commit


def report(results: list[Result], share: float, kept: list[dict[str, Any]]) -> dict[str, Any]:
    """The report as data. share: how much was played of each row; kept: rows of an earlier report."""
    now = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": git("rev-parse", "--short", "HEAD")}
    played = {one.row: {**now, "share": share, **one.as_json()} for one in results}
    rows = sorted([*played.values(), *(row for row in kept if row["row"] not in played)], key=lambda row: row["row"])
    sums = {name: sum(row[name] for row in rows) for name in ("events", *FAULTS, *BAD)}
    return {
        **now,
        "kafka": f"Apache Kafka {kafka_version()}, one node",
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "total": sums,
        "demands": [one.met_by(rows) for one in DEMANDS],
        "rows": rows,
    }


def keep(path: Path, found: dict[str, Any]) -> None:
    """Write a report to a file."""
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


MARKS = ("<!-- table: begin -->", "<!-- table: end -->")


def show(found: dict[str, Any]) -> None:
    """Write the report's table into the page about it."""
    page = REPORT.with_suffix(".md")
    head = (
        "row",
        "what",
        "events",
        "faults",
        "at fail points",
        "in a transaction",
        "of the group",
        *(name.replace("_", " ") for name in BAD),
        "gap s",
        "control",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        control = "none" if row["control_red"] is None else "red" if row["control_red"] else "**not red**"
        name = row["name"] + ("" if row["passed"] else " (**failed**)")
        counts = (row["events"], *(row[name] for name in FAULTS), *(row[name] for name in BAD), row["worst_gap_s"])
        lines.append(f"| {row['row']} | {name} | {' | '.join(map(str, counts))} | {control} |")
    total = found["total"]
    sums = (total["events"], *(total[name] for name in FAULTS), *(total[name] for name in BAD))
    lines.append(f"| | all | {' | '.join(map(str, sums))} | | |")
    notes = [f"* {line}." for line in told(found).splitlines()]
    notes += [f"* Row {row['row']}: {row['note'].strip(' ;')}." for row in found["rows"] if row["note"]]
    about = f"{found['kafka']}; {found['machine']}; {found['at']}. Each row's commit, seed and share are in the JSON."
    before, rest = page.read_text("utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text("\n".join([before + MARKS[0], about, "", *lines, "", *notes, MARKS[1]]) + after, "utf-8")
