"""YAML 1.2 text to a tree of texts with places, bounded in size and depth, whatever the bytes.

Nothing is interpreted here: `on`, `no` and `30d` are text. Every value knows where it stands, so that an error can name
line and column, also inside a quoted or folded text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from rtcdp.errors import DefinitionError
from rtcdp.rules.expressions.teaching import about_yaml
from rtcdp.rules.loading import yaml_events
from rtcdp.rules.loading.yaml_events import NotYaml

LARGEST_FILE = 2 * 1024 * 1024
DEEPEST = 16
MOST_VALUES = 500_000
LONGEST_SCALAR = 100_000


@dataclass(frozen=True)
class Source:
    """A text and the name of its file. The name of what has no file is `definitions`."""

    file: str
    text: str

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", self.text))]

    def place(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of a character."""
        line = bisect_right(self._lines, index)
        return line, index - self._lines[line - 1] + 1


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text. plain: written without quotes. start, end: characters of the source."""

    text: str
    plain: bool
    source: Source
    start: int
    end: int

    @property
    def empty(self) -> bool:
        """Nothing was written: no value, `~` or `null`."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")

    def place(self, offset: int = 0) -> tuple[int, int]:
        """Line and column of a character of the text."""
        if not self.source.text:
            return 0, 0
        raw = self.source.text[self.start : self.end]
        return self.source.place(self.start + _raw_offset(raw, self.text, offset))


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: Scalar
    value: Value


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values, keys unique, in the order written."""

    entries: dict[str, Entry]
    source: Source
    start: int

    def place(self, offset: int = 0) -> tuple[int, int]:
        """Line and column where it begins."""
        return self.source.place(self.start) if self.source.text else (0, 0)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Values in order."""

    items: tuple[Value, ...]
    source: Source
    start: int

    def place(self, offset: int = 0) -> tuple[int, int]:
        """Line and column where it begins."""
        return self.source.place(self.start) if self.source.text else (0, 0)


Value = Scalar | Mapping | Sequence


class _Stop(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, message: str, index: int, hint: str = "") -> None:
        self.message, self.index, self.hint = message, index, hint
        super().__init__(message)


def read_yaml(file: str, content: bytes, errors: list[DefinitionError]) -> Value | None:
    """The tree of one YAML document; None where there is none. What is wrong is added to `errors`."""
    source = Source(file, "")
    if len(content) > LARGEST_FILE:
        errors.append(DefinitionError(file, 1, 1, f"the file is larger than {LARGEST_FILE // 2**20} MiB"))
        return None
    try:
        source = Source(file, content.decode("utf-8-sig"))
        found = _quickly(source)
        return _Reader(source, errors).read(yaml_events.exact(source.text)) if found is None else found
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        line, column = Source(file, before).place(len(before))
        errors.append(DefinitionError(file, line, column, "the file is not UTF-8"))
    except NotYaml as fault:
        line, column = source.place(min(fault.index, len(source.text)))
        errors.append(DefinitionError(file, line, column, fault.message, about_yaml(fault.message)))
    except _Stop as stop:
        line, column = source.place(min(stop.index, len(source.text)))
        errors.append(DefinitionError(file, line, column, stop.message, stop.hint))
    return None


def _quickly(source: Source) -> Value | None:
    """The tree of a common text with nothing wrong in it; None for every other."""
    if not yaml_events.is_common(source.text):
        return None
    errors: list[DefinitionError] = []
    try:
        value = _Reader(source, errors).read(yaml_events.quick(source.text))
    except (NotYaml, _Stop):
        return None
    return None if errors else value


_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # anchor and tag before a scalar
_HALF = re.compile("[\ud800-\udfff]")


