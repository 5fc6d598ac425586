"""A folder of YAML files to a checked set of definitions, and the same set again from its normal form."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from rtcdp.errors import DefinitionError, DefinitionErrors
from rtcdp.rules.definitions import Definitions, IdentityPlan, TrackingPlan
from rtcdp.rules.expressions.names import BUILT_IN_FEATURES, did_you_mean, fault_of_event, fault_of_name, listed
from rtcdp.rules.expressions.scoring import Cuts, Scored
from rtcdp.rules.expressions.teaching import about_colon, about_name
from rtcdp.rules.loading import normal, normal_reactions, plans
from rtcdp.rules.loading.consent_section import purposes
from rtcdp.rules.loading.documents import LARGEST_FILE, Entry, Mapping, Scalar, Value, from_plain, read_yaml
from rtcdp.rules.loading.options import SECTIONS
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.loading.scenarios import Scenario, read_scenarios
from rtcdp.rules.loading.sections import Sections
from rtcdp.rules.undisturbed import undisturbed

LARGEST_FOLDER = 16 * 1024 * 1024
MOST_FILES = 1_000
_SUFFIXES = (".yaml", ".yml")
# Sections that are one thing each, so that only one file can hold them.
_WHOLE = ("tracking", "identity", "lifecycle", "expire", "shadow", "consent")
# Sections whose names are used in expressions, so that one name means one thing, and what such a thing is called.
_SHARED = {"features": "feature", "tags": "tag", "segments": "segment", "lists": "list", "cuts": "set of cuts"}


@dataclass(frozen=True)
class Loaded:
    """What a folder holds.

    definitions: the checked set; None where there are errors.
    files:       the files read, relative to the folder.
    sections:    what was written, by section and name.
    reader:      every expression and every name of an event, with its place.
    scored:      what is compared with `cuts:`, over a profile; `cuts` are those, by name.
    shadow:      whether it says `shadow: true`; no part of the version.
    scenarios:   the tests beside the definitions, by name; empty where there are errors.
    """

    definitions: Definitions | None
    errors: list[DefinitionError]
    files: list[str] = field(default_factory=list)
    sections: dict[str, dict[str, Entry]] = field(default_factory=dict)
    reader: Reader = field(default_factory=Reader)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    scored: list[Scored] = field(default_factory=list)
    cuts: dict[str, Cuts] = field(default_factory=dict)
    shadow: bool = False


def load(folder: Path) -> Definitions:
    """The definitions of a folder. Raises DefinitionErrors with everything that is wrong in it."""
    loaded = read_folder(folder)
    if loaded.definitions is None:
        raise DefinitionErrors(loaded.errors)
    return loaded.definitions


def load_marked(folder: Path) -> tuple[Definitions, bool]:
    """The definitions of a folder, and whether it says `shadow: true`. Raises DefinitionErrors."""
    loaded = read_folder(folder)
    if loaded.definitions is None:
        raise DefinitionErrors(loaded.errors)
    return loaded.definitions, loaded.shadow


@undisturbed()
def definitions_from_normal(text: str) -> Definitions:
    """The definitions whose `normal` this is. Raises DefinitionErrors if it is no such thing."""
    reader = Reader()
    try:
        value = from_plain(orjson.loads(text))
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise DefinitionErrors([DefinitionError("definitions", 0, 0, f"this is not JSON: {error}")]) from None
    definitions = _build(reader, [("definitions", value)], None)
    if definitions is None:
        raise DefinitionErrors(reader.errors)
    return definitions


@undisturbed()
def read_folder(folder: Path) -> Loaded:
    """Read a folder as far as it can be read, with its errors. Nothing is raised."""
    reader = Reader()
    files = _files(folder, reader)
    documents: list[tuple[str, Value]] = []
    total = 0
    for name in files:
        try:
            with (folder / name).open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except OSError as error:
            reader.errors.append(DefinitionError(name, 1, 1, f"the file cannot be read: {error.strerror}"))
            continue
        total += len(content)
        if total > LARGEST_FOLDER:
            message = f"the files are larger than {LARGEST_FOLDER // 2**20} MiB together"
            reader.errors.append(DefinitionError(name, 1, 1, message))
            break
        value = read_yaml(name, content, reader.errors)
        if value is not None:
            documents.append((name, value))
    sections = _merge(reader, documents)
    definitions = _build_sections(reader, sections, folder)
    scenarios = {} if definitions is None else read_scenarios(reader, sections["scenarios"], definitions)
    shadow = reader.flag(sections["shadow"].get("shadow"))
    errors = _in_order(reader.errors)
    if errors:
        return Loaded(None, errors, files, sections, reader)
    cuts = plans.cuts(Reader(), sections["cuts"])
    return Loaded(definitions, errors, files, sections, reader, scenarios, reader.scored, cuts, shadow)


def _files(folder: Path, reader: Reader) -> list[str]:
    """Names of the YAML files below a folder, hidden ones left out."""
    if not folder.is_dir():
        reader.errors.append(DefinitionError(folder.name, 0, 0, "there is no such folder"))
        return []
    names = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.suffix in _SUFFIXES and not hidden and path.is_file():
            names.append(relative.as_posix())
    if not names:
        reader.errors.append(DefinitionError(folder.name, 0, 0, "the folder holds no .yaml file"))
    if len(names) > MOST_FILES:
        reader.errors.append(DefinitionError(folder.name, 0, 0, f"the folder holds more than {MOST_FILES} files"))
    return names[:MOST_FILES]


def _in_order(errors: list[DefinitionError]) -> list[DefinitionError]:
    """Each error once, by file, line and column."""
    return sorted(dict.fromkeys(errors), key=lambda error: (error.file, error.line, error.column))


def _build(reader: Reader, documents: list[tuple[str, Value]], folder: Path | None) -> Definitions | None:
    definitions = _build_sections(reader, _merge(reader, documents), folder)
    return None if reader.errors else definitions


def _merge(reader: Reader, documents: list[tuple[str, Value]]) -> dict[str, dict[str, Entry]]:
    """The sections of all files, each with its entries by name; names that clash are errors."""
    sections: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
    taken: dict[str, tuple[str, Scalar]] = {}
    for _, value in documents:
        if isinstance(value, Scalar) and value.empty:
            continue
        if not isinstance(value, Mapping):
            reader.fail(value, f"a file of definitions begins with one of the sections {listed(SECTIONS)}")
            continue
        for name, entry in value.entries.items():
            if name not in SECTIONS:
                message = f"unknown section '{name[:64]}': expected one of {listed(SECTIONS)}"
                reader.fail(entry.key, message, about_colon(name) or did_you_mean(name, SECTIONS))
            elif name in _WHOLE:
                _merge_whole(reader, sections[name], name, entry)
            elif name == "scenarios":
                _merge_scenarios(reader, sections[name], entry)
            else:
                _merge_named(reader, sections[name], name, entry, taken)
    return sections


def _merge_whole(reader: Reader, section: dict[str, Entry], name: str, entry: Entry) -> None:
    """A section that is one thing: only one file can hold it."""
    if name in section:
        line, column = section[name].key.place()
        first = f"first in {section[name].key.source.file}:{line}:{column}"
        reader.fail(entry.key, f"the section '{name}' is written twice", first)
    elif not (isinstance(entry.value, Scalar) and entry.value.empty):
        section[name] = entry


def _merge_scenarios(reader: Reader, section: dict[str, Entry], entry: Entry) -> None:
    """Tests by name, which is any text on one line."""
    for written, item in reader.mapping(entry.value, "the section 'scenarios'").items():
        name = unicodedata.normalize("NFC", written)
        if fault := fault_of_event(name):
            reader.fail(item.key, f"the name of a scenario {fault}")
        elif name in section:
            line, column = section[name].key.place()
            first = f"in {section[name].key.source.file}:{line}:{column}"
            reader.fail(item.key, f"there is a scenario '{name[:80]}' already", first)
        else:
            section[name] = item


def _merge_named(
    reader: Reader,
    section: dict[str, Entry],
    name: str,
    entry: Entry,
    taken: dict[str, tuple[str, Scalar]],
) -> None:
    """A section of named things: files add to it."""
    kind = _SHARED.get(name, name[:-1])
    for key, item in reader.mapping(entry.value, f"the section '{name}'").items():
        if fault := fault_of_name(key):
            reader.fail(item.key, f"the name '{key[:64]}' {fault}", about_name(key))
            continue
        unique = key if name in _SHARED else f"{name}:{key}"
        if unique in taken:
            other, first = taken[unique]
            line, column = first.place()
            message = f"'{key}' is already defined as a {other}"
            reader.fail(item.key, message, f"in {first.source.file}:{line}:{column}")
        elif key in BUILT_IN_FEATURES and name != "features":
            reader.fail(item.key, f"'{key}' is a built-in feature")
        else:
            taken[unique] = (kind, item.key)
            section[key] = item


def _build_sections(reader: Reader, sections: dict[str, dict[str, Entry]], folder: Path | None) -> Definitions | None:
    """Read the sections in the order in which they may use each other; None where something is wrong."""
    tracking, identity = TrackingPlan(), IdentityPlan()
    consent = sections["consent"].get("consent")
    known = {} if consent is None else purposes(Reader(), consent.value)  # what is wrong with them is said where they are read
    if written := sections["tracking"].get("tracking"):
        tracking = plans.tracking(reader, written.value, known)
    if written := sections["identity"].get("identity"):
        identity = plans.identity(reader, written.value)
    lists = {name: plans.one_list(reader, entry, folder) for name, entry in sorted(sections["lists"].items())}
    rules = Sections(reader, tracking, lists, plans.cuts(reader, sections["cuts"]))
    rules.read(sections)
    if reader.errors:
        return None
    built_in = {
        name: rules.features[name] for name in BUILT_IN_FEATURES if name not in sections["features"] and name in rules.features
    }
    own = {name: feature for name, feature in rules.features.items() if name not in built_in}
    document = normal.document(own, rules.tags, rules.segments, rules.triggers, lists, tracking, identity, rules.derived)
    document |= normal_reactions.document(rules.stages, rules.groups, rules.channels, rules.expire)
    if rules.consent is not None:
        document["consent"] = normal_reactions.consent_document(rules.consent)
    text = normal.canonical(document)
    return Definitions(
        features=rules.features,
        tags=rules.tags,
        segments=rules.segments,
        triggers=rules.triggers,
        lists=lists,
        tracking=tracking,
        identity=identity,
        normal=text,
        version=normal.version_of(text),
        stages=rules.stages,
        groups=rules.groups,
        channels=rules.channels,
        expire=rules.expire,
        derived=rules.derived,
        consent=rules.consent,
    )
