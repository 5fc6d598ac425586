"""The reference says what the code does: its examples load, its tables name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from rtcdp.rules.expressions.signatures import SIGNATURES
from rtcdp.rules.loading import options
from rtcdp.rules.loading.check import check
from rtcdp.rules.loading.schema import definitions_schema

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_load_together_without_a_warning(tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"{number}.yaml").write_text(example, "utf-8")
    report = check(tmp_path)
    assert report.ok, str(report)
    assert report.warnings == [], str(report)
    assert len(report.files) == len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_the_examples_agree_with_the_schema(example: str) -> None:
    value = YAML(typ="safe", pure=True).load(example)
    jsonschema.validate(value, definitions_schema(), jsonschema.Draft202012Validator)


def test_every_function_is_on_the_page_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+\(.*?\))` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (signature.call(name), str(signature.result or "as given"), signature.about) for name, signature in SIGNATURES.items()
    ]


def test_every_section_is_on_the_page_as_it_is() -> None:
    for name, about in options.SECTIONS.items():
        assert f"| `{name}` | {about} |" in PAGE


TABLES = [
    "FEATURE",
    "TAG",
    "SEGMENT",
    "TRIGGER",
    "TRACKING",
    "PLANNED_EVENT",
    "CONSENT",
    "PURPOSE",
    "IDENTITY",
    "PROPERTY",
    "CAP",
    "UNLESS",
]
TABLES += ["PLANNED_EVENT", "CONSENT"]
TABLES += ["ON", "QUIET", "DEBOUNCE", "AGAIN", "GROUP", "CHANNEL", "JOURNEY_STEP", "WAY", "STAGE", "LIFECYCLE", "EXPIRE"]


@pytest.mark.parametrize("table", TABLES)
def test_every_option_is_on_the_page(table: str) -> None:
    for name in getattr(options, table):
        assert re.search(rf"[`{{ ]{name}\b", PAGE), name


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    from rtcdp.folding import triggers
    from rtcdp.rules.expressions import comparisons, names, parsing, tokens
    from rtcdp.rules.loading import limit_section, plans, reading, step_section

    assert f"At most {tokens.LONGEST_TEXT:,} characters, {comparisons.MOST_NODES:,} parts, {parsing.DEEPEST} deep" in PAGE
    assert f"at most {names.LONGEST_NAME} characters" in PAGE
    assert f"up to {names.LONGEST_EVENT} characters" in PAGE
    assert f"at most {reading.LONGEST_DURATION // 86_400_000}d" in PAGE
    assert f"`times` (1 to {limit_section.MOST_TIMES})" in PAGE
    assert f"a list of up to {limit_section.MOST_CAPS}" in PAGE
    assert f"At most {step_section.MOST_STEPS} steps, {step_section.DEEPEST} deep" in PAGE
    assert f"up to {triggers.MAX_INSTANCES} per trigger" in PAGE
    assert f"newest {triggers.MAX_INSTANCES} values" in PAGE
    assert f"up to {plans.MOST_ON_LIST:,} texts" in PAGE
