"""Times of the day, zones, shares and schedules, as definitions write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as AnyMapping

from rtcdp.rules.expressions.names import did_you_mean
from rtcdp.rules.expressions.tree import EACH, Node, Path
from rtcdp.rules.loading.documents import Entry, Scalar, Value
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.sending import Moment, Zone
from rtcdp.times.zones import names

Entries = AnyMapping[str, Entry]
ReadPath = Callable[[Value], Node | None]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_MOMENTS = 50
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_SHARE = re.compile(r"(100|[0-9]{1,2}(?:\.[0-9]{1,4})?) ?%", re.ASCII)


def time_of_day(reader: Reader, entry: Entry) -> int | None:
    """A time of the day (ms after midnight), as 09:00."""
    scalar = reader.scalar(entry.value, "a time of the day")
    return None if scalar is None else _time(reader, scalar, scalar.text)


def _time(reader: Reader, scalar: Scalar, text: str) -> int | None:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        hint = "in quotes, since YAML may read it as a number" if text.strip().isdecimal() else ""
        reader.fail(scalar, f"a time of the day as 09:00 is expected, not '{text.strip()[:40]}'", hint)
        return None
    hour, minute, second = (int(part or 0) for part in match.groups())
    return ((hour * 60 + minute) * 60 + second) * 1000


def spell_time(ms: int) -> str:
    """A time of the day as it is written."""
    seconds = ms // 1000
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


def zone(reader: Reader, found: Entries, trait: ReadPath) -> Zone:
    """The options `zone` and `default`. trait: reads a path of the profile."""
    default = _zone_name(reader, found["default"]) if "default" in found else "UTC"
    if "zone" not in found:
        if "default" in found:
            reader.fail(
                found["default"].key,
                "'default' is for those whose trait names no zone, and no trait is named",
                "write zone: traits.timezone",
            )
        return Zone(None, default)
    written = found["zone"]
    scalar = reader.scalar(written.value, "a time zone")
    if scalar is not None and scalar.text.startswith("traits"):
        return Zone(trait_path(reader, written.value, trait), default)
    if "default" in found:
        reader.fail(
            found["default"].key, "'default' is for those whose trait names no zone, but the zone is the same for everybody"
        )
    return Zone(None, _zone_name(reader, written))


def _zone_name(reader: Reader, entry: Entry) -> str:
    scalar = reader.scalar(entry.value, "a time zone")
    if scalar is None or scalar.text in names():
        return scalar.text if scalar else "UTC"
    hint = did_you_mean(scalar.text, sorted(names()))
    reader.fail(scalar, f"there is no time zone '{scalar.text[:40]}'", hint or "write Asia/Shanghai, or traits.timezone")
    return "UTC"


def trait_path(reader: Reader, value: Value, trait: ReadPath) -> Path | None:
    """`traits.NAME`."""
    node = trait(value)
    if isinstance(node, Path) and node.root == "traits" and EACH not in node.parts:
        return node
    if node is not None:
        reader.fail(value, "a trait is expected, as traits.birthday")
    return None


def share(reader: Reader, entry: Entry) -> float:
    """A share (0 to 1), written in percent."""
    scalar = reader.scalar(entry.value, "a share")
    match = _SHARE.fullmatch(scalar.text.strip()) if scalar else None
    if scalar is not None and (match is None or not float(match[1])):
        reader.fail(scalar, f"a share as 10% is expected, not '{scalar.text[:40]}'")
    return float(match[1]) / 100 if match else 0.0


def spell_share(value: float) -> str:
    """A share as it is written."""
    return f"{round(value * 100, 4):g}%"


def moments(reader: Reader, entry: Entry) -> tuple[Moment, ...]:
    """When something is repeated: a weekday, a day of the month, or `day`, each with a time."""
    found = set()
    for scalar in reader.texts(entry, "a day and a time, as Monday 09:00"):
        name, _, text = scalar.text.strip().partition(" ")
        weekday = WEEKDAYS.index(name) + 1 if name in WEEKDAYS else 0
        day = int(name) if name.isascii() and name.isdecimal() and 1 <= int(name[:3]) <= 31 else 0
        if not weekday and not day and name != "day":
            message = f"a weekday, a day of the month or 'day' is expected, not '{name[:40]}'"
            reader.fail(scalar, message, did_you_mean(name, WEEKDAYS) or "write Monday 09:00, 15 09:00 or day 09:00")
            continue
        time = _time(reader, scalar, text)
        if time is not None:
            found.add((weekday, day, time))
    if len(found) > MOST_MOMENTS:
        reader.fail(entry.value, f"there are at most {MOST_MOMENTS} times")
    return tuple(Moment(*moment) for moment in sorted(found))


def spell_moment(moment: Moment) -> str:
    """As it is written."""
    name = WEEKDAYS[moment.weekday - 1] if moment.weekday else str(moment.day) if moment.day else "day"
    return f"{name} {spell_time(moment.time)}"
