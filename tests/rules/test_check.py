from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from rtcdp.rules.loading.check import check
from rtcdp.rules.loading.folder import load
from rtcdp.rules.loading.options import SECTIONS
from rtcdp.rules.loading.schema import definitions_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted({path.parent for path in EXAMPLES.rglob("*.yaml")} - {EXAMPLES / "destinations"})
GOLDEN = Path(__file__).parent / "golden"

FEATURES = """
features:
  orders: {count: Order Completed}
  last_order: {last_time: Order Completed}
  favourite: {most_frequent: properties.kind, of: Product Viewed}
"""


def warnings(folder: Path, text: str) -> list[str]:
    (folder / "rules.yaml").write_text(FEATURES.lstrip() + text, "utf-8")
    report = check(folder)
    assert report.ok, str(report)
    return [str(warning) for warning in report.warnings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "segments: {s: favourite != 'shoes'}",
            (
                "5:15: favourite != 'shoes' is false where favourite is missing "
                "(if they are meant too: missing(favourite) or favourite != 'shoes')"
            ),
        ),
        (
            "segments: {s: since(last_order) > 30d}",
            (
                "5:15: since(last_order) > 30d is false where last_order is missing "
                "(if they are meant too: missing(last_order) or since(last_order) > 30d)"
            ),
        ),
        (
            "segments: {s: not (since(last_order) <= 30d)}",
            "5:15: this also holds where last_order is missing (leave them out with: and not missing(last_order))",
        ),
        (
            "segments: {s: since(last_order) == 30d}",
            "5:15: since(last_order) == 30d turns over for one millisecond only (compare with < or >)",
        ),
        (
            "segments: {s: orders > 1}\ntriggers: {t: {on: s}}",
            "6:20: 's' is an event here, but also the name of a segment (write on: {entered: s} if the segment is meant)",
        ),
        (
            "triggers: {t: {on: order  completed}}",
            "5:20: the event 'order  completed' is also written 'Order Completed' (names of events must agree exactly)",
        ),
        (
            "triggers: {t: {on: Order Completd}}",
            "5:20: the event 'Order Completd' is written here alone (did you mean 'Order Completed'?)",
        ),
        (
            "tracking: {unplanned: drop, events: {Order Completed: , Product Viewed: , A: }}\ntriggers: {t: {on: B}}",
            "6:20: the event 'B' is not in the tracking plan, which says 'drop' to such events",
        ),
        (
            "tracking: {events: {Product Viewed: {properties: {sort_kind: text, kinds: text}}}}",
            "4:30: the tracking plan of 'Product Viewed' has no property 'kind' (did you mean 'kinds'?)",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path, text: str, expected: str) -> None:
    assert warnings(tmp_path, text) == [f"rules.yaml:{expected}"]


@pytest.mark.parametrize(
    "text",
    [
        "segments: {s: orders != 1}",
        "segments: {s: missing(favourite) or favourite != 'shoes'}",
        "segments: {s: orders >= 1 and since(last_order) > 30d}",
        "segments: {s: since(last_seen) > 30d}",
        "segments: {s: since(last_order) <= 30d}",
        "segments: {s: not (since(last_order) <= 30d) and not missing(last_order)}",
        "segments: {s: orders > 1, r: not s}",
        "triggers: {t: {on: Order Refunded}}",
        "triggers: {t: {on: Lesson 2 Done}, u: {on: Lesson 2 Done}, v: {on: Lesson 3 Done}}",
        "triggers: {t: {on: page}}\ntracking: {unplanned: drop, events: {Order Completed: , Product Viewed: }}",
        "triggers: {t: {on: Something Else}}\ntracking: {events: {Order Completed: , Product Viewed: }}",
    ],
)
def test_what_is_meant_is_no_warning(tmp_path: Path, text: str) -> None:
    assert warnings(tmp_path, text) == []


def test_a_report_reads_well(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(FEATURES + "segments: {s: favourite != 'x'}", "utf-8")
    report = check(tmp_path)
    version = load(tmp_path).version
    assert str(report).splitlines()[-1] == f"{tmp_path}: 3 features, 1 segment in 1 file; version {version}; 1 warning"
    assert str(report).startswith(f"{tmp_path}/rules.yaml:6:15: warning: favourite != 'x'")
    document = json.loads(json.dumps(report.as_json()))
    assert document["ok"] is True
    assert document["counts"] == {"features": 3, "tags": 0, "segments": 1, "triggers": 0, "lists": 0, "scenarios": 0}
    assert document["warnings"][0]["line"] == 6


def test_a_report_of_errors(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("segments: {s: 1 +, r: x}", "utf-8")
    report = check(tmp_path)
    assert not report.ok
    assert str(report).splitlines()[-1] == f"{tmp_path}: 2 segments in 1 file; not usable; 2 errors"
    assert [error["column"] for error in report.as_json()["errors"]] == [18, 23]
    nowhere = check(tmp_path / "nowhere")
    assert str(nowhere).startswith(f"{tmp_path}/nowhere:0:0: there is no such folder\n")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_examples_are_without_fault(folder: Path) -> None:
    report = check(folder)
    assert report.ok, str(report)
    assert report.warnings == [], str(report)


# The schema that editors complete from


def read(path: Path) -> object:
    return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


def test_the_schema_is_a_schema_and_names_every_section() -> None:
    schema = definitions_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert list(schema["properties"]) == list(SECTIONS)
    for section in schema["properties"].values():
        assert section["description"]


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in FOLDERS for path in folder.glob("*.yaml")),
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_the_examples_agree_with_the_schema(path: Path) -> None:
    jsonschema.validate(read(path), definitions_schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "text",
    [
        "segmnts: {}",
        "features: {a: {cont: A}}",
        "features: {a: {count: A, sum: x, of: A}}",
        "features: {bad-name: {count: A}}",
        "segments: {a: {description: x}}",
        "triggers: {a: {after: 1h}}",
        "triggers: {a: {on: {stag: x}}}",
        "triggers: {a: {on: {stage: x, entered: y}}}",
        "triggers: {a: {on: A, steps: [{wait: 1d, send: b}]}}",
        "triggers: {a: {on: A, holdout: few}}",
        "lifecycle: {stages: [{a: {stay: 3d}}]}",
        "groups: {a: {pick: first}}",
        "expire: {never: 1d}",
        "tracking: {unplanned: maybe}",
        "tracking: {events: {A: {properties: {x: numbr}}}}",
        "identity: {namespaces: [{name: a}]}",
        "lists: {a: {}}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str, tmp_path: Path) -> None:
    value = YAML(typ="safe", pure=True).load(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, definitions_schema(), jsonschema.Draft202012Validator)
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    assert not check(tmp_path).ok
