"""The schemas in schemas/ are the ones of the code, and what the code writes satisfies them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from rtcdp import outputs, records, schemas

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "schemas"


def validate(name: str, value: Any) -> None:
    """Raise jsonschema.ValidationError where the value does not satisfy the schema file."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("name", schemas.NAMES)
def test_schema_is_current(name: str) -> None:
    assert (FOLDER / f"{name}.schema.json").read_text() == schemas.render(name), "run: make schemas"


def test_folder_holds_no_other_schema() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in schemas.NAMES}


@pytest.mark.parametrize("name", schemas.NAMES)
def test_schema_is_valid_and_describes_itself(name: str) -> None:
    schema = json.loads(schemas.render(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"]


def test_fields_carry_their_docstrings() -> None:
    change = json.loads(schemas.render("profile-changes"))["$defs"]["Change"]
    assert change["properties"]["at"]["description"].startswith("the instant it happened")
    assert change["description"] == "A record of `profile-changes`."


def test_what_the_code_writes_satisfies_its_schema() -> None:
    event = records.Event(
        received=1, occurred=1, source="t/0", offset=0, id="m", event="Order Completed", properties={"a": [1]}
    )
    change = outputs.Change(
        id="1",
        kind="entered",
        profile="main/user_id:u",
        name="buyer",
        at="2025-01-01T00:00:00.000Z",
        cause="event",
        version="v",
        seq=1,
    )
    validate("profile-events", json.loads(records.encode(event)))
    validate("profile-events", json.loads(records.encode(records.Tick(time=1, wake=2))))
    validate("profile-changes", json.loads(outputs.encode(change)))


def test_a_record_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate("profile-events", {"kind": "tick", "time": "now", "wake": 1})
    with pytest.raises(jsonschema.ValidationError):
        validate("profile-changes", {"id": "1"})


def test_raw_events_of_the_segment_spec_satisfy_the_schema() -> None:
    event = {
        "type": "track",
        "event": "Product Viewed",
        "userId": "u1",
        "properties": {"price": 3.5},
        "sentAt": "2025-01-01T00:00:00Z",
    }
    validate("raw-event", event)
    with pytest.raises(jsonschema.ValidationError):
        validate("raw-event", {"type": "track", "properties": "none"})


OURS = sorted([*ROOT.glob("examples/*/*.yaml"), *ROOT.glob("benchmarks/*/*.yaml")])


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_definitions_of_this_project_satisfy_the_schema(path: Path) -> None:
    kind = "destinations" if path.parent.name == "destinations" else "definitions"
    validate(kind, YAML(typ="safe", pure=True).load(path.read_text()))


def test_a_definition_with_a_typo_is_refused() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate("definitions", {"features": {"orders": {"cuont": "Order Completed"}}})
