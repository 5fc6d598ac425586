"""What a rule's expression reads: the reverse index of the compiler is made from this."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtcdp.rules.expressions.tree import Call, Compare, Literal, Name, Node, Part, Path, Type, children

_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass
class Reads:
    """What one or more expressions read.

    features: read in a way that any change may matter.
    gated:    feature, operator, constant: read only in that comparison.
    since:    the same for `since(feature)`; constants in ms.
    named:    feature, text: read only in `feature == 'text'`.
    parts:    keyed feature, key: only that key is read.
    names:    tags, segments and the stage, as (kind, name).
    traits:   names of traits (the first part of the path; `groups.<id>` for group traits).
    """

    features: set[str] = field(default_factory=set)
    gated: list[tuple[str, str, float]] = field(default_factory=list)
    since: list[tuple[str, str, int]] = field(default_factory=list)
    named: list[tuple[str, str]] = field(default_factory=list)
    parts: set[tuple[str, str]] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)
    traits: set[str] = field(default_factory=set)


def trait_name(parts: tuple[str, ...]) -> str:
    """Name under which a profile keeps the trait of a path."""
    return ".".join(parts[:2]) if parts[0] == "groups" and len(parts) > 1 else parts[0]


def collect(node: Node | None, into: Reads) -> Reads:
    """Add what `node` reads."""
    match node:
        case Compare(operator="==", left=Name(kind="feature", name=name), right=Literal(value=str(text))):
            into.named.append((name, text))
        case Compare(operator=operator, left=left, right=right):
            if operator not in _MIRROR or not (
                _gate(left, operator, right, into) or _gate(right, _MIRROR[operator], left, into)
            ):
                collect(left, into)
                collect(right, into)
        case Name(kind="feature", name=name):
            into.features.add(name)
        case Name(kind=("tag" | "segment" | "stage") as kind, name=name):
            into.names.add((kind, name))
        case Part(name=name, key=key):
            into.parts.add((name, key))
        case Path(root="traits", parts=parts):
            into.traits.add(trait_name(parts))
        case None:
            pass
        case _:
            for child in children(node):
                collect(child, into)
    return into


def _gate(value: Node, operator: str, constant: Node, into: Reads) -> bool:
    """Whether this is a comparison of a feature, or of since(feature), with a constant number or duration."""
    if not isinstance(constant, Literal) or type(constant.value) not in (int, float):
        return False
    if isinstance(value, Name) and value.kind == "feature" and value.type is Type.NUMBER:
        into.gated.append((value.name, operator, constant.value))
        return True
    if isinstance(value, Call) and value.function == "since":
        of = value.arguments[0]
        if isinstance(of, Name) and of.kind == "feature":
            into.since.append((of.name, operator, int(constant.value)))
            return True
    return False
