"""Secrets of destinations: read from files and variables when the folder is loaded, never written down with it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rtcdp.rules.loading.documents import Scalar
from rtcdp.rules.loading.reading import Reader

LARGEST = 65_536
_PLACE = re.compile(r"\$\{(file|env):([^}]+)\}")


class SecretReader:
    """Reads what `${file:PATH}` and `${env:NAME}` stand for.

    folder:   that paths are relative to.
    required: whether a secret that is not there is an error; else a placeholder stands for it (checking on another machine).
    """

    def __init__(self, reader: Reader, folder: Path, *, required: bool = True) -> None:
        self._reader = reader
        self._folder = folder
        self._required = required

    def __call__(self, scalar: Scalar, start: int, end: int) -> str:
        """The secret whose place is text[start:end]; "" where it cannot be read, which is an error then."""
        match = _PLACE.fullmatch(scalar.text, start, end)
        if match is None:
            self._reader.fail(scalar, "a secret is written ${file:PATH} or ${env:NAME}", "", start)
            return ""
        kind, name = match.groups()
        try:
            found = self._file(name) if kind == "file" else os.environ[name].strip()
        except (OSError, UnicodeDecodeError, KeyError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not set" if kind == "env" else "it is not UTF-8"
            if not self._required:
                return "secret"
            self._reader.fail(scalar, f"the secret {kind}:{name} cannot be read: {why}", "", start)
            return ""
        if not found.isprintable():
            self._reader.fail(scalar, f"the secret {kind}:{name} has control characters", "", start)
            return ""
        return found

    def text(self, scalar: Scalar) -> str:
        """A text with its secrets put in, and no expressions."""
        text, at, found = scalar.text, 0, ""
        while (start := text.find("${", at)) >= 0:
            end = text.find("}", start) + 1 or len(text)
            found += text[at:start] + self(scalar, start, end)
            at = end
        return found + text[at:]

    def _file(self, name: str) -> str:
        with (self._folder / name).open("rb") as file:
            return file.read(LARGEST).decode().strip()
