"""The cleaning steps for the trees of an event (properties, traits, context), each a pure function.

In this order, and each on what the one before left:

    text      NFC, no control characters, no empty names
    bounds    depth, number and length of names, length of texts and lists
    numbers   none beyond what every reader of JSON can hold
    secrets   `sensitive.remove`

`clean_tree` runs them all. It is idempotent: what it returns it returns unchanged. What a step changed is counted under
a fixed name (`FIXES`). `Inspector` tells, for most events from their bytes alone, that no step has anything to do.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from rtcdp.ingestion import sensitive

MAX_DEPTH = 8
"""Levels of objects and lists in a tree, itself included; deeper ones are removed."""
MAX_KEYS = 256
"""Names of one object; of more, the first in code point order stay, so that the order sent does not matter."""
MAX_KEY_LENGTH = 128
"""Code points of a name; fields with a longer one are removed."""
MAX_TEXT = 4096
"""Code points of a text; the rest is cut off."""
MAX_ITEMS = 1000
"""Items of a list; the rest is cut off."""
MAX_NAME = 256
"""Code points of an event name, channel, identifier."""
MAX_INTEGER = 2**63 - 1
"""Whole numbers beyond it become text: an id with too many digits must not lose some of them."""

FIXES = {
    "byte_order_mark": "a byte order mark before the JSON removed",
    "not_a_number": "NaN, Infinity or a number beyond a double became null",
    "raw_control_characters": "unescaped control characters inside JSON text became spaces",
    "lone_surrogates": "half of a surrogate pair became U+FFFD",
    "type_inferred": "no `type`, but an `event`: taken as track",
    "empty_list_object": "an empty list where an object belongs (PHP) taken as an empty object",
    "message_id_hashed": "a message id longer than allowed replaced by its hash",
    "identifiers": "an identifier that is blocked, too long or no valid phone or e-mail treated as absent",
    "name_cut": "an event name or channel cut",
    "time_unreadable": "a time that cannot be read treated as absent",
    "time_no_offset": "a time without an offset taken as UTC",
    "time_absurd": "`arrival` mode: an instant before 2000 replaced by `received`",
    "time_after_received": "an instant later than `received` set to `received`",
    "text": "a text or name normalised to NFC, or freed of control characters",
    "names_dropped": "fields with an empty, too long or repeated name removed",
    "names_cut": "fields beyond the most an object may have removed",
    "depth_cut": "objects or lists nested too deep removed",
    "texts_cut": "texts cut",
    "lists_cut": "lists cut",
    "numbers": "whole numbers beyond 64 bits became text",
    "secret_field": "fields removed because of their name",
    "secret_card": "payment card numbers removed",
    "secret_national_id": "national identity numbers removed",
    "secret_parameter": "values of secret URL parameters removed",
    "plan_corrected": "values brought to the type the tracking plan names",
    "plan_defaults": "missing values filled with the tracking plan's default",
    "plan_violations": "values that are missing or of another type than the tracking plan says",
    "plan_unplanned": "events that the tracking plan does not name",
    "plan_dropped": "events dropped because the tracking plan says so",
}
"""Every name under which something is counted, and what it means."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHITE_CONTROL = {9: " ", 10: " ", 13: " "}  # a line break or tab parts words: it becomes a space
# In non-ASCII text: C1 controls, and what can stand in numbers unseen by a search for ASCII digits.
_LOOK_CLOSER = re.compile("[\x7f-\xa0\u2010-\u2015\u3000\uff10-\uff19]")

Tree = dict[str, Any]


def clean_tree(tree: Tree, allowed: AbstractSet[str], fixes: Counter[str], path: str = "") -> Tree:
    """All steps on one tree. `allowed` and `path` as for `sensitive.remove`."""
    tree = normalise(tree, fixes)
    tree = bound(tree, fixes)
    tree = limit_numbers(tree, fixes)
    return sensitive.remove(tree, allowed, fixes, path)


def clean_text(text: str) -> str:
    """NFC, without control characters; tabs and line breaks become spaces."""
    if text.isascii() and text.isprintable():
        return text
    if _CONTROL.search(text):
        text = _CONTROL.sub("", text.translate(_WHITE_CONTROL))
    return unicodedata.normalize("NFC", text)


