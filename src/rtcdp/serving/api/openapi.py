"""The OpenAPI 3.1 document of the API, made of its operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from rtcdp.serving.api.operations import EVENTS, JSON, Operation
from rtcdp.serving.api.problems import TITLES, ProblemBody
from rtcdp.serving.api.tokens import SCOPES

_REF = "#/components/schemas/{name}"
_PLAIN = {JSON: "object"}
_PARAMETER = re.compile(r"\{(\w+)\}")
PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "namespace": {"type": "string", "pattern": "^[a-z0-9_]+$", "maxLength": 64, "examples": ["user_id", "email"]},
    "value": {"type": "string", "minLength": 1, "maxLength": 256, "examples": ["u42"]},
    "name": {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["buyers"]},
    "version": {"type": "string", "pattern": "^([0-9a-f]{16}|current)$"},
    "request": {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["0b6f6c1e-6a52-4f6e-9a0c-3a52f1f0a6ce"]},
}
"""Parameters of paths, by name."""


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The document. version: of rtcdp."""
    types: list[Any] = [ProblemBody]
    for one in operations:
        types += [one.query, *([one.body] if one.body else []), *(answer for answer in one.answers.values() if answer)]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=_REF)
    schemas = dict(zip(unique, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas, components)
    for query in {one.query for one in operations}:
        components.pop(query.__name__, None)  # parameters stand at their operations
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rtcdp",
            "version": version,
            "summary": "Profiles, segments and triggers of a real-time customer data platform.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`rtcdp tokens add`. Scopes: "
                    + "; ".join(f"`{name}`: {text}" for name, text in SCOPES.items()),
                }
            },
        },
    }


def _operation(one: Operation, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.path.split("/")[2].partition(".")[0]],
        "parameters": [*_of_path(one.path), *_of_query(one.query, components)],
        "responses": {"200": _success(one, schemas), **{str(status): _problem(status, schemas) for status in one.statuses}},
    }
    if one.scope:
        described["security"] = [{"token": []}]
        described["description"] = f"Needs a token for `{one.scope}`."
    if one.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[one.body]}}}
    return described


def _of_path(path: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": PATH_SCHEMAS[name]} for name in _PARAMETER.findall(path)]


def _of_query(query: type[msgspec.Struct], components: dict[str, Any]) -> list[dict[str, Any]]:
    found = components[query.__name__]
    required = set(found.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in found["properties"].items()
    ]


def _success(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content = {}
    for content_type, answer in one.answers.items():
        content[content_type] = {"schema": schemas[answer] if answer else {"type": _PLAIN.get(content_type, "string")}}
    if EVENTS in one.answers:
        return {"description": "Server-sent events, without end.", "content": content}
    return {"description": "OK", "content": content}


def _problem(status: int, schemas: dict[Any, Any]) -> dict[str, Any]:
    return {"description": TITLES[status], "content": {"application/problem+json": {"schema": schemas[ProblemBody]}}}
