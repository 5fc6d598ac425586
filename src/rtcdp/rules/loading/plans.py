"""The sections that are not rules: the tracking plan, identity, lists, cuts."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Mapping as AnyMapping
from pathlib import Path
from typing import Any, Literal, cast

from rtcdp.rules.definitions import MOST_IDENTIFIERS, IdentityPlan, Namespace, PlannedEvent, Property, Purpose, TrackingPlan
from rtcdp.rules.expressions.inference import shown
from rtcdp.rules.expressions.names import fault_of_event, listed
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.scoring import MOST_CUTS, RFM, Cuts
from rtcdp.rules.expressions.tree import Literal as Constant
from rtcdp.rules.expressions.tree import Type
from rtcdp.rules.loading.consent_section import known_purpose
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Sequence, Value
from rtcdp.rules.loading.options import IDENTITY, LIST, NAMESPACE, PLANNED_EVENT, PROPERTY, TRACKING
from rtcdp.rules.loading.reading import Reader

LARGEST_LIST_FILE = 16 * 1024 * 1024
MOST_ON_LIST = 100_000
LONGEST_ON_LIST = 500
_NAMESPACE = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN_PATHS = ("userId", "anonymousId")

Entries = AnyMapping[str, Entry]
_NOTHING = Scope("constants alone")


def tracking(reader: Reader, value: Value, purposes: AnyMapping[str, Purpose]) -> TrackingPlan:
    """`tracking:`. purposes: those that `consent:` defines."""
    found = reader.options(value, TRACKING, "tracking") or {}
    events = {}
    for written, entry in _entries(reader, found.get("events"), "the planned events").items():
        name = unicodedata.normalize("NFC", written)
        if fault := fault_of_event(name):
            reader.fail(entry.key, f"the name of an event {fault}")
        else:
            events[name] = _planned_event(reader, name, entry, purposes)
    unplanned = reader.choice(found.get("unplanned"), TRACKING["unplanned"], "accept")
    return TrackingPlan(
        events=dict(sorted(events.items())),
        traits=_properties(reader, found.get("traits"), "the planned traits"),
        unplanned=cast("Literal['accept', 'warn', 'drop', 'dead-letter']", unplanned),
        allow_secrets=frozenset(scalar.text for scalar in reader.texts(found.get("allow_secrets"), "a name or path")),
    )


def _entries(reader: Reader, entry: Entry | None, what: str) -> Entries:
    return {} if entry is None else reader.mapping(entry.value, what)


def _planned_event(reader: Reader, name: str, entry: Entry, purposes: AnyMapping[str, Purpose]) -> PlannedEvent:
    if isinstance(entry.value, Scalar) and entry.value.empty:
        return PlannedEvent(name)
    found = reader.options(entry.value, PLANNED_EVENT, "a planned event") or {}
    violation = reader.choice(found.get("violation"), PLANNED_EVENT["violation"], "warn")
    return PlannedEvent(
        name,
        _properties(reader, found.get("properties"), "the planned properties"),
        cast("Literal['warn', 'drop', 'dead-letter']", violation),
        known_purpose(reader, found.get("purpose"), purposes),
    )


def _properties(reader: Reader, entry: Entry | None, what: str) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for written, item in _entries(reader, entry, what).items():
        path = unicodedata.normalize("NFC", written)
        if not all(path.split(".")) or len(path) > 500:
            reader.fail(item.key, f"a path is expected, as cart.total, not '{written[:40]}'")
        else:
            found[path] = _property(reader, path, item)
    return dict(sorted(found.items()))


def _property(reader: Reader, path: str, entry: Entry) -> Property:
    """`price: number`, or the options."""
    if isinstance(entry.value, Scalar):
        return Property(path, cast("Any", reader.choice(entry, PROPERTY["type"], "any")))
    found = reader.options(entry.value, PROPERTY, "a planned property") or {}
    type_ = reader.choice(found.get("type"), PROPERTY["type"], "any")
    return Property(
        path,
        cast("Any", type_),
        required=reader.flag(found.get("required")),
        default=_default(reader, found.get("default"), type_),
        pii=reader.flag(found.get("pii")),
        allow_secret=reader.flag(found.get("allow_secret")),
    )


def _default(reader: Reader, entry: Entry | None, type_: str) -> Any:
    """The default value, which must be of the property's type."""
    if entry is None:
        return None
    if isinstance(entry.value, Mapping):
        reader.fail(entry.value, "a value is expected, not a mapping")
        return None
    if isinstance(entry.value, Sequence):
        values = [_default(reader, Entry(entry.key, item), "any") for item in entry.value.items]
        fits = type_ in ("list", "any")
    else:
        values = _typed(entry.value, type_)
        fits = values is not None
    if not fits:
        wanted = "a time as 2026-03-01T09:00:00Z" if type_ == "time" else f"a value of the type {type_}"
        reader.fail(entry.value, f"{wanted} is expected")
        return None
    return values