def clean_name(text: str) -> str:
    """As `clean_text`, and without white space at both ends, at most MAX_NAME long."""
    return clean_text(text).strip()[:MAX_NAME].rstrip()


def normalise(tree: Tree, fixes: Counter[str]) -> Tree:
    """Every text and name in NFC without control characters; fields with an empty name removed.

    Of two names that become equal the one that was already normal wins, else the first in code point order.
    """
    names = list(map(clean_text, tree))
    if names != list(tree) or "" in tree:
        changed = sum(new != old for new, old in zip(names, tree, strict=True))
        if changed:
            fixes["text"] += changed
        renamed: Tree = {}
        for _, old, new in sorted((new != old, old, new) for new, old in zip(names, tree, strict=True)):
            if new and new not in renamed:
                renamed[new] = tree[old]
        if len(renamed) < len(tree):
            fixes["names_dropped"] += len(tree) - len(renamed)
        tree = renamed
    return {name: _normalise_value(value, fixes) for name, value in tree.items()}


def _normalise_value(value: Any, fixes: Counter[str]) -> Any:
    kind = type(value)
    if kind is str:
        clean = clean_text(value)
        if clean != value:
            fixes["text"] += 1
        return clean
    if kind is dict:
        return normalise(value, fixes)
    if kind is list:
        return [_normalise_value(item, fixes) for item in value]
    return value


def bound(tree: Tree, fixes: Counter[str], depth: int = 1) -> Tree:
    """The tree within MAX_DEPTH, MAX_KEYS, MAX_KEY_LENGTH, MAX_TEXT and MAX_ITEMS; `depth` is the tree's own level."""
    names = [name for name in tree if len(name) <= MAX_KEY_LENGTH]
    if len(names) != len(tree):
        fixes["names_dropped"] += len(tree) - len(names)
    if len(names) > MAX_KEYS:
        fixes["names_cut"] += len(names) - MAX_KEYS
        names = sorted(names)[:MAX_KEYS]
    bounded = {name: _bound_value(tree[name], fixes, depth) for name in names}
    return {name: value for name, value in bounded.items() if value is not _TOO_DEEP}


_TOO_DEEP: Any = object()


def _bound_value(value: Any, fixes: Counter[str], depth: int) -> Any:
    kind = type(value)
    if kind is str:
        if len(value) <= MAX_TEXT:
            return value
        fixes["texts_cut"] += 1
        return value[:MAX_TEXT]
    if kind is not dict and kind is not list:
        return value
    if depth >= MAX_DEPTH:
        fixes["depth_cut"] += 1
        return _TOO_DEEP
    if kind is dict:
        return bound(value, fixes, depth + 1)
    if len(value) > MAX_ITEMS:
        fixes["lists_cut"] += 1
        value = value[:MAX_ITEMS]
    items = [_bound_value(item, fixes, depth + 1) for item in value]
    return [item for item in items if item is not _TOO_DEEP]


def limit_numbers(value: Any, fixes: Counter[str]) -> Any:
    """Whole numbers beyond 64 bits as text (at most 309 digits: what is longer is no number); all else unchanged."""
    kind = type(value)
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        fixes["numbers"] += 1
        return str(value)
    if kind is dict:
        return {name: limit_numbers(item, fixes) for name, item in value.items()}
    if kind is list:
        return [limit_numbers(item, fixes) for item in value]
    return value


_QUIET = MAX_TEXT  # bytes: no text above MAX_TEXT fits into it
_LARGE = 1e12  # no smaller number is looked at: 13 digits are the shortest secret
_SHAPES_KEPT = 4096
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_ONE_RUN, _TWO_RUNS = 10 ** (sensitive.SHORTEST_NUMBER - 1), 10 ** (2 * sensitive.SHORTEST_NUMBER - 1)
_DIGIT_RUN = b"0" * sensitive.SHORTEST_NUMBER
_BACKSLASH, _DELETE, _EQUALS = b"\\\x7f="


