"""What is allowed but probably not meant: the warnings of `rtcdp check`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator

from rtcdp.errors import DefinitionError
from rtcdp.rules.definitions import ANY_EVENT, Definitions
from rtcdp.rules.expressions.names import BUILT_IN_FEATURES, did_you_mean
from rtcdp.rules.expressions.tree import (
    Arithmetic,
    Call,
    Compare,
    EventField,
    Name,
    Node,
    Not,
    Part,
    Path,
    Type,
    children,
    unparse,
    walk,
)
from rtcdp.rules.loading.documents import Scalar
from rtcdp.rules.loading.options import START_AT_ZERO
from rtcdp.rules.loading.reading import Reader, Written

MOST_DOUBTS = 200
_LIKENESS = 0.85  # a name is only doubted where it is nearly another
_LIKENESS_UNPLANNED = 0.92  # and more nearly where no plan says which one is right
_MOST_COMPARED = 300  # names of events: comparing all with all takes long
# Names that `event` has for calls other than track: no tracking plan lists them.
_CALLS = frozenset({"identify", "page", "screen", "group", "alias"})
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def doubts(definitions: Definitions, reader: Reader) -> list[DefinitionError]:
    """The warnings for a set of definitions that has no errors, in the order of their places."""
    found = [
        *(doubt for written in reader.expressions for doubt in _about_expression(definitions, written)),
        *_about_events(definitions, reader),
        *_about_triggers(definitions, reader),
    ]
    ordered = sorted(dict.fromkeys(found), key=lambda doubt: (doubt.file, doubt.line, doubt.column))
    return ordered[:MOST_DOUBTS]


def _doubt(scalar: Scalar, message: str, hint: str, offset: int = 0) -> DefinitionError:
    return DefinitionError(scalar.source.file, *scalar.place(offset), message, hint)


# Missing values


def _about_expression(definitions: Definitions, written: Written) -> Iterator[DefinitionError]:
    asked = {unparse(node.arguments[0]) for node in walk(written.node) if isinstance(node, Call) and node.function == "missing"}
    for node in walk(written.node):
        offset = node.span.start
        if isinstance(node, Not) and (name := _missing_below(definitions, node.item)) and name not in asked:
            message = f"this also holds where {name} is missing"
            yield _doubt(written.scalar, message, f"leave them out with: and not missing({name})", offset)
        elif isinstance(node, Compare):
            yield from _about_comparison(definitions, written, node, asked)
        elif isinstance(node, Path):
            yield from _about_path(definitions, written, node)


def _about_comparison(definitions: Definitions, written: Written, node: Compare, asked: set[str]) -> Iterator[DefinitionError]:
    since, operator = _since(node)
    text, offset = unparse(node), node.span.start
    if since is not None and operator in ("==", "!="):
        yield _doubt(written.scalar, f"{text} turns over for one millisecond only", "compare with < or >", offset)
    elif since is not None and operator in (">", ">=") and not _guarded(definitions, written.node, since, asked):
        message = f"{text} is false where {since.name} is missing"
        yield _doubt(written.scalar, message, f"if they are meant too: missing({since.name}) or {text}", offset)
    elif node.operator in ("!=", "not in") and (name := _missing_below(definitions, node)) and name not in asked:
        message = f"{text} is false where {name} is missing"
        yield _doubt(written.scalar, message, f"if they are meant too: missing({name}) or {text}", offset)


def _since(node: Compare) -> tuple[Name | None, str]:
    """The feature in `since(feature) > constant`, and the operator as seen from it."""
    for side, operator in ((node.left, node.operator), (node.right, _MIRRORED.get(node.operator, node.operator))):
        if isinstance(side, Call) and side.function == "since" and isinstance(side.arguments[0], Name):
            return side.arguments[0], operator
    return None, node.operator


def _guarded(definitions: Definitions, whole: Node, name: Name, asked: set[str]) -> bool:
    """Whether the expression says in another way that the feature is there: by the same events, or by a segment."""
    if name.name in asked or name.name in BUILT_IN_FEATURES:
        return True
    events = set(definitions.features[name.name].touched_by) if name.name in definitions.features else set()
    for node in walk(whole):
        if isinstance(node, Name) and node.kind == "segment":
            return True
        if isinstance(node, Name) and node.kind == "feature" and node.name != name.name:
            other = definitions.features.get(node.name)
            if other is not None and events & set(other.touched_by):
                return True
    return False


def _missing_below(definitions: Definitions, node: Node) -> str:
    """What can be missing in a comparison, as text; empty if nothing can, or if this is no comparison."""
    if not isinstance(node, Compare):
        return ""
    stack = list(children(node))
    while stack:
        item = stack.pop(0)
        if _can_be_missing(definitions, item):
            return unparse(item)
        if isinstance(item, Arithmetic) or (isinstance(item, Call) and item.function not in ("missing", "coalesce")):
            stack += children(item)
    return ""


def _can_be_missing(definitions: Definitions, node: Node) -> bool:
    match node:
        case Name(kind="feature", name=name):
            feature = definitions.features.get(name)
            if name in BUILT_IN_FEATURES:
                return BUILT_IN_FEATURES[name] == "last"
            return feature is not None and feature.aggregate not in START_AT_ZERO
        case Part(name=name):
            feature = definitions.features.get(name)
            return feature is not None and feature.aggregate not in START_AT_ZERO
        case Name(kind="tag") | EventField(name="channel"):
            return True
        case Path(type=type_):
            return type_ is not Type.LIST
        case _:
            return False


# Names that look like others


def _about_path(definitions: Definitions, written: Written, node: Path) -> Iterator[DefinitionError]:
    """A property that the plan does not know, but nearly."""
    path = ".".join(node.parts)
    for event in written.events:
        planned = definitions.tracking.events.get(event)
        if node.root != "properties" or planned is None or path in planned.properties:
            continue
        if hint := did_you_mean(path, planned.properties, _LIKENESS):
            message = f"the tracking plan of '{event}' has no property '{path}'"
            yield _doubt(written.scalar, message, hint, node.span.start)


def _about_events(definitions: Definitions, reader: Reader) -> Iterator[DefinitionError]:
    plan = definitions.tracking
    if not plan.events:
        yield from _about_written_once(reader)
    spelled: dict[str, str] = {name.casefold(): name for name in plan.events}
    for scalar in reader.event_names:
        name = unicodedata.normalize("NFC", scalar.text)
        known = spelled.setdefault(" ".join(name.casefold().split()), name)
        if name in plan.events or name in _CALLS or name == ANY_EVENT:
            continue
        if known != name:
            yield _doubt(scalar, f"the event '{name}' is also written '{known}'", "names of events must agree exactly")
        elif plan.unplanned != "accept":
            message = f"the event '{name}' is not in the tracking plan, which says '{plan.unplanned}' to such events"
            yield _doubt(scalar, message, did_you_mean(name, plan.events))
        elif hint := did_you_mean(name, plan.events, _LIKENESS):
            yield _doubt(scalar, f"the event '{name}' is not in the tracking plan", hint)


def _about_written_once(reader: Reader) -> Iterator[DefinitionError]:
    """Without a tracking plan: an event that is written once, and nearly like one that is written more often."""
    often = Counter(unicodedata.normalize("NFC", scalar.text) for scalar in reader.event_names)
    known = [name for name, times in often.items() if times > 1 and name != ANY_EVENT]
    if len(often) > _MOST_COMPARED:
        return
    for scalar in reader.event_names:
        name = unicodedata.normalize("NFC", scalar.text)
        if often[name] > 1 or not (hint := did_you_mean(name, known, _LIKENESS_UNPLANNED)):
            continue
        if not any(character.isdigit() for character in name):  # `Level 2` and `Level 3` are two events
            yield _doubt(scalar, f"the event '{name}' is written here alone", hint)


def _about_triggers(definitions: Definitions, reader: Reader) -> Iterator[DefinitionError]:
    for scalar in reader.event_names:
        if scalar.text in definitions.segments:
            hint = f"write on: {{entered: {scalar.text}}} if the segment is meant"
            yield _doubt(scalar, f"'{scalar.text}' is an event here, but also the name of a segment", hint)