class _Reader:
    """Builds the tree from the events of a parser."""

    def __init__(self, source: Source, errors: list[DefinitionError]) -> None:
        self._source = source
        self._errors = errors
        self._anchors: dict[str, tuple[Value, int] | None] = {}
        self._count = 0
        self._end = 0  # of the event before

    def read(self, events: Iterator[Event]) -> Value | None:
        value: Value | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Stop("a file holds one document", event.start_mark.index, "move it to a file of its own")
            elif isinstance(event, ScalarEvent | AliasEvent | MappingStartEvent | SequenceStartEvent):
                value = self._value(event, events, 0)
        return value

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Value:
        """The value that begins with an event."""
        index, ended = event.start_mark.index, self._end
        self._end = event.end_mark.index
        self._counted(1, index)
        if depth > DEEPEST:
            raise _Stop(f"values are nested more than {DEEPEST} deep", index)
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, index)
        if event.tag is not None:
            hint = (
                "a condition is turned around with 'not'"
                if event.tag.startswith("!") and not event.tag.startswith("!!")
                else ""
            )
            raise _Stop(f"tags like '{event.tag}' have no meaning here", index, hint)
        before = self._count
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # not ready: an alias inside would never end
        if isinstance(event, ScalarEvent):
            value: Value = self._scalar(event, ended)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, events, depth)
        else:
            value = self._sequence(event, events, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _counted(self, more: int, index: int) -> None:
        self._count += more
        if self._count > MOST_VALUES:
            raise _Stop(f"the file has more than {MOST_VALUES} values", index, "an alias counts as all it stands for")

    def _alias(self, name: str, index: int) -> Value:
        if name not in self._anchors:
            raise _Stop(f"there is no anchor '&{name}' before this", index)
        known = self._anchors[name]
        if known is None:
            raise _Stop(f"'*{name}' stands inside of what it stands for", index)
        value, size = known
        self._counted(size, index)
        return value

    def _scalar(self, event: ScalarEvent, before: int) -> Scalar:
        """before: where what comes before it ends."""
        start, end = event.start_mark.index, event.end_mark.index
        plain = not event.style
        if len(event.value) > LONGEST_SCALAR:
            raise _Stop(f"a text is longer than {LONGEST_SCALAR} characters", start)
        if not event.value.isascii() and _HALF.search(event.value):
            raise _Stop("the text holds half a character (a lone surrogate)", start)
        if start == end:  # nothing is written: the parser's mark may be at whatever comes next
            start = _written_up_to(self._source.text, before, start)
            return Scalar(event.value, plain, self._source, start, start)
        if self._source.text[start] in "&!":
            properties = _PROPERTIES.match(self._source.text, start, end)
            start = properties.end() if properties else start
        return Scalar(event.value, plain, self._source, start, end)

    def _mapping(self, event: Any, events: Iterator[Any], depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        for key_event in events:
            if isinstance(key_event, MappingEndEvent):
                self._end = key_event.end_mark.index
                break
            key = self._value(key_event, events, depth + 1)
            value = self._value(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                self._error("a key must be text", key)
            elif key.text in entries:
                line, column = entries[key.text].key.place()
                self._error(f"'{key.text}' is written twice", key, f"first in line {line}, column {column}")
            else:
                entries[key.text] = Entry(key, value)
        return Mapping(entries, self._source, event.start_mark.index)

    def _sequence(self, event: Any, events: Iterator[Any], depth: int) -> Sequence:
        items: list[Value] = []
        for item in events:
            if isinstance(item, SequenceEndEvent):
                self._end = item.end_mark.index
                break
            items.append(self._value(item, events, depth + 1))
        return Sequence(tuple(items), self._source, event.start_mark.index)

    def _error(self, message: str, value: Value, hint: str = "") -> None:
        self._errors.append(DefinitionError(self._source.file, *value.place(), message, hint))


def _written_up_to(text: str, start: int, end: int) -> int:
    """Where the last that is written between two places ends, comments left out; there are indicators alone."""
    last = start
    for line in text[start:end].splitlines(keepends=True):
        written = line.partition("#")[0].rstrip()
        last = start + len(written) if written else last
        start += len(line)
    return last


def _raw_offset(raw: str, text: str, offset: int) -> int:
    """Where character `offset` of a scalar's text stands in its source.

    Quotes, escapes, indentation and folded lines make the two differ, but only in white space and escapes: both are
    walked side by side. One past the end is allowed.
    """
    quote = raw[:1] if raw[:1] in ("'", '"', "|", ">") else ""
    at = 0
    if quote in ("|", ">"):
        at = raw.find("\n") + 1
    elif quote:
        at = 1
    last = at
    for character in text[: offset + 1]:
        if not character.isspace() or quote == '"':
            at = _skip(raw, at, character, quote)
        last = at
        if at < len(raw) and (raw[at].isspace() == character.isspace() or quote == '"'):
            at += _width(raw, at, quote)
    return last if offset < len(text) else at


def _skip(raw: str, at: int, character: str, quote: str) -> int:
    """Skip the white space that folding took out before a character."""
    while at < len(raw):
        if quote == '"' and raw[at] == "\\" and raw[at + 1 : at + 2] in ("\n", "\r"):
            at = len(raw) - len(raw[at + 1 :].lstrip())  # the next line goes on behind its indentation
        elif raw[at].isspace() and not (character.isspace() and raw[at] == character):
            at += 1
        else:
            break
    return at


_ESCAPE_WIDTH = {"x": 4, "u": 6, "U": 10}


def _width(raw: str, at: int, quote: str) -> int:
    """How many characters of the source make one of the text."""
    if quote == '"' and raw[at] == "\\":
        return _ESCAPE_WIDTH.get(raw[at + 1 : at + 2], 2)
    if quote == "'" and raw[at : at + 2] == "''":
        return 2
    return 1


def from_plain(value: Any, source: Source | None = None) -> Value:
    """The tree of a JSON value, which has no places: texts count as quoted, everything else as plain."""
    source = source or Source("definitions", "")
    if isinstance(value, dict):
        entries = {
            key: Entry(Scalar(key, plain=True, source=source, start=0, end=0), from_plain(item, source))
            for key, item in value.items()
        }
        return Mapping(entries, source, 0)
    if isinstance(value, list):
        return Sequence(tuple(from_plain(item, source) for item in value), source, 0)
    if isinstance(value, str):
        return Scalar(value, plain=False, source=source, start=0, end=0)
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return Scalar(text, plain=True, source=source, start=0, end=0)


_PLAIN = {"true": True, "false": False}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][+-]?\d{1,3})?", re.ASCII)


def to_plain(value: Value) -> Any:
    """A value as JSON has it: what is written without quotes is a number, true, false or null where it can be one."""
    if isinstance(value, Mapping):
        return {name: to_plain(entry.value) for name, entry in value.entries.items()}
    if isinstance(value, Sequence):
        return [to_plain(item) for item in value.items]
    if not value.plain:
        return value.text
    if value.empty:
        return None
    if value.text in _PLAIN:
        return _PLAIN[value.text]
    match = _NUMBER.fullmatch(value.text)
    if match is None:
        return value.text
    number = float(value.text) if match[2] or match[3] else int(value.text)
    return number if math.isfinite(number) else value.text
