"""Folders of definitions for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write files and give their folder: `folder(text)` or `folder(name=text, ...)`."""

    def write(text: str | None = None, **files: str) -> Path:
        if text is not None:
            files["rules"] = text
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content, "utf-8")
        return tmp_path

    return write
