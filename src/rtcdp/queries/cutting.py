"""`rtcdp cuts DIR`: quantile cuts from the live population, written into the folder and applied as a new version.

Cuts stay numbers in a version of the definitions: nothing compares profiles with each other while events flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasketches import kll_doubles_sketch
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import DefinitionErrors, SettingError
from rtcdp.position import POSITION_KEY
from rtcdp.profile import Profile
from rtcdp.queries.inspection import partitions_of
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.compiling.functions import is_number
from rtcdp.rules.compiling.interpreter import closure
from rtcdp.rules.compiling.readers import reader_of
from rtcdp.rules.expressions.scoring import Scored
from rtcdp.rules.expressions.tree import Call, Node, Type, spell_duration, unparse
from rtcdp.rules.loading.folder import Loaded, read_folder
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import opened_state
from rtcdp.settings.config import Settings
from rtcdp.transport.restore import restore

SIZE = 4096
"""Of a sketch: exact up to so many values; beyond, ranks are within 0.1 % at 99 % confidence (Karnin, Lang, Liberty 2016)."""
_HOUR, _DAY = 3_600_000, 86_400_000


@dataclass(frozen=True)
class NewCuts:
    """Cuts as they are and as they would be. name: `value`, or `customers.recency`; values are numbers or ms.

    of:       the expression that is compared with them.
    profiles: how many have a value of it.
    """

    name: str
    of: str
    is_duration: bool
    old: list[float]
    new: list[float]
    profiles: int

    def shown(self, values: Iterable[float]) -> list[Any]:
        """Values as the language writes them."""
        return [spell_duration(int(value)) if self.is_duration else value for value in values]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        old, new = self.shown(self.old), self.shown(self.new)
        return {"name": self.name, "of": self.of, "old": old, "new": new, "profiles": self.profiles}


@dataclass
class Population:
    """What profiles have of one expression; it grows profile by profile, in bounded memory."""

    scored: Scored
    sketch: Any = field(default_factory=lambda: kll_doubles_sketch(SIZE))
    whole: bool = True

    def add(self, value: Any) -> None:
        """A profile's value; who has none, or 0, says nothing about the others."""
        if is_number(value) and value:
            self.sketch.update(float(value))
            self.whole = self.whole and float(value).is_integer()

    def cuts(self, count: int, *, is_duration: bool) -> list[float]:
        """So many cuts that profiles are shared out evenly; [] where there are none. Equal ones are moved apart, upwards."""
        if self.sketch.is_empty():
            return []
        found: list[float] = []
        for place in range(1, count + 1):
            value = _rounded(self.sketch.get_quantile(place / (count + 1)), is_duration=is_duration, whole=self.whole)
            step = _HOUR if is_duration else 1 if self.whole else 0.01
            found.append(value if not found or value > found[-1] else found[-1] + step)
        return [round(value, 2) for value in found]


def _rounded(value: float, *, is_duration: bool, whole: bool) -> float:
    """A number that people can read: whole days or hours, whole numbers where all are, else hundredths."""
    if is_duration:
        unit = _DAY if value > 2 * _DAY else _HOUR
        return max(1, round(value / unit)) * unit
    return round(value) if whole else round(value, 2)


def compute(folder: Path, profiles_: Iterable[Profile]) -> list[NewCuts]:
    """Cuts for everything that the folder compares with cuts. Raises DefinitionErrors."""
    loaded = _load(folder)
    assert loaded.definitions is not None  # noqa: S101  _load has seen to it
    compiled = compile_definitions(loaded.definitions)
    populations = _populations(loaded)
    readers = [closure(_value(one.scored.node), reader_of(compiled)) for one in populations]
    for profile in profiles_:
        for population, read in zip(populations, readers, strict=True):
            population.add(read(profile, None))
    return [_cuts(loaded, one) for one in populations]


def _value(node: Node) -> Node:
    """What is compared: of a time, how long ago it was."""
    return Call("since", (node,), Type.DURATION, node.span) if node.type is Type.TIME else node


def _populations(loaded: Loaded) -> list[Population]:
    """One for each set of cuts: the first expression that is compared with it."""
    found: dict[str, Population] = {}
    for scored in loaded.scored:
        found.setdefault(scored.cuts, Population(scored))
    return list(found.values())


def _cuts(loaded: Loaded, population: Population) -> NewCuts:
    scored = population.scored
    old = loaded.cuts[scored.cuts]
    is_duration = old[0].type is Type.DURATION
    new = population.cuts(len(old), is_duration=is_duration)
    return NewCuts(
        scored.cuts,
        unparse(_value(scored.node)),
        is_duration,
        [cut.value for cut in old],
        new or [cut.value for cut in old],
        population.sketch.n,
    )


def _load(folder: Path) -> Loaded:
    loaded = read_folder(folder)
    if loaded.definitions is None:
        raise DefinitionErrors(loaded.errors)
    if not loaded.scored:
        raise SettingError(f"{folder}: nothing is compared with cuts; see score, tier and rfm in docs/language.md")
    return loaded


def population(settings: Settings) -> Iterator[Profile]:
    """Every profile of the changelog, at the time of its partition. Raises ClusterError."""
    kafka = settings.kafka()
    partitions = partitions_of(settings)
    sealer = sealer_of(settings, partitions)
    for number in range(partitions):
        state: dict[bytes, bytes] = {}
        restore(kafka, settings.changelog, number, state, group=f"{settings.app}-cuts")
        stored = state.pop(POSITION_KEY, None)
        now = positions.decode(stored).tick if stored is not None else 0
        for key, value in opened_state(state, sealer).items():
            if not key.startswith(b"~"):
                profile = profiles.decode(key.decode("utf-8", "replace"), value)
                profile.now = max(profile.now, now)
                yield profile


def write(folder: Path, found: Iterable[NewCuts]) -> list[str]:
    """Put new cuts into the folder's files, comments and order kept; the names of the files that changed."""
    loaded = _load(folder)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    changed: dict[str, list[NewCuts]] = {}
    for one in found:
        name = one.name.partition(".")[0]
        if one.new != one.old:
            changed.setdefault(loaded.sections["cuts"][name].key.source.file, []).append(one)
    for file, several in changed.items():
        path = folder / file
        document = yaml.load(path.read_text("utf-8"))
        for one in several:
            name, _, part = one.name.partition(".")
            place = document["cuts"][name][part] if part else document["cuts"][name]
            _replace(place, one.shown(one.new))
        with path.open("w", encoding="utf-8") as out:
            yaml.dump(document, out)
    return list(changed)


def _replace(place: CommentedSeq, values: list[Any]) -> None:
    for index, value in enumerate(values):
        place[index] = value


def show(found: Iterable[NewCuts], console: Console | None = None) -> None:
    """Print for people."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("cuts", "of", "profiles", "now", "from the population"):
        table.add_column(column, justify="right" if column == "profiles" else "left")
    for one in found:
        old, new = (", ".join(map(str, one.shown(values))) for values in (one.old, one.new))
        table.add_row(one.name, one.of, f"{one.profiles:,}", old, new if one.new != one.old else "[dim]the same[/]")
    (console or Console(highlight=False)).print(table)
