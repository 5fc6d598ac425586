"""`lifecycle:` and `expire:`: the stages of profiles, and their end."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping

from rtcdp.rules.definitions import Expire, Stage
from rtcdp.rules.expressions.names import fault_of_name
from rtcdp.rules.expressions.scope import Scope
from rtcdp.rules.expressions.tree import Literal, unparse
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Sequence, Value
from rtcdp.rules.loading.options import EXPIRE, LIFECYCLE, STAGE
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.sending import DAY_MS

MOST_STAGES = 50
Entries = AnyMapping[str, Entry]


def written_stages(value: Value) -> dict[str, Entry]:
    """Names of the stages, in order, with what is written for each: as far as it can be read; errors are for later."""
    entry = value.entries.get("stages") if isinstance(value, Mapping) else None
    if entry is None or not isinstance(entry.value, Sequence):
        return {}
    found: dict[str, Entry] = {}
    for item in entry.value.items:
        if isinstance(item, Mapping):
            for name, stage in item.entries.items():
                found.setdefault(name, stage)
    return found


def condition_of(entry: Entry) -> Value | None:
    """The condition of a stage, as it is written."""
    if not isinstance(entry.value, Mapping):
        return entry.value
    found = entry.value.entries.get("if")
    return None if found is None else found.value


def lifecycle(reader: Reader, value: Value, scope: Scope) -> tuple[Stage, ...]:
    """The stages, in order."""
    found = reader.options(value, LIFECYCLE, "the lifecycle") or {}
    stay = reader.duration(found.get("stay"), least=0) or 0
    entry = found.get("stages")
    if entry is None:
        return ()
    if not isinstance(entry.value, Sequence) or not entry.value.items:
        reader.fail(entry.value, "a list of stages is expected, in order", "write - active: orders >= 1")
        return ()
    stages: list[Stage] = []
    before = len(reader.errors)
    for item in entry.value.items:
        stage = _stage(reader, item, scope, stay, {stage.name for stage in stages})
        if stage is not None:
            stages.append(stage)
    if len(reader.errors) == before:
        _whole(reader, entry, stages)
    return tuple(stages)


def _stage(reader: Reader, item: Value, scope: Scope, stay: int, taken: set[str]) -> Stage | None:
    if not isinstance(item, Mapping) or len(item.entries) != 1:
        reader.fail(item, "a stage is written as - NAME: CONDITION, one per line")
        return None
    ((name, entry),) = item.entries.items()
    if fault := fault_of_name(name):
        reader.fail(entry.key, f"the name '{name[:64]}' {fault}")
    if name in taken:
        reader.fail(entry.key, f"the stage '{name}' is written twice")
    found: Entries = {"if": entry}
    if not isinstance(entry.value, Scalar):
        found = reader.options(entry.value, STAGE, "a stage", entry.key) or {}
    node = reader.condition(found.get("if"), scope, f"stage {name}")
    own = reader.duration(found.get("stay"), least=0)
    return None if node is None else Stage(name, node, stay if own is None else own)


def _whole(reader: Reader, entry: Entry, stages: list[Stage]) -> None:
    """One stage always holds, and none after it could."""
    always = [isinstance(stage.condition, Literal) and stage.condition.value is True for stage in stages]
    if len(stages) > MOST_STAGES:
        reader.fail(entry.value, f"there are at most {MOST_STAGES} stages")
    elif True in always[:-1]:
        place = always.index(True)
        message = f"the stage '{stages[place + 1].name}' is never reached: '{stages[place].name}' always holds"
        reader.fail(entry.value, message, "the first that holds counts")
    elif not always[-1]:
        message = f"the last stage must always hold, but is {unparse(stages[-1].condition)}"
        reader.fail(entry.value, message, "end with - new: true")


def expire(reader: Reader, value: Value) -> Expire:
    """When profiles end."""
    found = reader.options(value, EXPIRE, "'expire'") or {}
    if isinstance(value, Mapping) and not value.entries:
        reader.fail(value, "'expire' needs 'anonymous' or 'known'")
    return Expire(*(reader.duration(found.get(name), least=DAY_MS) for name in ("anonymous", "known")))
