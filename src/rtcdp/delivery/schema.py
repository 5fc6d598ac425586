"""JSON Schema of a file of destinations, from the tables that the loader reads by: editors check and complete with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtcdp.delivery.options import CALLBACK, DESTINATION, KINDS, RATE, SECTIONS, SELECTIONS, SUBSCRIPTION
from rtcdp.rules.loading.options import Option
from rtcdp.rules.loading.schema import object_schema

_TEXTS = {"anyOf": [{"type": ["string", "integer"]}, {"type": "array", "items": {"type": ["string", "integer"]}}]}


def destinations_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one file of destinations."""
    shapes = {"destinations": _one_of(DESTINATION, KINDS), "callbacks": object_schema(CALLBACK)}
    shapes["subscriptions"] = {**object_schema(SUBSCRIPTION), "anyOf": [{"required": [name]} for name in SELECTIONS]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtcdp destinations",
        "description": "One file of a folder of destinations; the files of a folder are merged.",
        "type": "object",
        "properties": {
            name: {"description": about, "type": "object", "additionalProperties": shapes[name]}
            for name, about in SECTIONS.items()
        },
        "additionalProperties": False,
        "$defs": {
            "expression": {"description": "an expression, as payload.cart", "type": ["string", "number", "boolean"]},
            "condition": {"description": "an expression that is true or false", "type": ["string", "boolean"]},
            "duration": {"description": "as 30d, 12h, 45m, 10s, 250ms", "type": ["string", "integer"]},
            "headers": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
            "rate": object_schema(RATE),
            "body": {"description": "any JSON; texts may hold {expressions}"},
        },
    }


def _one_of(table: Mapping[str, Option], names: tuple[str, ...]) -> dict[str, Any]:
    shape = object_schema(table)
    shape["properties"] = {**shape["properties"], "refused": {**shape["properties"]["refused"], **_TEXTS}}
    return {**shape, "oneOf": [{"required": [name]} for name in names]}