class Inspector:
    """Tells that nothing in an event's trees needs cleaning, from its bytes and the names in it.

    It may be wrong in one direction only: what it calls clean, `clean_tree` returns unchanged (a property test).
    Bytes first: most events are clean by them. Else their values one by one, without building anything. The sets of
    names seen are remembered, so that a name is looked at once and not in every event.
    """

    def __init__(self) -> None:
        self._shapes: set[tuple[str, ...]] = set()

    def bytes_clean(self, text: bytes, elsewhere: Iterable[object] = ()) -> bool:
        """Whether no value of an event's trees can need cleaning. Their names and depth are `tree_clean`'s part.

        text:      the JSON text that the event was read from.
        elsewhere: scalars of the event that are in none of its trees: what is written in them does not count.
        """
        if len(text) > _QUIET or _BACKSLASH in text or _DELETE in text:
            return False
        if not text.isascii():
            decoded = text.decode("utf-8", "replace")
            if not unicodedata.is_normalized("NFC", decoded) or _LOOK_CLOSER.search(decoded):
                return False
        digits = text.translate(_DIGITS, b" -")
        found = digits.find(_DIGIT_RUN)
        if found >= 0:  # counting them takes longer than to see that there is one, most times the event's time
            more = digits.find(_DIGIT_RUN, found + sensitive.SHORTEST_NUMBER) >= 0
            if not _all_in(elsewhere, digits.count(_DIGIT_RUN) if more else 1):
                return False
        if _EQUALS in text:
            lower = text.lower()
            return not any(name in lower for name in sensitive.PARAMETER_NAMES)
        return True

    def tree_clean(self, tree: Tree, depth: int = 1, *, values: bool) -> bool:
        """Whether nothing in the tree needs cleaning: its names, its depth and, where `values`, its values."""
        shape = tuple(tree)
        if shape not in self._shapes and not self._learn(shape):
            return False
        for value in tree.values():
            kind = type(value)
            if kind is str:
                if values and not _value_clean(value):
                    return False
            elif kind is dict:
                if depth >= MAX_DEPTH or not self.tree_clean(value, depth + 1, values=values):
                    return False
            elif kind is list:
                if not self._items_clean(value, depth, values=values):
                    return False
            elif kind is float:  # `4.1e15`: many digits that a search for digits does not see
                if not -_LARGE < value < _LARGE and (not values or not _value_clean(value)):
                    return False
            elif values and not _value_clean(value):
                return False
        return True

    def _items_clean(self, items: list[Any], depth: int, *, values: bool) -> bool:
        if depth >= MAX_DEPTH or len(items) > MAX_ITEMS:
            return False
        for item in items:
            kind = type(item)
            if kind is dict:
                if depth + 1 >= MAX_DEPTH or not self.tree_clean(item, depth + 2, values=values):
                    return False
            elif kind is list:
                if not self._items_clean(item, depth + 1, values=values):
                    return False
            elif values:
                if not _value_clean(item):
                    return False
            elif kind is float and not -_LARGE < item < _LARGE:
                return False
        return True

    def _learn(self, shape: tuple[str, ...]) -> bool:
        if len(shape) > MAX_KEYS:
            return False
        for name in shape:
            if not name or len(name) > MAX_KEY_LENGTH or clean_text(name) != name or sensitive.secret_name(name):
                return False
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes.add(shape)
        return True


def _all_in(scalars: Iterable[object], runs: int) -> bool:
    """Whether so many runs of digits that could be a secret are in these scalars, as they are written in JSON text."""
    for value in scalars:
        kind = type(value)
        if kind is int:
            runs -= _ONE_RUN <= value < _TWO_RUNS
        elif kind is str and len(value) >= sensitive.SHORTEST_NUMBER:  # type: ignore[arg-type]  # just checked
            runs -= value.encode().translate(_DIGITS, b" -").count(_DIGIT_RUN)  # type: ignore[attr-defined]  # as above
        if runs <= 0:
            return True
    return False


def _value_clean(value: Any) -> bool:
    """Whether a scalar needs no cleaning; False where that is not certain."""
    kind = type(value)
    if kind is str:
        if len(value) > MAX_TEXT:
            return False
        if not (value.isascii() and value.isprintable()) and clean_text(value) != value:
            return False
        return not sensitive.suspicious(value)
    if (kind is int or kind is float) and not -_LARGE < value < _LARGE:
        return -MAX_INTEGER <= value <= MAX_INTEGER and not sensitive.secret_number(value)
    return True
