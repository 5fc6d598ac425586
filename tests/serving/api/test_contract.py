"""The API against its own OpenAPI document: schemathesis makes the requests."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.serving.api.conftest import Served

TRIES = 3
LOOSE = settings(deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
FREE = [
    schemathesis.checks.positive_data_acceptance,  # a name may keep to the schema and name nothing, a cursor be no cursor
]


def operations(schema: Any) -> dict[str, Any]:
    found = [result.ok() for result in schema.get_all_operations()]
    return {operation.label: operation for operation in found}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_its_word(still: Served, mode: GenerationMode) -> None:
    document = still.ask("/v1/openapi.json").json
    del document["paths"]["/v1/stream"]  # it never ends; `test_api` reads it
    del document["paths"]["/v1/definitions/apply"]["post"]["responses"]["200"]  # nothing made up is ever put in force
    schema = schemathesis.openapi.from_dict(document)
    asked: Counter[str] = Counter()
    for label, operation in operations(schema).items():
        try:
            keeps_its_word(still, label, operation, mode, asked)
        except Unsatisfiable:  # nothing wrong can be said to an operation that takes nothing
            assert mode is GenerationMode.NEGATIVE
    everything = {f"{one.method} {one.path}" for one in still.server.operations} - {"GET /v1/stream"}
    if mode is GenerationMode.POSITIVE:
        assert set(asked) == everything
    assert asked.total() > TRIES * 5


def keeps_its_word(still: Served, label: str, operation: Any, mode: GenerationMode, asked: Counter[str]) -> None:
    @settings(
        max_examples=TRIES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None
    )
    @given(operation.as_strategy(generation_mode=mode))
    def keeps(case: Any) -> None:
        asked[label] += 1
        if "apply" in label and isinstance(case.body, dict) and isinstance(case.body.get("files"), dict):
            case.body["files"]["a.yaml"] = "segments: {a: ordrs >= 1}"
        case.call_and_validate(base_url=still.address, headers={"Authorization": f"Bearer {still.text}"}, excluded_checks=FREE)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schemathesis's own
        keeps()


def test_the_document_is_openapi(still: Served) -> None:
    document = still.ask("/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            for content in operation["responses"]["200"]["content"].values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])
    guarded = [op for methods in document["paths"].values() for op in methods.values() if op.get("security")]
    assert len(guarded) == len(still.server.operations) - 1, "all but the document itself"
    assert json.dumps(document).count("#/components/schemas/") > 20
