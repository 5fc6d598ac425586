"""What people write who know other languages, or type Chinese, and what to write here: the hints of error messages."""

from __future__ import annotations

import re
import unicodedata

from rtcdp.rules.expressions.signatures import SIGNATURES

_CHARACTERS = {
    "=": "compare with '=='",
    "&": "write 'and'",
    "|": "write 'or'",
    "!": "write 'not', or '!='",
    "~": "write 'not'",
    "^": "there is no such operator",
    "?": "write 'x if condition else y'",
    ":": "write 'x if condition else y'",
    "{": "lists are written [a, b]",
    "#": "comments belong outside of an expression",
    "\\": "text is written in quotes: 'like this'",
    **dict.fromkeys("\u2018\u2019\u201c\u201d\u300c\u300d", "use straight quotes: 'like this'"),
    **dict.fromkeys("$\u20ac\u00a3\u00a5\uffe5", "write the number alone"),
    "\u2265": "use '>='",
    "\u2264": "use '<='",
    "\u2260": "use '!='",
    "\u00d7": "use '*'",
    "\u00f7": "use '/'",
    "\u3001": "use ','",
    "\u3002": "use '.'",
}
_USED = frozenset("=<>()[]+-*/%,.0123456789")
WORDS = {
    "is": "compare with '=='",
    "None": "ask with missing(x)",
    "null": "ask with missing(x)",
    "AND": "write 'and'",
    "OR": "write 'or'",
    "NOT": "write 'not'",
    "IN": "write 'in'",
}
"""Words that can be no names, and what to write in their place."""
_BETWEEN_VALUES = {
    "between": "write 1 <= x <= 5",
    "equals": "compare with '=='",
    "like": "write contains(text, part)",
    "then": "write 'x if condition else y'",
    "when": "write 'x if condition else y'",
    "and_not": "write 'and not'",
}
_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false", "TRUE": "true", "FALSE": "false"}
_UNIT_WORDS = {
    "ms": ("milli", "msec", "\u6beb\u79d2"),
    "w": ("week", "wk", "\u5468", "\u661f\u671f"),
    "d": ("day", "\u5929", "\u65e5"),
    "h": ("hour", "hr", "\u5c0f\u65f6"),
    "s": ("sec", "\u79d2"),
    "y": ("year", "yr", "\u5e74"),
    "month": ("mon", "\u6708", "\u4e2a\u6708"),
    "m": ("min", "\u5206"),
}
_ANY_UNIT = "write 30d, 12h, 45m, 10s, 250ms or 2w; add them up as 1h + 30m"
FLOW = "in { }, a text with a comma, [, ], {, } or ': ' needs quotes"


def about_character(character: str) -> str:
    """What to write in place of a character that has no meaning; empty where nobody knows."""
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    narrow = unicodedata.normalize("NFKC", character)
    if narrow == " ":
        return "use an ordinary space"
    return f"use '{narrow}'" if narrow != character and narrow in _USED else ""


def about_missing_operator(before: str, word: str) -> str:
    """What was meant by a word that stands directly behind a value."""
    if before.isdecimal() and _unit(word):
        return about_unit(before, word)
    if word in SIGNATURES and len(SIGNATURES[word].arguments) > 1:
        return f"write {SIGNATURES[word].call(word)}"
    return _BETWEEN_VALUES.get(word.casefold(), "")


def about_unit(digits: str, unit: str) -> str:
    """How to write a duration whose unit is none."""
    found = _unit(unit)
    if found == "month":
        return (
            f"months differ in length: write {int(digits) * 30}d"
            if digits.isdecimal()
            else "months differ in length: write 30d"
        )
    return f"write {digits}{found}" if found else _ANY_UNIT


def about_duration(text: str) -> str:
    """How to write a duration that has no number, as `day`."""
    unit = _unit(text.strip())
    return about_unit("1", text.strip()) if unit else "write 30d, 12h, 45m, 10s or 250ms"


def about_boolean(name: str) -> str:
    """`true` and `false` as other languages write them."""
    return f"write {_BOOLEANS[name]}" if name in _BOOLEANS else ""


def _unit(word: str) -> str:
    """The unit that a word means; `month` for one that there is not; empty for none."""
    folded = word.casefold()
    if word == "M":
        return "month"
    if folded in _UNIT_WORDS:
        return folded
    return next((unit for unit, starts in _UNIT_WORDS.items() if folded.startswith(starts)), "")


def about_yaml(message: str) -> str:
    """What people most often forget, by what the parser stumbled over."""
    if "'\\t'" in message:
        return "indent with spaces, not with tabs"
    if "flow mapping" in message:
        return FLOW
    if "mapping values are not allowed" in message:
        return "a text with ': ' needs quotes, and names of one level begin in one column"
    if "while parsing a block mapping" in message:
        return "names of one level begin in one column"
    if "while scanning a tag" in message:
        return "text that begins with ! needs quotes; write 'not' for it in a condition"
    if "cannot start any token" in message:
        return "text that begins with @, ` or % needs quotes"
    return ""


def about_name(name: str) -> str:
    """How to call what cannot be called like this."""
    if "\uff1a" in name:
        return about_colon(name)
    plain = re.sub(r"[\s.-]+", "_", name.strip())
    if plain != name and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", plain):
        return f"write {plain}"
    return "any text may stand in its description" if not name.isascii() else ""


def about_colon(text: str) -> str:
    """What is wrong where NAME: VALUE is expected and a text stands there."""
    if "\uff1a" in text:
        return "write ': ', not '\uff1a'"
    return "a space is needed after ':'" if ":" in text and ": " not in text else ""
