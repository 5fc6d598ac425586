"""JSON Schema of a file of definitions, from the tables that the loader reads by: editors check and complete with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtcdp.rules.expressions import scoring
from rtcdp.rules.loading import options
from rtcdp.rules.loading.options import Option

Schema = dict[str, Any]

_EXPRESSION: Schema = {"type": ["string", "number", "boolean"]}
_TEXTS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$"}

_KINDS: dict[str, Schema] = {
    "expression": {"$ref": "#/$defs/expression"},
    "condition": {"$ref": "#/$defs/condition"},
    "event": {"$ref": "#/$defs/event"},
    "events": {"$ref": "#/$defs/events"},
    "duration": {"$ref": "#/$defs/duration"},
    "text": {"type": "string"},
    "texts": _TEXTS,
    "whole": {"type": "integer", "minimum": 1},
    "flag": {"type": "boolean"},
}


def definitions_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one file of definitions."""
    named = {"features": "feature", "tags": "tag", "segments": "segment", "triggers": "trigger", "lists": "list"}
    named |= {"groups": "group", "channels": "channel"}
    sections: Schema = {
        name: {"description": options.SECTIONS[name], **_named({"$ref": f"#/$defs/{kind}"}, _NAME)}
        for name, kind in named.items()
    }
    sections["tracking"] = {"description": options.SECTIONS["tracking"], **_object(options.TRACKING)}
    for name, table in (
        ("identity", options.IDENTITY),
        ("lifecycle", options.LIFECYCLE),
        ("expire", options.EXPIRE),
        ("consent", options.CONSENT),
    ):
        sections[name] = {"description": options.SECTIONS[name], **_object(table)}
    sections["cuts"] = {"description": options.SECTIONS["cuts"], **_named({"$ref": "#/$defs/cuts"}, _NAME)}
    sections["shadow"] = {"description": options.SECTIONS["shadow"], "type": "boolean"}
    steps = {"$ref": "#/$defs/steps"}
    scenario = {"anyOf": [steps, _object(options.SCENARIO)]}
    sections["scenarios"] = {"description": options.SECTIONS["scenarios"], **_named(scenario)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rtcdp definitions",
        "description": "One file of a folder of definitions; the files of a folder are merged.",
        "type": "object",
        "properties": {name: sections[name] for name in options.SECTIONS},
        "additionalProperties": False,
        "$defs": _shapes(),
    }


