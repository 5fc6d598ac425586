"""`python -m rtcdp.schemas [FOLDER]`: JSON Schemas of what goes in and out, from the types the code itself reads and writes.

The texts are the docstrings: a struct's first paragraph describes it, its lines `field: text` describe its fields.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from rtcdp import outputs, records
from rtcdp.control import audit
from rtcdp.delivery import deliveries
from rtcdp.delivery.schema import destinations_schema
from rtcdp.ingestion import events
from rtcdp.rules.loading.schema import definitions_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: dict[str, tuple[str, Any]] = {
    "raw-event": ("An event as producers send it to `events`: Segment-spec JSON", events.RawEvent),
    "profile-events": ("A record of `profile-events`, the one log", records.Record),
    "profile-changes": ("A record of `profile-changes`", outputs.Change),
    "triggers": ("A record of `triggers`: a CloudEvent", outputs.TriggerEvent),
    "cancellations": ("A record of `triggers` that withdraws others: a CloudEvent", outputs.Cancel),
    "deliveries-dlq": ("A record of `deliveries-dlq`: a delivery that was given up", deliveries.DeadDelivery),
    "audit": ("A record of `audit`: who read whom, or changed what", audit.Entry),
    "events-dlq": ("A record of `events-dlq`", outputs.DeadLetter),
}
"""File name (without `.schema.json`) to title and type."""
DEFINITIONS = "definitions"
"""A file of definitions: its schema comes from the tables that the loader reads by."""
DESTINATIONS = "destinations"
"""A file of destinations, the same way."""
NAMES = (*SCHEMAS, DEFINITIONS, DESTINATIONS)

_FIELD = re.compile(r"^(\w+(?:, \w+)*): +(\S.*(?:\n +\S.*)*)", re.MULTILINE)


def schema(title: str, kind: Any) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a msgspec type, with the texts of its docstrings."""
    (root,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    structs = _structs(kind)
    for name, component in components.items():
        if name in structs:
            _describe(component, structs[name])
    return {"$schema": DIALECT, "title": title, **root, "$defs": components}


def render(name: str) -> str:
    """The text of one schema file, of NAMES."""
    tables = {DEFINITIONS: definitions_schema, DESTINATIONS: destinations_schema}
    found = tables[name]() if name in tables else schema(*SCHEMAS[name])
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema into the folder given as argument, else into `schemas/`."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "schemas")
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / f"{name}.schema.json").write_text(render(name))


def _structs(kind: Any) -> dict[str, type]:
    """All structs that a type consists of, by name."""
    found: dict[str, type] = {}

    def visit(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__name__ in found:
                return
            found[info.cls.__name__] = info.cls
        if isinstance(info, msgspec.Struct):
            for field in info.__struct_fields__:
                visit(getattr(info, field))
        elif isinstance(info, tuple | list):
            for item in info:
                visit(item)

    visit(msgspec.inspect.type_info(kind))
    return found


def _describe(component: dict[str, Any], struct: type) -> None:
    """Move the docstring's `field: text` lines to the fields they describe."""
    text = inspect.getdoc(struct) or ""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    for fields, words in _FIELD.findall(text):
        for field in fields.split(", "):
            if field in names:
                component["properties"][names[field]]["description"] = " ".join(words.split())
    component["description"] = " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    main()
