"""`consent:`: purposes, and what holds of somebody who was never asked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping

from rtcdp.rules.definitions import Feature, Purpose
from rtcdp.rules.expressions.inference import shown
from rtcdp.rules.expressions.names import did_you_mean, fault_of_name, listed
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.tree import Name, Node, Type, walk
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Value
from rtcdp.rules.loading.options import CONSENT, PURPOSE
from rtcdp.rules.loading.reading import Reader

MOST_PURPOSES = 32
MOST_REGIONS = 300


def purposes(reader: Reader, value: Value) -> dict[str, Purpose]:
    """The purposes by name."""
    entry = _options(reader, value).get("purposes")
    written = {} if entry is None else reader.mapping(entry.value, "the purposes")
    found: dict[str, Purpose] = {}
    for name, item in sorted(written.items()):
        if fault := fault_of_name(name):
            reader.fail(item.key, f"the name '{name[:64]}' {fault}")
        else:
            found[name] = _purpose(reader, name, item)
    if entry is not None and len(found) > MOST_PURPOSES:
        reader.fail(entry.value, f"there are at most {MOST_PURPOSES} purposes")
    return found


def region(reader: Reader, value: Value, scope: Scope, features: AnyMapping[str, Feature]) -> Node | None:
    """The expression of a profile's region; what it reads must not itself wait for consent."""
    entry = _options(reader, value, quiet=True).get("region")
    node = None if entry is None else reader.expression(entry.value, scope, "consent")
    if entry is None or node is None:
        return None
    if node.type not in (Type.TEXT, Type.ANY):
        reader.fail(entry.value, f"a region is a text, and this is {shown(node.type)}")
    for name in _read(node):
        if name in features and features[name].purpose:
            reader.fail(entry.value, f"'{name}' is there only with consent, so consent cannot depend on it")
    return node


def known_purpose(reader: Reader, entry: Entry | None, known: AnyMapping[str, Purpose]) -> str:
    """The name of a purpose beside a definition; "" where none is written."""
    scalar = None if entry is None else reader.scalar(entry.value, "the name of a purpose")
    if scalar is None:
        return ""
    if scalar.text not in known:
        hint = did_you_mean(scalar.text, known) or f"write consent: {{purposes: {{{scalar.text[:40]}: denied}}}}"
        expected = f"expected one of {listed(known)}" if known else "none is defined under 'consent'"
        reader.fail(scalar, f"unknown purpose '{scalar.text[:64]}': {expected}", hint)
        return ""
    return scalar.text


def _options(reader: Reader, value: Value, *, quiet: bool = False) -> AnyMapping[str, Entry]:
    if isinstance(value, Scalar) and value.empty:
        return {}
    return (Reader() if quiet else reader).options(value, CONSENT, "consent") or {}


def _purpose(reader: Reader, name: str, entry: Entry) -> Purpose:
    """`marketing: denied`, or the options."""
    if not isinstance(entry.value, Mapping):
        return Purpose(name, _granted(reader, entry))
    found = reader.options(entry.value, PURPOSE, "a purpose", entry.key) or {}
    written = reader.mapping(found["regions"].value, "the regions") if "regions" in found else {}
    regions = {unicodedata.normalize("NFC", text): _granted(reader, item) for text, item in sorted(written.items())}
    if len(regions) > MOST_REGIONS:
        reader.fail(found["regions"].value, f"there are at most {MOST_REGIONS} regions")
    categories = tuple(sorted({scalar.text for scalar in reader.texts(found.get("categories"), "the name of a category")}))
    granted = _granted(reader, found["default"]) if "default" in found else False
    return Purpose(name, granted, regions, categories, reader.text(found.get("description")))


def _granted(reader: Reader, entry: Entry) -> bool:
    return reader.choice(entry, PURPOSE["default"], "denied") == "granted"


def _read(node: Node) -> Iterable[str]:
    return (item.name for item in walk(node) if isinstance(item, Name))
