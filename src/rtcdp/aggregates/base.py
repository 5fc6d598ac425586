"""What every aggregate answers, and how values are kept."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

NEVER = 1 << 62
SCALE = 1_000_000
_WHOLE = 2.0**53  # floats from here on are whole, and times SCALE they may be too large for a float
_FLOAT_BITS = 1000  # numbers beyond are near the end of what a float can hold
MAX_ENTRIES = 256
MAX_VALUES = 256

Slot = Any
_to_json = msgspec.json.Encoder(order="deterministic").encode
_from_json = msgspec.json.decode


class Aggregate(Protocol):
    """What every aggregate can do; see the module."""

    zero: Any
    numeric: bool
    timed: bool
    within: int

    def update(self, slot: Slot, at: int, tie: str, value: Any, now: int) -> Slot:
        """Fold one event in."""

    def value(self, slot: Slot, now: int) -> Any:
        """Read."""

    def next_change(self, slot: Slot, now: int) -> int:
        """Return the first instant after `now` at which the value may differ, or NEVER."""

    def merge(self, one: Slot, other: Slot, now: int) -> Slot:
        """Union."""

    def exact(self, slot: Slot) -> bool:
        """Whether `value` is exact."""


def scaled(number: float) -> int:
    """A number as an exact integer of 1/SCALE, rounded half to even."""
    return int(number) * SCALE if type(number) is int or abs(number) >= _WHOLE else round(number * SCALE)


def unscaled(units: int) -> float | int:
    """Back from `scaled`: an int where it is whole."""
    whole, rest = divmod(units, SCALE)
    return whole if not rest or whole.bit_length() > _FLOAT_BITS else units / SCALE


def plain(number: float) -> float | int:
    """A number in one form, so that 2 and 2.0 are kept as the same bytes."""
    return int(number) if type(number) is float and number.is_integer() and abs(number) < 2**53 else number


def hashable(value: Any) -> str:
    """Any JSON value as text that tells types apart. Cleaned text holds no control characters, so NUL marks the rest."""
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        value = int(value)
    return "\0" + _to_json(value).decode()


def unhashable(text: str) -> Any:
    """Back from `hashable`."""
    return _from_json(text[1:]) if text[:1] == "\0" else text
