"""Gates: a rule is looked at only when a value that it reads crosses one of the constants it compares it with.

A gate is a set of integer points; a comparison can change only where `value >= point` does. `n >= 20` has the point
20, `n > 20` and `n <= 20` have 21, `n == 20` has both.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain

Rules = tuple[int, ...]
NOTHING: Rules = ()


def points(operator: str, constant: float, scale: int = 1) -> tuple[int, ...]:
    """Where a comparison with a constant can change.

    scale: what the value is multiplied by where it is kept as a scaled integer.
    """
    if type(constant) is int:
        at, above = constant * scale, constant * scale + 1
    else:
        exact = Fraction(str(constant)) * scale
        at, above = math.ceil(exact), math.floor(exact) + 1
    if operator in (">=", "<"):
        return (at,)
    return (above,) if operator in (">", "<=") else tuple(sorted({at, above}))


class Gates:
    """The points of one value and the rules that each of them concerns."""

    __slots__ = ("flips", "points", "rules")

    def __init__(self, entries: Iterable[tuple[int, int]]) -> None:
        """Entries: pairs of a point and the index of a rule."""
        found: dict[int, set[int]] = defaultdict(set)
        for point, rule in entries:
            found[point].add(rule)
        self.points = sorted(found)
        self.rules: list[Rules] = [tuple(sorted(found[point])) for point in self.points]
        self.flips: dict[int, Rules] = dict(zip(self.points, self.rules, strict=True))

    def crossed(self, before: int, after: int) -> Rules:
        """Rules that may change when the value goes from `before` to `after`."""
        low, high = bisect_right(self.points, before), bisect_right(self.points, after)
        if low == high:
            return ()
        if low > high:
            low, high = high, low
        return self.rules[low] if high - low == 1 else tuple(chain.from_iterable(self.rules[low:high]))

    def every(self) -> Rules:
        """All rules behind this gate."""
        return tuple(sorted(set(chain.from_iterable(self.rules))))
