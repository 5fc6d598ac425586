"""What an event is to a feature: something to aggregate, a reset, a step, a page; as the aggregate takes it.

`recipe(feature, keep)` names the aggregate, `reading(feature, reader)` makes what reads an event for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from xxhash import xxh3_64_digest

from rtcdp.aggregates import NO_PAGE, RESET, TOUCH, Gaps, Recipe, Steps, hashable, scaled
from rtcdp.rules.compiling.interpreter import Closure, Reader, closure, condition, follow
from rtcdp.rules.definitions import ANY_EVENT, Feature, Filter, Step
from rtcdp.rules.expressions.tree import EACH, Path
from rtcdp.times.zones import Calendar

NUMERIC = frozenset({"sum", "avg", "min", "max", "balance"})
SESSION_STATISTICS = frozenset({"sessions", "bounces", "time_spent"})
_to_json = msgspec.json.Encoder(order="deterministic").encode

Concerns = Callable[[Any], bool]
Unfit = Callable[[], None]


def recipe(feature: Feature, keep: int | None) -> Recipe:
    """What aggregate a feature needs. keep: see Recipe."""
    sessions = feature.current or feature.aggregate in SESSION_STATISTICS or feature.aggregate == "dwell"
    steps = None
    if feature.steps:
        steps = Steps([step.excluded for step in feature.steps], strict=feature.strict, restart=feature.restart)
    return Recipe(
        kind=feature.aggregate,
        within=feature.within,
        offset=feature.offset,
        keep=None if _is_marked(feature) or feature.during else keep,
        calendar=Calendar(feature.during, feature.zone) if feature.during else None,
        resets=feature.reset_on is not None,
        gaps=Gaps(feature.gap, dict(feature.gaps)) if sessions else None,
        current=feature.current,
        top=feature.top,
        steps=steps,
        same=bool(feature.same),
        expire=feature.expire,
    )


def _is_marked(feature: Feature) -> bool:
    """Whether its events are told apart by more than their value."""
    return bool(feature.by or feature.reset_on or feature.current or feature.steps or feature.offset)


def reading(feature: Feature, reader: Reader, unfit: Unfit) -> tuple[Closure | None, Closure | None]:
    """What reads an event for a feature. unfit: told of each value that is there, and is no number where one is asked for.

    Returns the condition which events count (None for all, or where the value says so), and the value as the aggregate
    takes it: None where the event is nothing to the feature, a list for several; None where there is nothing to read.
    """
    where = condition(feature.where, reader)
    if feature.steps:
        return where, _marks(feature, reader)
    if feature.aggregate == "balance":
        return None, _amounts(feature, reader, unfit)
    if feature.aggregate == "dwell":
        return None, _pages(feature, reader)
    if feature.aggregate in SESSION_STATISTICS and not feature.current:
        return where, _channel(feature)
    item = _item(feature, reader, unfit)
    if feature.current:
        return None, _touching(feature, item, _concerns(Filter(feature.events, feature.where), reader))
    if feature.reset_on is not None:
        counts = _concerns(Filter(feature.events, feature.where), reader)
        return None, _resetting(item, counts, _concerns(feature.reset_on, reader))
    return where, item


def _concerns(part: Filter | Step, reader: Reader) -> Concerns:
    """Make the function that says whether an event is one of these."""
    names, where = frozenset(part.events), condition(part.where, reader)
    if ANY_EVENT in names:
        return (lambda event: True) if where is None else lambda event: where(None, event) is True
    if where is None:
        return lambda event: event.event in names
    return lambda event: event.event in names and where(None, event) is True


def _item(feature: Feature, reader: Reader, unfit: Unfit) -> Closure | None:
    """What is aggregated; with `by` pairs of the key's text and that."""
    value = None if feature.value is None else closure(feature.value, reader)
    numeric = feature.aggregate in NUMERIC
    if feature.by is None:
        return _numbers(value, unfit) if value is not None and numeric and (feature.reset_on or feature.current) else value
    by, of = feature.by, feature.value
    if isinstance(by, Path) and isinstance(of, Path) and EACH in by.parts and EACH in of.parts:
        return _aligned(by, of, reader, _fits(unfit) if numeric else _is_there)
    key, fits = closure(feature.by, reader), _fits(unfit) if numeric else _is_there

    def pairs(profile: Any, event: Any) -> Any:
        keys = key(None, event)
        if value is None and type(keys) is str:
            return [(keys, True)]
        if value is None:  # an event counts once for each key, however often it names it
            names = [] if keys is None else keys if type(keys) is list else (keys,)
            return [(text, True) for text in dict.fromkeys(hashable(one) for one in names if one is not None)]
        values = value(None, event)
        if keys is None or values is None:
            return None
        return [
            (hashable(one), item)
            for one in (keys if type(keys) is list else (keys,))
            for item in (values if type(values) is list else (values,))
            if one is not None and fits(item)
        ]

    return pairs


def _fits(unfit: Unfit) -> Concerns:
    """Make the function that says whether a value is a number."""

    def fits(value: Any) -> bool:
        if type(value) in (int, float):
            return True
        if value is not None:
            unfit()
        return False

    return fits