def _shapes() -> Schema:
    """The shapes that the sections and the special options refer to."""
    return {
        "expression": {"description": "an expression, as spend / orders", **_EXPRESSION},
        "condition": {"description": "an expression that is true or false, as orders >= 1", **_EXPRESSION},
        "event": {"description": 'the name of an event; "*" for every event', "type": "string", "minLength": 1},
        "events": {
            "description": 'the name of an event, or several; "*" for every event',
            "anyOf": [
                {"$ref": "#/$defs/event"},
                {"type": "array", "items": {"$ref": "#/$defs/event"}, "minItems": 1},
            ],
        },
        "duration": {"description": "as 30d, 12h, 45m, 10s, 250ms, 2w or 1h + 30m", "type": ["string", "integer"]},
        "feature": {
            "anyOf": [
                {"$ref": "#/$defs/expression"},
                {
                    **_object(options.FEATURE),
                    "oneOf": [{"required": [name]} for name in (*options.AGGREGATES, *options.DERIVED)],
                },
            ]
        },
        "tag": {"anyOf": [{"$ref": "#/$defs/expression"}, _object(options.TAG)]},
        "segment": {"anyOf": [{"$ref": "#/$defs/condition"}, _object(options.SEGMENT)]},
        "trigger": _object(options.TRIGGER),
        "on": {
            "anyOf": [
                {"$ref": "#/$defs/event"},
                {**_object(options.ON), "oneOf": [{"required": [name]} for name in options.STARTS]},
            ]
        },
        "unless": {"anyOf": [{"$ref": "#/$defs/events"}, _object(options.UNLESS)]},
        "cap": _object(options.CAP),
        "caps": {"anyOf": [{"$ref": "#/$defs/cap"}, {"type": "array", "items": {"$ref": "#/$defs/cap"}}]},
        "quiet": _object(options.QUIET),
        "share": {"description": "as 10%", "type": "string", "pattern": "^[0-9.]+ ?%$"},
        "debounce": {"anyOf": [{"$ref": "#/$defs/duration"}, _object(options.DEBOUNCE)]},
        "again": {"anyOf": [{"enum": ["always", "once"]}, {"$ref": "#/$defs/duration"}, _object(options.AGAIN)]},
        "group": _object(options.GROUP),
        "channel": _object(options.CHANNEL),
        "journey": {"type": "array", "items": {"$ref": "#/$defs/journey_step"}, "minItems": 1},
        "journey_step": {**_object(options.JOURNEY_STEP), "oneOf": [{"required": [name]} for name in options.JOURNEY_STEPS]},
        "split": _named(_object(options.WAY), _NAME),
        "stages": {"type": "array", "items": {"$ref": "#/$defs/stage"}, "minItems": 1},
        "stage": {
            "type": "object",
            "additionalProperties": {"anyOf": [{"$ref": "#/$defs/condition"}, _object(options.STAGE)]},
            "minProperties": 1,
            "maxProperties": 1,
        },
        "window": {"description": "as 30d, or 90d..30d", "type": ["string", "integer"]},
        "filter": {"anyOf": [{"$ref": "#/$defs/events"}, _object(options.FILTER)]},
        "sequence": {
            "type": "array",
            "minItems": 2,
            "items": {
                "anyOf": [
                    {"$ref": "#/$defs/event"},
                    {**_object(options.SEQUENCE_STEP), "oneOf": [{"required": ["event"]}, {"required": ["not"]}]},
                ]
            },
        },
        "gap": {"anyOf": [{"$ref": "#/$defs/duration"}, _named({"$ref": "#/$defs/duration"})]},
        "spend": {"anyOf": [{"$ref": "#/$defs/events"}, _object(options.SPEND)]},
        "ratio": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"$ref": "#/$defs/expression"}},
        "payload": _named({"$ref": "#/$defs/expression"}),
        "paths": _TEXTS,
        "planned_events": _named({"anyOf": [_object(options.PLANNED_EVENT), {"type": "null"}]}),
        "properties": _named({"$ref": "#/$defs/property"}),
        "property": {"anyOf": [{"enum": list(options.PROPERTY_TYPES)}, _object(options.PROPERTY)]},
        "default": {"type": ["string", "number", "boolean", "array"]},
        "namespaces": {"type": "array", "items": _object(options.NAMESPACE)},
        "purposes": _named({"anyOf": [{"enum": list(options.ANSWERS)}, _object(options.PURPOSE)]}, _NAME),
        "by_region": _named({"enum": list(options.ANSWERS)}),
        "time": {"type": "string"},
        "cuts": {
            "anyOf": [
                {"$ref": "#/$defs/ascending"},
                {
                    "type": "object",
                    "properties": {part: {"$ref": "#/$defs/ascending"} for part in scoring.RFM},
                    "required": list(scoring.RFM),
                    "additionalProperties": False,
                },
            ]
        },
        "ascending": {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1, "maxItems": scoring.MOST_CUTS},
        "json": {"type": "object"},
        "steps": {"type": "array", "minItems": 1, "items": _object(options.STEP)},
        "expect": {**_object(options.EXPECT), "minProperties": 1},
        "sent": {"anyOf": [_TEXTS, _named({"type": ["object", "null"]})]},
        "not_sent": {"anyOf": [_TEXTS, _named({"type": ["string", "null"]})]},
        "list": {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {**_object(options.LIST), "oneOf": [{"required": ["values"]}, {"required": ["file"]}]},
            ]
        },
    }


def object_schema(table: Mapping[str, Option]) -> dict[str, Any]:
    """The JSON Schema of a mapping with the keys of a table, for other folders that are read by tables."""
    return _object(table)


def _named(value: Schema, name: Schema | None = None) -> Schema:
    """A mapping with free keys; an empty section may be left unwritten."""
    shape: Schema = {"type": ["object", "null"], "additionalProperties": value}
    return {**shape, "propertyNames": name} if name else shape


def _object(table: Mapping[str, Option]) -> Schema:
    """A mapping with the keys of a table."""
    shape: Schema = {
        "type": "object",
        "properties": {name: {"description": option.about, **_value(option)} for name, option in table.items()},
        "additionalProperties": False,
    }
    required = [name for name, option in table.items() if option.required]
    return {**shape, "required": required} if required else shape


def _value(option: Option) -> Schema:
    if option.kind == "choice":
        return {"enum": list(option.choices)}
    if option.kind == "special":
        return {"$ref": f"#/$defs/{option.schema}"}
    return _KINDS[option.kind]
