"""Two parsers of YAML, one meaning: what the quick one is asked for, it reads as the exact one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules.test_hostile_files import WORDS
from rules.test_normal_form import CHANGED

from rtcdp.errors import DefinitionError
from rtcdp.rules.loading import documents, yaml_events
from rtcdp.rules.loading.documents import Value, read_yaml

FOLDERS = [Path(__file__).parents[2] / "examples", Path(__file__).parent / "golden"]
MORE = [
    "\n",
    "\n  ",
    "\n    ",
    " ",
    "\n- ",
    " # c\n",
    ": ",
    ", ",
    "\u4ef7",
    "\U0001f600",
    "|\n",
    ">-\n  ",
    "'a\n  b'",
    '"a\n b\\n"',
]
MORE += [
    '"\\u00e9\\\n  x"',
    "a:b",
    "?x",
    "x?",
    "a#b",
    "[a,b]",
    "{a: b}",
    "{'a':1}",
    "&b ",
    "*b",
    "''",
    ":x",
    "::",
    "? a\n: b",
    "\t",
]
FLOW = [" ", "\n  ", "\n", "x", "'", '"', "#", ":", "-", "|", ">", "[", "]", "{", "}", ",", "&a", "*a", "?", "\\", "+", "1"]
texts = st.one_of(
    st.lists(st.sampled_from(WORDS.split() + MORE), max_size=14).map("".join),
    st.lists(st.sampled_from(FLOW), max_size=12).map(lambda pieces: "a:" + "".join(pieces)),
    st.tuples(st.integers(0, len(CHANGED)), st.integers(0, 8), st.sampled_from(MORE)).map(
        lambda cut: CHANGED[: cut[0]] + cut[2] + CHANGED[cut[0] + cut[1] :]
    ),
)


def exactly(text: str) -> tuple[Value | None, list[DefinitionError]]:
    errors: list[DefinitionError] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_events, "is_common", lambda text: False)
        return read_yaml("f", text.encode(), errors), errors


@settings(max_examples=4 * settings().max_examples, deadline=None)
@given(texts)
def test_both_read_the_same(text: str) -> None:
    errors: list[DefinitionError] = []
    assert (read_yaml("f", text.encode("utf-8"), errors), errors) == exactly(text)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_both_read_the_same_in_files(folder: Path) -> None:
    files = [path.read_text("utf-8") for path in folder.rglob("*.yaml")]
    quickly = 0
    for text in files:
        found = documents._quickly(documents.Source("f", text))
        quickly += found is not None
        assert found in (None, exactly(text)[0])
    assert quickly > 0.9 * len(files) or folder.name == "golden", "control: files as people write them are read quickly"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b\u2028c", "a line end of YAML 1.1"),
        ("%YAML 1.1\n---\na: on", "a directive"),
        ("a:\tb", "tabs"),
        ("&a:b c", "names of anchors"),
        ("a: |#\n b", "a block that begins with what is no comment"),
    ],
)
def test_what_they_see_differently_is_left_to_the_exact_one(text: str, why: str) -> None:
    assert not yaml_events.is_common(text), why
    assert yaml_events.is_common("a: [b, 'c', *d] # e\n")


def test_without_libyaml_all_is_read_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_events, "CParser", None)
    assert not yaml_events.is_common("a: b")
