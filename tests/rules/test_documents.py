from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    FoldedScalarString,
    LiteralScalarString,
    PlainScalarString,
    SingleQuotedScalarString,
)

from rtcdp.errors import DefinitionError
from rtcdp.rules.loading.documents import Mapping, Scalar, Sequence, from_plain, read_yaml

STYLES = [PlainScalarString, SingleQuotedScalarString, DoubleQuotedScalarString, FoldedScalarString, LiteralScalarString]
words = st.text(st.sampled_from("abcxyz019'\"\\\u4ef7\u00e9=<>()"), min_size=1, max_size=12)


def read(text: str) -> tuple[object, list[DefinitionError]]:
    errors: list[DefinitionError] = []
    return read_yaml("f.yaml", text.encode(), errors), errors


@given(
    parts=st.lists(words, min_size=1, max_size=12),
    style=st.sampled_from(STYLES),
    width=st.integers(8, 40),
    deep=st.booleans(),
)
def test_every_character_knows_its_line_and_column(parts: list[str], style: type[str], width: int, *, deep: bool) -> None:
    text = " ".join(parts)
    yaml = YAML()
    yaml.width = width
    yaml.allow_unicode = len(text) % 2 == 0
    stream = StringIO()
    yaml.dump({"a": {"b": style(text)}} if deep else [1, style(text)], stream)
    value, errors = read(stream.getvalue())
    assert errors == []
    while isinstance(value, Mapping):
        value = next(iter(value.entries.values())).value
    scalar = value.items[1] if isinstance(value, Sequence) else value
    assert isinstance(scalar, Scalar)
    text = scalar.text.rstrip("\n")  # ruamel sometimes folds between characters when it writes
    lines = stream.getvalue().splitlines()
    places = [scalar.place(offset) for offset in range(len(text))]
    assert places == sorted(places)
    for character, (line, column) in zip(text, places, strict=True):
        if character.isascii() and not character.isspace():
            found = lines[line - 1][column - 1]
            assert found == character or (found == "\\" and character in '"\\')


def test_keys_and_collections_know_their_places() -> None:
    value, _ = read("a:\n  - b: [c]\n")
    assert isinstance(value, Mapping)
    assert value.entries["a"].key.place() == (1, 1)
    sequence = value.entries["a"].value
    assert isinstance(sequence, Sequence)
    assert sequence.place() == (2, 3)


@pytest.mark.parametrize(
    ("text", "plain", "empty"),
    [
        ("on", True, False),
        ("'on'", False, False),
        ("", True, True),
        ("~", True, True),
        ("null", True, True),
        ("'null'", False, False),
    ],
)
def test_nothing_is_interpreted(text: str, *, plain: bool, empty: bool) -> None:
    value, _ = read(f"a: {text}")
    assert isinstance(value, Mapping)
    scalar = value.entries["a"].value
    assert isinstance(scalar, Scalar)
    assert (scalar.plain, scalar.empty) == (plain, empty)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_in_any_way(newline: str) -> None:
    _, errors = read(newline.join(["a: 1", "b: 2", "a: 3"]))
    assert [(error.line, error.column) for error in errors] == [(3, 1)]


def test_a_mark_of_byte_order_is_no_character() -> None:
    errors: list[DefinitionError] = []
    read_yaml("f.yaml", b"\xef\xbb\xbfa: 1\na: 2", errors)
    assert [(error.line, error.column) for error in errors] == [(2, 1)]


def test_what_is_not_utf_8_is_an_error_with_its_place() -> None:
    errors: list[DefinitionError] = []
    read_yaml("f.yaml", b"a: 1\nb: \xff", errors)
    assert [str(error) for error in errors] == ["f.yaml:2:4: the file is not UTF-8"]


def test_json_has_no_places_and_keeps_what_is_text() -> None:
    value = from_plain({"a": [True, 1, 1.5, None, "1"]})
    assert isinstance(value, Mapping)
    sequence = value.entries["a"].value
    assert isinstance(sequence, Sequence)
    assert [(item.text, item.plain) for item in sequence.items if isinstance(item, Scalar)] == [
        ("true", True),
        ("1", True),
        ("1.5", True),
        ("null", True),
        ("1", False),
    ]
    assert value.place() == (0, 0)
