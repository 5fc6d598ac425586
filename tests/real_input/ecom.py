"""The public e-commerce clickstream of the PyPI package `retentioneering`, and what its segments should be.

`expected_changes` recomputes the memberships of examples/ecom from the rows with plain loops. It shares no code with
the engine: it keeps every event of a user, and asks at every instant at which a window or a `since` can turn.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import files
from pathlib import Path
from typing import NamedTuple

FILE = "retentioneering/datasets/ecom.csv.gz"
ROWS = 31_106
MAPPING = "user_id=user_id,event=event,timestamp=timestamp,message_id=@row,properties=*"

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WINDOWS = (HOUR, DAY, 7 * DAY, 14 * DAY, 30 * DAY)
JUST_AFTER = (7 * DAY + 1, 14 * DAY + 1)  # where a `since(...) > D` turns true


def path() -> Path:
    """Where the installed package keeps the file; the package itself is never imported."""
    found = [file for file in files("retentioneering") or [] if str(file) == FILE]
    return Path(str(found[0].locate()))


def rows() -> list[dict[str, str]]:
    """All rows, in the order of the file."""
    with gzip.open(path(), "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


class Change(NamedTuple):
    """A profile enters or leaves a segment."""

    user: str
    at: int
    segment: str
    kind: str


class Seen:
    """Everything one user did so far: times by what it is, each list sorted."""

    def __init__(self) -> None:
        self.times: dict[str, list[int]] = defaultdict(list)

    def add(self, at: int, event: str, platform: str) -> None:
        names = ["any", event]
        if event in ("payment_error", "checkout_bug", "error_page"):
            names.append("trouble")
        if platform == "mobile":
            names.append("mobile")
        for name in names:
            self.times[name].append(at)

    def count(self, name: str, now: int, window: int) -> int:
        """Those in (now - window, now]."""
        times = self.times[name]
        return len(times) - bisect_right(times, now - window)

    def last(self, name: str) -> int | None:
        return self.times[name][-1] if self.times[name] else None

    def days(self, now: int, window: int) -> int:
        times = self.times["any"]
        return len({at // DAY for at in times[bisect_right(times, now - window) :]})

    def instants(self, after: int, upto: int) -> list[int]:
        """Where time alone may change something, in (after, upto]."""
        found = set()
        for at in self.times["any"]:
            for length in (*WINDOWS, *JUST_AFTER):
                if after < at + length <= upto:
                    found.add(at + length)
        return sorted(found)

    def memberships(self, now: int) -> set[str]:
        """The segments of examples/ecom/ecom.yaml, by hand."""
        bought, added = self.last("purchase"), self.last("add_to_cart")
        holds = {
            "buyers": bought is not None,
            "repeat_buyers": self.count("purchase", now, 30 * DAY) >= 2,
            "browsers": self.count("product_view", now, HOUR) >= 5,
            "window_shoppers": self.count("product_view", now, 7 * DAY) >= 8 and self.count("purchase", now, 30 * DAY) == 0,
            "lapsed": bought is not None and now - bought > 14 * DAY,
            "sleeping": now - self.times["any"][-1] > 7 * DAY,
            "regulars": self.days(now, 14 * DAY) >= 3,
            "hesitant": self.count("add_to_cart", now, DAY) >= 2 and (bought is None or (added is not None and bought < added)),
            "in_trouble": self.count("trouble", now, HOUR) >= 2,
            "mobile_first": self.count("mobile", now, 7 * DAY) >= 10,
        }
        return {name for name, true in holds.items() if true}


def milliseconds(text: str) -> int:
    """A time of the file, read as UTC."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def expected_changes(all_rows: list[dict[str, str]], until: int) -> list[Change]:
    """Every membership change, user by user, in order of time; each user's rows must be in order of time."""
    by_user: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in all_rows:
        by_user[row["user_id"]].append(row)
    changes: list[Change] = []
    for user, own in by_user.items():
        seen, inside, now = Seen(), set[str](), 0

        def look(at: int, user: str = user, seen: Seen = seen, inside: set[str] = inside) -> None:
            current = seen.memberships(at)
            changes.extend(Change(user, at, name, "entered") for name in sorted(current - inside))
            changes.extend(Change(user, at, name, "exited") for name in sorted(inside - current))
            inside.clear()
            inside.update(current)

        for row in own:
            at = milliseconds(row["timestamp"])
            assert at >= now, "the rows of a user are in order of time"
            for instant in seen.instants(now, at):
                look(instant)
            seen.add(at, row["event"], row["platform"])
            now = at
            look(now)
        for instant in seen.instants(now, until):
            look(instant)
    return changes