_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?", re.ASCII)


def _typed(scalar: Scalar, type_: str) -> Any:
    """A default as JSON has it; None if it is not of the type. Of any type: what YAML 1.2 makes of it."""
    if type_ == "text":
        return scalar.text
    if type_ == "time":
        return scalar.text if _TIME.fullmatch(scalar.text) else None
    if not scalar.plain:
        return scalar.text if type_ == "any" else None
    boolean = {"true": True, "false": False}.get(scalar.text)
    number = _number(scalar.text)
    if type_ == "boolean" or boolean is not None:
        return boolean if type_ in ("boolean", "any") else None
    if type_ == "number" or number is not None:
        return number if type_ in ("number", "any") else None
    return scalar.text if type_ == "any" and not scalar.empty else None


def _number(text: str) -> int | float | None:
    """A number as JSON writes it; None for anything else."""
    try:
        value = json.loads(text) if len(text) < 40 else None
    except ValueError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if abs(value) < 2**63 else None


def identity(reader: Reader, value: Value) -> IdentityPlan:
    """`identity:`."""
    found = reader.options(value, IDENTITY, "identity") or {}
    namespaces: list[Namespace] = []
    written = found.get("namespaces")
    if written is not None and not isinstance(written.value, Sequence):
        reader.fail(written.value, "a list is expected, the strongest first", "write - {name: user_id, paths: [userId]}")
    elif written is not None:
        for item in reader.items(written.value):
            namespace = _namespace(reader, item, len(namespaces))
            if namespace is not None and namespace.name in {known.name for known in namespaces}:
                reader.fail(item, f"'{namespace.name}' is written twice")
            elif namespace is not None:
                namespaces.append(namespace)
    blocked = frozenset(unicodedata.normalize("NFC", scalar.text) for scalar in reader.texts(found.get("blocked"), "a value"))
    links = reader.choice(found.get("links"), IDENTITY["links"], "said")
    return IdentityPlan(tuple(namespaces), blocked, every=links == "every")


def _namespace(reader: Reader, value: Value, priority: int) -> Namespace | None:
    found = reader.options(value, NAMESPACE, "a namespace")
    if found is None:
        return None
    name = reader.text(found.get("name"), "a name", 64)
    if name and not _NAMESPACE.fullmatch(name):
        message = f"the name '{name}' must be made of small ASCII letters, digits and '_', beginning with a letter"
        reader.fail(found["name"].value, message)
    paths = []
    for scalar in reader.texts(found.get("paths"), "a path"):
        root, *rest = scalar.text.split(".")
        if scalar.text in _PLAIN_PATHS or (root in ("traits", "context") and rest and all(rest)):
            paths.append(scalar.text)
        else:
            message = f"unknown path '{scalar.text[:40]}': expected userId, anonymousId, traits.NAME or context.NAME"
            reader.fail(scalar, message)
    normalise = reader.choice(found.get("normalise"), NAMESPACE["normalise"], "exact")
    limit = reader.whole(found["limit"], 1, 1_000) if "limit" in found else MOST_IDENTIFIERS
    return Namespace(name, priority, tuple(paths), cast("Literal['exact', 'lower', 'phone']", normalise), limit)


def one_list(reader: Reader, entry: Entry, folder: Path | None) -> frozenset[str]:
    """One of `lists:`: texts written out, or a column of a CSV file beside the definitions."""
    if isinstance(entry.value, Sequence):
        return _on_list(reader, entry)
    found = reader.options(entry.value, LIST, "a list", entry.key) or {}
    reader.text(found.get("description"))
    if ("values" in found) == ("file" in found):
        if isinstance(entry.value, Mapping):
            reader.fail(entry.key, f"a list needs one of {listed(('values', 'file'))}")
        return frozenset()
    if "values" in found:
        return _on_list(reader, found["values"])
    scalar = reader.scalar(found["file"].value, "the name of a file")
    if scalar is None:
        return frozenset()
    return _from_csv(reader, scalar, reader.text(found.get("column"), "the name of a column"), folder)


