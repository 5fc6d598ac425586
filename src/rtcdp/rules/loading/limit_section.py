"""What holds sends back: the limits of a trigger, `groups:` and `channels:`."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from typing import Any, cast

from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.loading import clock_times
from rtcdp.rules.loading.clock_times import ReadPath
from rtcdp.rules.loading.documents import Entry
from rtcdp.rules.loading.options import CAP, CHANNEL, GROUP, QUIET
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.sending import DAY_MS, Cap, Channel, Group, Limits, Quiet

MOST_CAPS = 8
MOST_TIMES = 1_000
Entries = AnyMapping[str, Entry]


def limits(reader: Reader, found: Entries, trait: ReadPath) -> Limits:
    """The options `cap`, `cooldown`, `quiet` and `holdout`. trait: reads a path of the profile."""
    return Limits(
        _caps(reader, found.get("cap")),
        reader.duration(found.get("cooldown"), least=1) or 0,
        _quiet(reader, found.get("quiet"), trait),
        clock_times.share(reader, found["holdout"]) if "holdout" in found else 0.0,
    )


def _caps(reader: Reader, entry: Entry | None) -> tuple[Cap, ...]:
    if entry is None:
        return ()
    caps = set()
    for item in reader.items(entry.value):
        found = reader.options(item, CAP, "a cap")
        times = reader.whole(found.get("times"), 1, MOST_TIMES) if found else 0
        per = reader.duration(found.get("per"), least=1) if found else None
        if times and per:
            caps.add((per, times))
    if len(caps) > MOST_CAPS:
        reader.fail(entry.value, f"there are at most {MOST_CAPS} caps")
    return tuple(Cap(times, per) for per, times in sorted(caps))


def _quiet(reader: Reader, entry: Entry | None, trait: ReadPath) -> Quiet | None:
    if entry is None:
        return None
    found = reader.options(entry.value, QUIET, "'quiet'", entry.key) or {}
    begin = clock_times.time_of_day(reader, found["from"]) if "from" in found else None
    end = clock_times.time_of_day(reader, found["to"]) if "to" in found else None
    zone = clock_times.zone(reader, found, trait)
    held = reader.choice(found.get("then"), QUIET["then"], "hold") == "hold"
    if begin is None or end is None:
        return None
    if begin == end:
        reader.fail(found["to"].value, "quiet hours end at another time than they begin", "or nothing would ever be sent")
    return Quiet(begin % DAY_MS, end % DAY_MS, zone, held)


def group(reader: Reader, name: str, entry: Entry, trait: ReadPath, triggers: Iterable[str], taken: dict[str, str]) -> Group:
    """One of `groups:`. triggers: names of all of them; taken: those that are in a group already, with its name."""
    found = reader.options(entry.value, GROUP, "a group", entry.key) or {}
    known, members = list(triggers), []
    for scalar in reader.texts(found.get("triggers"), "the name of a trigger"):
        if scalar.text not in known:
            message = f"unknown trigger '{scalar.text[:64]}': " + (
                f"expected one of {listed(known)}" if known else "none is defined"
            )
            reader.fail(scalar, message, did_you_mean(scalar.text, known))
        elif taken.setdefault(scalar.text, name) != name:
            reader.fail(scalar, f"the trigger '{scalar.text}' is in the group '{taken[scalar.text]}' already")
        else:
            members.append(scalar.text)
    pick = cast("Any", reader.choice(found.get("pick"), GROUP["pick"], "each"))
    pause = reader.duration(found.get("pause"), least=0) or 0
    if pause and pick != "priority":
        reader.fail(found["pause"].key, "'pause' waits for others to pick from", "write pick: priority")
    description = reader.text(found.get("description"))
    return Group(name, tuple(sorted(set(members))), limits(reader, found, trait), pick, pause, description)


def channel(reader: Reader, name: str, entry: Entry, trait: ReadPath) -> Channel:
    """One of `channels:`."""
    found = reader.options(entry.value, CHANNEL, "a channel", entry.key) or {}
    return Channel(name, limits(reader, found, trait), reader.text(found.get("description")))
