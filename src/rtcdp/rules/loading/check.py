"""`rtcdp check DIR`: everything there is to say about a folder of definitions before anybody runs it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rtcdp.errors import DefinitionError
from rtcdp.rules.loading.doubts import doubts
from rtcdp.rules.loading.folder import read_folder

COUNTED = ("features", "tags", "segments", "triggers", "lists", "scenarios")


@dataclass(frozen=True)
class Report:
    """What is in a folder of definitions and what is wrong with it.

    folder:   as it was given.
    files:    names of the files read, relative to the folder.
    counts:   definitions by section; the built-in features only where they are used.
    version:  of the set; empty where there are errors.
    errors:   why it cannot be used.
    warnings: what is allowed but probably not meant; looked for where there are no errors.
    """

    folder: str
    files: list[str]
    counts: dict[str, int]
    version: str = ""
    errors: list[DefinitionError] = field(default_factory=list)
    warnings: list[DefinitionError] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the definitions can be used."""
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        """The report for people: one line for each error and warning, then a summary."""
        lines = [self._line(error, "") for error in self.errors]
        lines += [self._line(warning, "warning: ") for warning in self.warnings]
        counts = ", ".join(f"{count} {name if count != 1 else name[:-1]}" for name, count in self.counts.items() if count)
        found = [f"{len(them)} {name}{'s' * (len(them) != 1)}" for name, them in self._found()]
        version = f"version {self.version}" if self.version else "not usable"
        summary = f"{self.folder}: {counts or 'no definitions'} in {len(self.files)} file{'s' * (len(self.files) != 1)}"
        return "\n".join([*lines, "; ".join([summary, version, *found])])

    def _found(self) -> list[tuple[str, list[DefinitionError]]]:
        return [(name, them) for name, them in (("error", self.errors), ("warning", self.warnings)) if them]

    def _line(self, found: DefinitionError, kind: str) -> str:
        """One error or warning as `PATH:LINE:COLUMN: ...`, which terminals and editors make a link."""
        path = Path(self.folder, found.file) if found.file in self.files else Path(self.folder)
        return str(DefinitionError(str(path), found.line, found.column, kind + found.message, found.hint))


def check(folder: Path) -> Report:
    """Look at a folder of definitions. Nothing is raised, whatever is in it."""
    loaded = read_folder(folder)
    definitions = loaded.definitions
    counts = {name: len(loaded.sections.get(name, {})) for name in COUNTED}
    if definitions is None:
        return Report(str(folder), loaded.files, counts, errors=loaded.errors)
    counts["features"] = len(definitions.features)
    return Report(str(folder), loaded.files, counts, version=definitions.version, warnings=doubts(definitions, loaded.reader))
