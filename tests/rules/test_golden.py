"""Wrong definitions and what is said about them, as readable files under golden/.

A case is its definitions, a line of dashes, and each message with the line it points at. `UPDATE_GOLDEN=1` writes the messages
anew: read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtcdp.rules.loading.folder import read_folder

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.txt"))
_CASE = re.compile(r"^==== (\w+)( \(alone\))?\n(.*?)^----\n(.*?)(?=^====|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    name: str
    alone: bool
    definitions: str
    expected: str


def cases(file: Path) -> list[Case]:
    return [
        Case(name, bool(alone), definitions, expected.strip("\n"))
        for name, alone, definitions, expected in _CASE.findall(file.read_text("utf-8"))
    ]


def messages(case: Case, folder: Path) -> str:
    """What loading says, each message with the line it is about and a mark at the column."""
    (folder / "wrong.yaml").write_text(case.definitions, "utf-8")
    if not case.alone:
        (folder / "base.yaml").write_text((GOLDEN / "base.yaml").read_text("utf-8"), "utf-8")
    loaded = read_folder(folder)
    assert loaded.definitions is None
    lines = [*case.definitions.splitlines(), ""]
    shown = []
    for error in loaded.errors:
        assert error.file == "wrong.yaml"
        text = lines[error.line - 1]
        shown += [str(error).partition(":")[2], f"    {text}", "    " + " " * (error.column - 1) + "^"]
    return "\n".join(shown)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_wrong_definitions_are_explained(file: Path, tmp_path: Path) -> None:
    written = []
    for case in cases(file):
        folder = tmp_path / case.name
        folder.mkdir()
        found = messages(case, folder)
        written.append(f"==== {case.name}{' (alone)' * case.alone}\n{case.definitions}----\n{found}\n")
        if "UPDATE_GOLDEN" not in os.environ:
            assert found == case.expected, case.name
    if "UPDATE_GOLDEN" in os.environ:
        file.write_text("\n".join(written), "utf-8")


def test_there_are_enough_cases_and_each_name_is_used_once() -> None:
    names = [case.name for file in FILES for case in cases(file)]
    assert len(names) == len(set(names)) >= 100