def _on_list(reader: Reader, entry: Entry) -> frozenset[str]:
    texts = reader.texts(entry, "a text")
    for scalar in texts:
        if len(scalar.text) > LONGEST_ON_LIST:
            reader.fail(scalar, f"a text on a list has at most {LONGEST_ON_LIST} characters")
    if len(texts) > MOST_ON_LIST:
        reader.fail(entry.value, f"a list has at most {MOST_ON_LIST} texts")
    return frozenset(unicodedata.normalize("NFC", scalar.text) for scalar in texts)


def _from_csv(reader: Reader, name: Scalar, column: str, folder: Path | None) -> frozenset[str]:
    """One column of a CSV file; its first line holds the names of the columns."""
    rows = _rows(reader, name, folder)
    if rows is None:
        return frozenset()
    header = [cell.strip() for cell in rows[0]] if rows else []
    if column and column not in header:
        reader.fail(name, f"the file has no column '{column}': expected one of {listed(header)}")
        return frozenset()
    place = header.index(column) if column else 0
    found = {unicodedata.normalize("NFC", row[place].strip()) for row in rows[1:] if len(row) > place}
    found.discard("")
    if len(found) > MOST_ON_LIST:
        reader.fail(name, f"a list has at most {MOST_ON_LIST} texts")
    if any(len(text) > LONGEST_ON_LIST for text in found):
        reader.fail(name, f"a text on a list has at most {LONGEST_ON_LIST} characters")
    return frozenset(found)


def _rows(reader: Reader, name: Scalar, folder: Path | None) -> list[list[str]] | None:
    if folder is None:
        reader.fail(name, "a file cannot be read here")
        return None
    try:
        path = (folder / name.text).resolve()
        if not path.is_relative_to(folder.resolve()):
            reader.fail(name, "the file must be in the folder of the definitions")
            return None
        if path.stat().st_size > LARGEST_LIST_FILE:
            reader.fail(name, f"the file is larger than {LARGEST_LIST_FILE // 2**20} MiB")
            return None
        return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except (OSError, ValueError):
        reader.fail(name, f"there is no readable file '{name.text[:80]}' here", "a CSV file in UTF-8 is expected")
    except csv.Error as error:
        reader.fail(name, f"the file is not CSV: {error}")
    return None


def cuts(reader: Reader, section: Entries) -> dict[str, Cuts]:
    """`cuts:`, by name; those of `rfm` as `NAME.recency` and so on."""
    found: dict[str, Cuts] = {}
    for name, entry in sorted(section.items()):
        if isinstance(entry.value, Mapping):
            parts = entry.value.entries
            unknown = [part for part in parts.values() if part.key.text not in RFM]
            if unknown or len(parts) < len(RFM):
                where = unknown[0].key if unknown else entry.key
                reader.fail(where, f"cuts are a list, or one for each of {listed(RFM)}")
            found |= {f"{name}.{part}": _ascending(reader, parts[part].value) for part in RFM if part in parts}
        else:
            found[name] = _ascending(reader, entry.value)
    return found


def _ascending(reader: Reader, value: Value) -> Cuts:
    """Ascending numbers or durations."""
    if not isinstance(value, Sequence) or not 0 < len(value.items) <= MOST_CUTS:
        reader.fail(
            value, f"1 to {MOST_CUTS} ascending numbers or durations are expected", "write [100, 500, 2000] or [7d, 30d]"
        )
        return ()
    found: list[Constant] = []
    for item in value.items:
        node = reader.expression(item, _NOTHING, "")
        if node is None:
            return ()
        if not isinstance(node, Constant) or node.type not in (Type.NUMBER, Type.DURATION):
            reader.fail(item, "a number or a duration is expected")
            return ()
        if found and node.type is not found[0].type:
            reader.fail(item, f"one kind of cuts is expected: the first is {shown(found[0].type)}, this is {shown(node.type)}")
            return ()
        if found and node.value <= found[-1].value:
            reader.fail(item, "cuts ascend: this one is not greater than the one before")
            return ()
        found.append(node)
    return tuple(found)