def _is_there(value: Any) -> bool:
    return value is not None


def _numbers(value: Closure, unfit: Unfit) -> Closure:
    """Only what is a number; None where nothing is."""
    fits = _fits(unfit)

    def numbers(profile: Any, event: Any) -> Any:
        found = value(None, event)
        return [item for item in (found if type(found) is list else (found,)) if fits(item)] or None

    return numbers


def _aligned(by: Path, value: Path, reader: Reader, fits: Concerns) -> Closure:
    """Key and value of each item of one array."""
    place = by.parts.index(EACH)
    items = closure(Path(by.root, by.parts[:place], by.type, by.span), reader)
    rest_by, rest_value = by.parts[place + 1 :], value.parts[place + 1 :]

    def pairs(profile: Any, event: Any) -> Any:
        found = items(None, event)
        if type(found) is not list:
            return None
        both = [(follow(item, rest_by), follow(item, rest_value)) for item in found]
        return [(hashable(key), item) for key, item in both if key is not None and fits(item)]

    return pairs


def _touching(feature: Feature, item: Closure | None, counts: Concerns) -> Closure:
    """With its channel, also what only belongs to the session."""
    channel = _channel(feature)
    if feature.aggregate == "time_spent":
        return lambda profile, event: (
            (channel(None, event), TOUCH) if counts(event) and channel(None, event) is not None else None
        )

    def touched(profile: Any, event: Any) -> Any:
        name = channel(None, event)
        if name is None:
            return None
        found = None if not counts(event) else True if item is None else item(None, event)
        if found is None:
            return (name, TOUCH)
        return (name, found) if type(found) is not list else [(name, one) for one in found] or (name, TOUCH)

    return touched


def _resetting(item: Closure | None, counts: Concerns, resets: Concerns) -> Closure:
    def value(profile: Any, event: Any) -> Any:
        if resets(event):
            return RESET
        if not counts(event):
            return None
        return True if item is None else item(None, event)

    return value


def _channel(feature: Feature) -> Closure:
    """The channel of an event where channels are told apart; of others none."""
    if not feature.gaps:
        return lambda profile, event: ""
    channels = frozenset(name for name, _ in feature.gaps)
    return lambda profile, event: event.channel if event.channel in channels else None


def _amounts(feature: Feature, reader: Reader, unfit: Unfit) -> Closure:
    """What is earned, or spent as a negative amount; what is no number above zero is neither."""
    earned = _concerns(Filter(feature.events, feature.where), reader)
    spent = _concerns(feature.spend, reader) if feature.spend else lambda event: False
    assert feature.value is not None  # noqa: S101  the loader lets no balance without a value through
    value = closure(feature.value, reader)
    price, fits = closure(feature.spent, reader) if feature.spent else value, _fits(unfit)

    def amounts(profile: Any, event: Any) -> Any:
        found: list[int] = []
        for concerned, read, sign in ((earned, value, 1), (spent, price, -1)):
            if not concerned(event):
                continue
            amount = read(None, event)
            numbers = [one for one in (amount if type(amount) is list else (amount,)) if fits(one)]
            found += [sign * units for one in numbers if (units := scaled(one)) > 0]
        return found or None

    return amounts


def _pages(feature: Feature, reader: Reader) -> Closure:
    """The key of an event whose time is asked for; NO_PAGE for any other, which ends it."""
    counts = _concerns(Filter(feature.events, feature.where), reader)
    key = closure(feature.by, reader) if feature.by is not None else None

    def page(profile: Any, event: Any) -> Any:
        if not counts(event):
            return NO_PAGE
        if key is None:
            return ""
        found = key(None, event)
        return NO_PAGE if found is None or type(found) is list else hashable(found)

    return page


def _marks(feature: Feature, reader: Reader) -> Closure:
    """Which items of the sequence an event is, as bits, with the hash of what must be the same."""
    items = [
        (1 << place, _concerns(step, reader), [closure(node, reader) for node in step.same or feature.same])
        for place, step in enumerate(feature.steps)
    ]
    everywhere = [closure(node, reader) for node in feature.same]
    keyed, strict = bool(feature.same), feature.strict

    def marks(profile: Any, event: Any) -> Any:
        if not keyed:
            mark = sum(bit for bit, concerned, _ in items if concerned(event))
            return (mark, b"") if mark or strict else None
        found: dict[bytes, int] = {}
        for bit, concerned, same in items:
            if concerned(event):
                for key in _keys(same, event):
                    found[key] = found.get(key, 0) | bit
        if not found and strict:
            found = dict.fromkeys(_keys(everywhere, event), 0)
        return [(mark, key) for key, mark in sorted(found.items())] or None

    return marks


def _keys(same: list[Closure], event: Any) -> list[bytes]:
    """Hashes of what must be the same; none where any of it is missing, several where a single path fans out."""
    values = [read(None, event) for read in same]
    if len(values) == 1 and type(values[0]) is list:
        return sorted({_digest([one]) for one in values[0] if one is not None})
    return [] if any(one is None for one in values) else [_digest(values)]


def _digest(values: list[Any]) -> bytes:
    return xxh3_64_digest(_to_json([hashable(value) for value in values]))
