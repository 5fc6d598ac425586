"""What each function takes and gives: the table that the parser checks calls against and the reference lists.

What they compute is in `functions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtcdp.rules.expressions.tree import Type

_ANYTHING = frozenset(Type)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: the types it takes (ANY always passes), and whether it must be written out as a literal."""

    name: str
    types: frozenset[Type] = _ANYTHING
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called.

    arguments: the fixed ones, in order.
    result:    type of what it gives; None: the common type of the arguments, or of the items of a list.
    about:     one line for the reference.
    optional:  how many of the last arguments may be left out.
    more:      the last argument may be repeated, and all must be of one type; where it can be a list, it is either
               one list or several values.
    """

    arguments: tuple[Argument, ...]
    result: Type | None
    about: str
    optional: int = 0
    more: bool = False

    @property
    def least(self) -> int:
        """The least number of arguments."""
        return len(self.arguments) - self.optional

    def call(self, name: str) -> str:
        """How a call looks: `round(number, digits)`."""
        names = [argument.name for argument in self.arguments]
        return f"{name}({', '.join(names)}{', ...' if self.more else ''})"


def _of(*types: Type) -> frozenset[Type]:
    return frozenset(types)


_TEXT = Argument("text", _of(Type.TEXT))
_DATE = Argument("time", _of(Type.TIME, Type.TEXT))
_LIST = Argument("list", _of(Type.LIST))
_VALUES = Argument("values", _of(Type.NUMBER, Type.TIME, Type.DURATION, Type.LIST))

SIGNATURES: dict[str, Signature] = {
    "since": Signature(
        (Argument("feature", _of(Type.TIME)),),
        Type.DURATION,
        "time that has passed since the time that a feature holds",
    ),
    "lower": Signature((_TEXT,), Type.TEXT, "the text, case-folded"),
    "contains": Signature(
        (Argument("whole", _of(Type.TEXT, Type.LIST)), Argument("part")),
        Type.BOOLEAN,
        "a text holds a text, or a list holds an item",
    ),
    "starts_with": Signature((_TEXT, Argument("start", _of(Type.TEXT))), Type.BOOLEAN, "the text begins with `start`"),
    "ends_with": Signature((_TEXT, Argument("end", _of(Type.TEXT))), Type.BOOLEAN, "the text ends with `end`"),
    "matches": Signature(
        (_TEXT, Argument("pattern", _of(Type.TEXT), literal=True)),
        Type.BOOLEAN,
        "the RE2 pattern is found somewhere in the text",
    ),
    "length": Signature((Argument("value", _of(Type.TEXT, Type.LIST)),), Type.NUMBER, "characters of a text, items of a list"),
    "month": Signature((_DATE,), Type.NUMBER, "1 to 12, of a time or of a date in text (UTC)"),
    "weekday": Signature((_DATE,), Type.NUMBER, "1 (Monday) to 7 (Sunday)"),
    "hour": Signature((_DATE,), Type.NUMBER, "0 to 23"),
    "day": Signature((_DATE,), Type.TEXT, "the calendar day as text: `2026-03-01`"),
    "round": Signature(
        (Argument("number", _of(Type.NUMBER)), Argument("digits", _of(Type.NUMBER), literal=True)),
        Type.NUMBER,
        "rounded, halves to even; to a whole number where no digits are given",
        optional=1,
    ),
    "min": Signature((_VALUES,), None, "the least of a list or of several values, missing ones passed over", more=True),
    "max": Signature((_VALUES,), None, "the greatest of them", more=True),
    "sum": Signature(
        (Argument("values", _of(Type.NUMBER, Type.LIST)),), Type.NUMBER, "the sum of a list or of several", more=True
    ),
    "any": Signature((_LIST,), Type.BOOLEAN, "an item of the list is true"),
    "all": Signature((_LIST,), Type.BOOLEAN, "every item of the list is true"),
    "coalesce": Signature((Argument("first"), Argument("second")), None, "the first that is not missing", more=True),
    "missing": Signature((Argument("value"),), Type.BOOLEAN, "there is no value"),
    "top": Signature(
        (Argument("feature"),),
        None,
        "the key with the largest value of a feature with `by`; of equals the first by text",
    ),
    "in_list": Signature(
        (Argument("text", _of(Type.TEXT)), _LIST), Type.BOOLEAN, "the text is on a list of `lists:`; also `text in list`"
    ),
    "score": Signature(
        (Argument("value", _of(Type.NUMBER, Type.TIME, Type.DURATION)), Argument("cuts")),
        Type.NUMBER,
        "1, and one more for each of the `cuts:` that it reaches; of a time, the more recent the higher",
    ),
    "tier": Signature(
        (Argument("value", _of(Type.NUMBER, Type.TIME, Type.DURATION)), Argument("cuts"), Argument("names", _of(Type.LIST))),
        Type.TEXT,
        "the same by name, the lowest first: one name more than there are cuts",
    ),
    "rfm": Signature(
        (Argument("recency"), Argument("frequency"), Argument("monetary"), Argument("cuts")),
        Type.TEXT,
        "three scores as text, `543`: of a time and two numbers, by cuts for `recency`, `frequency`, `monetary`",
    ),
}
