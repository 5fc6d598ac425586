"""Expression text to text that Python's own parser reads, with a way back to the user's columns.

Two things of the language are not Python: durations (`30d`) and fanning out (`products[].sku`). They, and every
literal and name that Python's parser would change or refuse, are replaced by placeholder names on one line of plain
ASCII; a table says what each stands for. Whatever is out of place is found here, at its exact column.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal

from rtcdp.rules.expressions.teaching import WORDS, about_character, about_missing_operator, about_unit
from rtcdp.rules.expressions.tree import UNITS, WORD, Literal, Span, Type

LONGEST_TEXT = 10_000
DEEPEST_BRACKETS = 40
LARGEST_NUMBER = 2**63
FAN_OUT = "__each"
_PLACEHOLDER = "__"

_TOKEN = re.compile(
    rf"""
    (?P<space>[ \t\r\n]+)
  | (?P<text>(?P<raw>[rR]?)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
  | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<unit>{WORD.pattern})?
  | (?P<word>{WORD.pattern})
  | (?P<operator>==|!=|<=|>=|//|[-+*/%<>()\[\],.])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([\\'\"ntr])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.?))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r"}

_BINARY = frozenset(["==", "!=", "<=", ">=", "<", ">", "//", "+", "-", "*", "/", "%", "and", "or", "in", "if", "else"])
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in an expression, at columns [start, end) of its text, from 0."""

    message: str
    hint: str
    start: int
    end: int


class Unreadable(Exception):
    """The text cannot be read any further than this problem."""

    def __init__(self, message: str, start: int, end: int, hint: str = "") -> None:
        self.problem = Problem(message, hint, start, end)
        super().__init__(message)


@dataclass(slots=True)
class Rewritten:
    """The text for Python's parser.

    literals: what placeholders stand for, where that is a constant.
    words:    what they stand for, where that is a word of the user's.
    """

    text: str = ""
    literals: dict[str, Literal] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    _pieces: list[tuple[int, int]] = field(default_factory=list)

    def add(self, text: str, start: int, end: int) -> None:
        """Write a piece that came from columns [start, end) of the user's text."""
        self._starts.append(len(self.text))
        self._pieces.append((start, end))
        self.text += text + " "  # the space keeps pieces apart; nothing after this reads spaces

    def add_literal(self, literal: Literal) -> None:
        """Write a placeholder for a constant."""
        name = f"{_PLACEHOLDER}{len(self._pieces)}"
        self.literals[name] = literal
        self.add(name, literal.span.start, literal.span.end)

    def add_word(self, word: str, start: int, end: int) -> None:
        """Write a placeholder for a word."""
        name = f"{_PLACEHOLDER}{len(self._pieces)}"
        self.words[name] = unicodedata.normalize("NFC", word)
        self.add(name, start, end)

    def span(self, start: int, end: int) -> Span:
        """The columns of the user's text that [start, end) of the rewritten text came from."""
        first = self._pieces[bisect_right(self._starts, start) - 1]
        last = self._pieces[bisect_right(self._starts, max(start, end - 1)) - 1]
        return Span(first[0], last[1])


def rewrite(text: str) -> Rewritten:
    """Make an expression readable for `ast.parse(..., mode="eval")`.

    Raises Unreadable for what can never be an expression: unknown characters, bad literals, brackets that do not
    match, two values without an operator between them, an operator without a value.
    """
    if len(text) > LONGEST_TEXT:
        raise Unreadable(f"the expression is longer than {LONGEST_TEXT} characters", 0, len(text))
    if not text.strip():
        raise Unreadable("the expression is empty", 0, len(text))
    return _Rewriter(text).run()


class _Rewriter:
    """One pass over the tokens. At each, either a value must come next (`_wanting`) or something that joins values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._out = Rewritten()
        self._brackets: list[tuple[str, int]] = []
        self._wanting = True
        self._fans_out = False
        self._last = ""
        self._last_end = 0

    def run(self) -> Rewritten:
        text, position = self._text, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._unknown(position)
            position = match.end()
            if match.lastgroup == "space":
                continue
            self._token(match)
            self._last_end = position
        if self._brackets:
            bracket, at = self._brackets[-1]
            called = bracket == "(" and text[:at].rstrip()[-1:].isalpha()  # with a comma to come, it may be
            hint = "in { }, a text with a comma needs quotes" if called and "," not in text else ""
            raise Unreadable(f"'{bracket}' is never closed", at, at + 1, hint)
        if self._wanting:
            hint = "write 0.1 for 10%" if self._last == "%" else ""
            raise Unreadable("the expression ends where a value is expected", self._last_end, self._last_end, hint)
        return self._out

    def _unknown(self, position: int) -> Unreadable:
        character = self._text[position]
        if character in "'\"":
            return Unreadable("the text is never closed", position, len(self._text), f"a closing {character} is missing")
        shown = f"'{character}'" if character.isprintable() else f"the character U+{ord(character):04X}"
        return Unreadable(f"{shown} has no meaning here", position, position + 1, about_character(character))

    def _token(self, match: re.Match[str]) -> None:
        start, end = match.span()
        if match["text"] is not None:
            self._value(match.group(), start, end)
            self._out.add_literal(_text_literal(match, start, end))
        elif match["number"] is not None:
            self._value(match.group(), start, end)
            self._out.add_literal(_number_literal(match, start, end))
        elif match["word"] is not None:
            self._word(match.group(), start, end)
        else:
            self._operator(match.group(), start, end)
        self._last = match.group()

    def _value(self, shown: str, start: int, end: int) -> None:
        """A value begins here."""
        if not self._wanting or self._last == ".":
            hint = about_missing_operator(self._last, shown)
            if not hint and self._brackets:
                hint = "or a ','"
            raise Unreadable(f"an operator is expected before {_shortened(shown)}", start, end, hint)
        self._wanting = False

    def _word(self, word: str, start: int, end: int) -> None:
        if self._last == ".":
            self._wanting = False
            if keyword.iskeyword(word) or not word.isascii() or word.startswith(_PLACEHOLDER):
                return self._out.add_word(word, start, end)
            return self._out.add(word, start, end)
        if word in WORDS:
            raise Unreadable(f"'{word}' has no meaning here", start, end, WORDS[word])
        if word in _CONSTANTS:
            self._value(word, start, end)
            return self._out.add_literal(Literal(_CONSTANTS[word], Type.BOOLEAN, Span(start, end)))
        if word == "not":
            if not self._wanting:  # `not in`: Python's parser sees to the rest
                self._wanting = True
            return self._out.add(word, start, end)
        if word in _BINARY:
            return self._binary(word, start, end)
        if keyword.iskeyword(word):
            raise Unreadable(f"'{word}' has no meaning here", start, end)
        self._value(word, start, end)
        if not word.isascii() or word.startswith(_PLACEHOLDER):
            return self._out.add_word(word, start, end)
        return self._out.add(word, start, end)

    def _binary(self, operator: str, start: int, end: int) -> None:
        if self._wanting and not (operator == "in" and self._last == "not") and operator not in "+-":
            raise Unreadable(f"a value is expected before '{operator}'", start, end)
        self._wanting = True
        self._out.add(operator, start, end)

    def _operator(self, operator: str, start: int, end: int) -> None:
        if operator in _BINARY:
            self._binary(operator, start, end)
            return
        if operator in "([":
            self._open(operator, start, end)
        elif operator in ")]":
            self._close(operator, start, end)
        elif operator == ",":
            if self._wanting:
                raise Unreadable("a value is expected before ','", start, end)
            if not self._brackets:
                raise Unreadable("',' has no meaning here", start, end, "lists are written [a, b]")
            self._wanting = True
        elif self._wanting:
            raise Unreadable("a value is expected before '.'", start, end)
        else:
            self._wanting = True
        self._out.add(operator, start, end)

    def _open(self, bracket: str, start: int, end: int) -> None:
        if self._last == ".":
            raise Unreadable(f"a name is expected before '{bracket}'", start, end)
        if not self._wanting and bracket == "(" and not WORD.fullmatch(self._last):
            raise Unreadable("an operator is expected before '('", start, end)
        if len(self._brackets) >= DEEPEST_BRACKETS:
            raise Unreadable(f"brackets are nested more than {DEEPEST_BRACKETS} deep", start, end)
        self._brackets.append((bracket, start))
        self._fans_out = bracket == "[" and not self._wanting
        self._wanting = True

    def _close(self, bracket: str, start: int, end: int) -> None:
        if not self._brackets or self._brackets[-1][0] != {")": "(", "]": "["}[bracket]:
            raise Unreadable(f"'{bracket}' closes nothing", start, end)
        self._brackets.pop()
        empty = self._last in ("(", "[")
        if self._wanting and not empty and self._last != ",":
            raise Unreadable(f"a value is expected before '{bracket}'", start, end)
        if empty and bracket == "]" and self._fans_out:
            self._out.add(FAN_OUT, start, end)
        self._wanting = False


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:21]}..."


def _number_literal(match: re.Match[str], start: int, end: int) -> Literal:
    digits, unit = match["number"], match["unit"]
    value = float(digits)
    if value >= LARGEST_NUMBER:
        raise Unreadable("the number is too large", start, end, "the largest is 2^63 - 1")
    value = int(digits) if digits.isdecimal() and len(digits) < 20 else value
    if unit is None:
        return Literal(plain_number(value), Type.NUMBER, Span(start, end))
    if unit not in UNITS:
        at = match.start("unit")
        raise Unreadable(f"'{unit}' is no unit of time", at, end, about_unit(digits, unit))
    if not digits.replace(".", "").isdecimal():
        raise Unreadable("a duration is written without an exponent", start, end)
    ms = Decimal(digits) * UNITS[unit]
    if ms != int(ms):
        raise Unreadable("a duration is a whole number of milliseconds", start, end)
    if ms >= LARGEST_NUMBER:
        raise Unreadable("the duration is too large", start, end)
    return Literal(int(ms), Type.DURATION, Span(start, end))


def plain_number(value: float) -> float:
    """The one form of a number: whole ones are ints as long as floats hold them exactly."""
    return int(value) if abs(value) < 2**53 and value == int(value) else value


def _text_literal(match: re.Match[str], start: int, end: int) -> Literal:
    raw, body = match["raw"], match.group()[len(match["raw"]) + 1 : -1]
    offset = start + len(raw) + 1

    def replace(escape: re.Match[str]) -> str:
        simple, *codes, other = escape.groups()
        if simple is not None:
            return _SIMPLE.get(simple, simple)
        code = next((int(digits, 16) for digits in codes if digits is not None), None)
        if code is None or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            at = offset + escape.start()
            hint = "write a backslash as '\\\\', or the whole text as r'...'" if code is None else ""
            shown = f"\\{other}" if code is None else escape.group()
            raise Unreadable(f"'{shown}' has no meaning in text", at, offset + escape.end(), hint)
        return chr(code)

    value = body if raw else _ESCAPE.sub(replace, body)
    for index, character in enumerate(body):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n":
            at = offset + index
            raise Unreadable(f"the text holds the character U+{ord(character):04X}", at, at + 1, "write it escaped")
    return Literal(unicodedata.normalize("NFC", value), Type.TEXT, Span(start, end))
