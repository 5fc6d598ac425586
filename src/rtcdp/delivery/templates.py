"""JSON with holes: texts in which `{expression}` stands for a value of a record.

A text that is one expression and nothing else takes the value as it is, with its type; where the value is missing, the key
or item is left out. Inside a longer text a missing value is empty. `{{` and `}}` are braces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from rtcdp.delivery.facts import Facts, Read, compiled
from rtcdp.rules.expressions.parsing import ExpressionErrors, parse
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.loading.documents import Mapping, Scalar, Sequence, Value
from rtcdp.rules.loading.reading import Reader

Render = Callable[[Facts], Any]
Part = str | Read
Secrets = Callable[[Scalar, int, int], str]
"""From a text and the place of a `${...}` in it to what it stands for."""

_compact = msgspec.json.Encoder().encode


class _Missing:
    """No value: the key or item that would hold it is left out."""


MISSING = _Missing()


def template(value: Value, scope: Scope, reader: Reader) -> Render:
    """The function from facts to a JSON value (or MISSING). What is wrong is added to the reader's errors."""
    if isinstance(value, Mapping):
        fields = [(name, template(entry.value, scope, reader)) for name, entry in value.entries.items()]
        return lambda facts: {name: found for name, render in fields if (found := render(facts)) is not MISSING}
    if isinstance(value, Sequence):
        items = [template(item, scope, reader) for item in value.items]
        return lambda facts: [found for render in items if (found := render(facts)) is not MISSING]
    if value.plain and "{" not in value.text:
        constant = _plain(value)
        return lambda _: constant
    found = parts(value, scope, reader)
    if len(found) == 1 and not isinstance(found[0], str):
        only = found[0]
        return lambda facts: MISSING if (value := only(None, facts)) is None else value
    return lambda facts: "".join(part if isinstance(part, str) else shown(part(None, facts)) for part in found)


def parts(scalar: Scalar, scope: Scope, reader: Reader, secrets: Secrets | None = None) -> list[Part]:
    """A text as its constant pieces and the closures between them.

    secrets: reads what `${...}` stands for; without it, `$` is a text like any other.
    """
    found: list[Part] = []
    text, at, constant = scalar.text, 0, ""
    while at < len(text):
        character = text[at]
        if secrets is not None and text.startswith("${", at):
            end = text.find("}", at)
            constant += secrets(scalar, at, end + 1 or len(text))
            at = end + 1 or len(text)
        elif character in "{}" and text[at : at + 2] == character * 2:
            constant, at = constant + character, at + 2
        elif character == "{":
            end = _end(text, at + 1)
            if end < 0:
                reader.fail(scalar, "'{' opens an expression that '}' does not close", "a brace itself is written {{", at)
                return found
            found += [constant] if constant else []
            constant = ""
            found.append(_expression(scalar, at + 1, end, scope, reader))
            at = end + 1
        elif character == "}":
            reader.fail(scalar, "'}' closes nothing", "a brace itself is written }}", at)
            return found
        else:
            constant, at = constant + character, at + 1
    return [*found, constant] if constant or not found else found


def shown(value: Any) -> str:
    """A value inside a text: empty where it is missing."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _compact(value).decode()


def escaped(value: Any) -> str:
    """A value inside an address: nothing in it can change the address's structure."""
    return quote(shown(value), safe="")


def _end(text: str, at: int) -> int:
    """Where the expression that begins at `at` is closed, quoted braces passed over; -1: nowhere."""
    quoted = ""
    while at < len(text):
        character = text[at]
        if quoted:
            at += character == "\\"
            quoted = "" if character == quoted else quoted
        elif character in "'\"":
            quoted = character
        elif character == "}":
            return at
        at += 1
    return -1


def _expression(scalar: Scalar, start: int, end: int, scope: Scope, reader: Reader) -> Read:
    try:
        return compiled(parse(scalar.text[start:end], scope))
    except ExpressionErrors as errors:
        for problem in errors.problems:
            reader.fail(scalar, problem.message, problem.hint, start + problem.start)
        return _nothing


def _nothing(_: Any, facts: Facts) -> Any:
    """Stands for an expression that could not be read."""


def _plain(scalar: Scalar) -> Any:
    """A text without quotes: a number, true, false or null where it reads as JSON, else text."""
    if scalar.empty:
        return None
    try:
        found = orjson.loads(scalar.text)
    except orjson.JSONDecodeError:
        return scalar.text
    return scalar.text if isinstance(found, list | dict | str) else found
