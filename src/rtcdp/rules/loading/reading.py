"""Values of a document to texts, durations, events and expressions; whatever is wrong is collected with its place."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any

from rtcdp.errors import DefinitionError
from rtcdp.rules.definitions import ANY_EVENT
from rtcdp.rules.expressions.names import did_you_mean, fault_of_event, listed
from rtcdp.rules.expressions.parsing import ExpressionErrors, parse, parse_condition
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.teaching import about_colon, about_duration
from rtcdp.rules.expressions.tree import Literal, Node, Type, spell_duration
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Sequence, Value
from rtcdp.rules.loading.options import Option

LONGEST_DURATION = 3650 * 86_400_000
MOST_ERRORS = 500
_NOTHING = Scope("constants alone")


@dataclass(frozen=True, slots=True)
class Written:
    """An expression as written: what it belongs to (`segment buyers`), the tree, its text, the events it looks at."""

    owner: str
    node: Node
    scalar: Scalar
    events: tuple[str, ...] = ()


@dataclass
class Reader:
    """Reads values and collects errors; what cannot be read is None, and reading goes on.

    expressions: all that were read, for those who look at them with their places.
    event_names: all names of events that were read, the same.
    scored: what is compared with `cuts:`.
    """

    errors: list[DefinitionError] = field(default_factory=list)
    expressions: list[Written] = field(default_factory=list)
    event_names: list[Scalar] = field(default_factory=list)
    scored: list[Any] = field(default_factory=list)
    _constants: dict[str, Node] = field(default_factory=dict)  # durations that were read, by their text

    def fail(self, value: Value, message: str, hint: str = "", offset: int = 0) -> None:
        """Add an error at a value, or at a character of its text."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(DefinitionError(value.source.file, *value.place(offset), message, hint))

    def options(
        self, value: Value, table: AnyMapping[str, Option], what: str, key: Scalar | None = None
    ) -> dict[str, Entry] | None:
        """The entries of a mapping that may have the keys of a table, e.g. what="a tag". None if it is no mapping."""
        if not isinstance(value, Mapping):
            self.fail(value, f"{what} is written with the options {listed(table, 20)}")
            return None
        found = {}
        for name, entry in value.entries.items():
            if name in table:
                found[name] = entry
            else:
                message = f"unknown option '{name}': expected one of {listed(table, 20)}"
                hint = did_you_mean(name, table)
                if isinstance(entry.value, Scalar) and entry.value.empty and " " in name:
                    hint = "in { }, a text with a comma needs quotes"
                self.fail(entry.key, message, hint)
        for name, option in table.items():
            if option.required and name not in found:
                self.fail(key or value, f"{what} needs '{name}': {option.about}")
        return found

    def mapping(self, value: Value, what: str) -> dict[str, Entry]:
        """The entries of a mapping with free keys; empty if it is none."""
        if isinstance(value, Mapping):
            return value.entries
        if not (isinstance(value, Scalar) and value.empty):
            hint = about_colon(value.text) if isinstance(value, Scalar) else ""
            self.fail(value, f"{what} is written as NAME: VALUE, one per line", hint)
        return {}

    def items(self, value: Value) -> tuple[Value, ...]:
        """The items of a sequence; a single value counts as one item."""
        return value.items if isinstance(value, Sequence) else (value,)

    def scalar(self, value: Value, what: str) -> Scalar | None:
        """One text that is not empty."""
        if not isinstance(value, Scalar):
            self.fail(value, f"{what} is expected, not a {'list' if isinstance(value, Sequence) else 'mapping'}")
            return None
        if value.empty or not value.text.strip():
            self.fail(value, f"{what} is expected, but nothing is written")
            return None
        return value

    def text(self, entry: Entry | None, what: str = "text", longest: int = 2_000) -> str:
        """A text; empty where it is absent."""
        if entry is None or (scalar := self.scalar(entry.value, what)) is None:
            return ""
        if len(scalar.text) > longest:
            self.fail(scalar, f"{what} has at most {longest} characters")
            return ""
        return unicodedata.normalize("NFC", scalar.text)

    def texts(self, entry: Entry | None, what: str) -> list[Scalar]:
        """One text or several."""
        if entry is None:
            return []
        found = [self.scalar(item, what) for item in self.items(entry.value)]
        return [scalar for scalar in found if scalar is not None]

    def flag(self, entry: Entry | None) -> bool:
        """`true` or `false`; false where it is absent."""
        if entry is None:
            return False
        if not isinstance(entry.value, Scalar) or entry.value.text not in ("true", "false"):
            self.fail(entry.value, "true or false is expected")
            return False
        return entry.value.text == "true"

    def choice(self, entry: Entry | None, option: Option, default: str) -> str:
        """One of the option's words."""
        if entry is None or (scalar := self.scalar(entry.value, f"one of {listed(option.choices)}")) is None:
            return default
        if scalar.text not in option.choices:
            message = f"unknown word '{scalar.text}': expected one of {listed(option.choices)}"
            self.fail(scalar, message, did_you_mean(scalar.text, option.choices))
            return default
        return scalar.text

    def whole(self, entry: Entry | None, least: int, most: int) -> int:
        """A whole number; `least` where it cannot be read."""
        if entry is None or (scalar := self.scalar(entry.value, "a whole number")) is None:
            return least
        digits = scalar.text if scalar.text.isascii() and scalar.text.isdecimal() and len(scalar.text) < 20 else "-1"
        if not least <= int(digits) <= most:
            self.fail(scalar, f"a whole number from {least} to {most} is expected, not '{scalar.text[:40]}'")
            return least
        return int(digits)

    def duration(self, entry: Entry | None, least: int) -> int | None:
        """Milliseconds of a duration, as `30d` or `1h + 30m`; None where it is absent or cannot be read."""
        if entry is None or (scalar := self.scalar(entry.value, "a duration")) is None:
            return None
        if ".." in scalar.text:
            self.fail(scalar, f"a single duration is expected, not '{scalar.text[:40]}'", "windows end now: write 90d")
            return None
        if scalar.text.strip().isalpha():
            self.fail(scalar, f"a duration is expected, not '{scalar.text[:40]}'", about_duration(scalar.text))
            return None
        node = self._constants.get(scalar.text) or self._parsed(scalar, _NOTHING, condition=False)
        if node is None:
            return None
        self._constants[scalar.text] = node
        zero = isinstance(node, Literal) and node.type is Type.NUMBER and node.value == 0
        if not isinstance(node, Literal) or not (node.type is Type.DURATION or zero):
            self.fail(scalar, f"a duration is expected, not '{scalar.text[:40]}'", "write 30d, 12h, 45m, 10s or 250ms")
            return None
        if not least <= node.value <= LONGEST_DURATION:
            bound = "is at most 3650d" if node.value > LONGEST_DURATION else "must be positive"
            if least > 1 and node.value < least:
                bound = f"is at least {spell_duration(least)}"
            self.fail(scalar, f"the duration {bound}")
            return None
        return int(node.value)

    def window(self, entry: Entry | None) -> tuple[int | None, int]:
        """Milliseconds of `90d`, and 0; of `90d..30d` also how long before now it ends. None where it is absent."""
        scalar = None if entry is None else self.scalar(entry.value, "a duration")
        if entry is None or scalar is None or ".." not in scalar.text:
            return self.duration(entry, least=1) if scalar is not None else None, 0
        before, _, after = scalar.text.partition("..")
        ends = [self._end(scalar, text, at) for text, at in ((before, 0), (after, len(before) + 2))]
        within, offset = ends
        if within is None or offset is None:
            return None, 0
        if offset >= within:
            self.fail(scalar, f"the window {scalar.text.strip()[:40]} is empty", "write the longer time first: 90d..30d")
            return None, 0
        return within, offset

    def _end(self, scalar: Scalar, text: str, at: int) -> int | None:
        """One end of a window, which is the text of the scalar from `at`."""
        try:
            node = parse(text.strip(), _NOTHING)
        except ExpressionErrors:
            node = None
        if not isinstance(node, Literal) or node.type is not Type.DURATION or not 0 < node.value <= LONGEST_DURATION:
            self.fail(scalar, f"a duration of at most 3650d is expected, not '{text.strip()[:40]}'", "write 90d..30d", at)
            return None
        return int(node.value)

    def event(self, value: Value) -> str | None:
        """The name of an event, or `*`."""
        scalar = self.scalar(value, "the name of an event")
        if scalar is None:
            return None
        name = unicodedata.normalize("NFC", scalar.text)
        if fault := fault_of_event(name):
            self.fail(scalar, f"the name of an event {fault}")
            return None
        self.event_names.append(scalar)
        return name

    def events(self, entry: Entry | None) -> tuple[str, ...]:
        """Names of events, sorted, each once; `*` alone if it is among them."""
        if entry is None:
            return ()
        if isinstance(entry.value, Sequence) and not entry.value.items:
            self.fail(entry.value, "the name of an event is expected, but the list is empty")
        names = {name for item in self.items(entry.value) if (name := self.event(item)) is not None}
        return (ANY_EVENT,) if ANY_EVENT in names else tuple(sorted(names))

    def expression(self, value: Value, scope: Scope, owner: str, *, condition: bool = False) -> Node | None:
        """A checked expression."""
        scalar = self.scalar(value, "a condition" if condition else "an expression")
        if scalar is None:
            return None
        node = self._parsed(scalar, scope, condition=condition)
        if node is not None:
            self.expressions.append(Written(owner, node, scalar, scope.events))
        return node

    def condition(self, entry: Entry | None, scope: Scope, owner: str) -> Node | None:
        """A checked condition; None where it is absent."""
        return None if entry is None else self.expression(entry.value, scope, owner, condition=True)

    def _parsed(self, scalar: Scalar, scope: Scope, *, condition: bool) -> Node | None:
        if len(self.errors) >= MOST_ERRORS:
            return None
        try:
            return (parse_condition if condition else parse)(scalar.text, scope)
        except ExpressionErrors as error:
            for problem in error.problems:
                self.fail(scalar, problem.message, problem.hint, problem.start)
            return None
