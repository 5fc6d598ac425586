"""What an expression can see: which names mean something where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from typing import Literal as OneOf

from rtcdp.rules.expressions.names import listed
from rtcdp.rules.expressions.tree import Literal, Node, Type


def unplanned(_root: str, _parts: tuple[str, ...]) -> Type:
    """Types of paths without a tracking plan."""
    return Type.ANY


@dataclass(frozen=True, slots=True)
class Defined:
    """A name that an expression may use.

    keyed:    it holds a value of this type for each key, and `key` is the type of these.
    node:     what stands in its place, of a derived feature.
    """

    kind: OneOf["feature", "tag", "segment", "list", "stage"]
    type: Type
    keyed: bool = False
    key: Type = Type.ANY
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can see.

    sees:       in a message: `the profile`.
    roots:      `traits`, `properties`, `context`: as many as can be read here.
    fields:     fields of the event itself.
    names:      the definitions that can be read here.
    hidden:     definitions that exist but cannot be read here, each with the reason.
    planned:    the type of a path (root, parts) by the tracking plan; ANY where it says nothing.
    continuous: the value is kept up to date as time passes, so `since()` may only be compared with constants.
    events:     the events that can be looked at, where they are known.
    cuts:       the constants of `cuts:` by name, for scores.
    scored:     takes what is compared with them.
    """

    sees: str
    roots: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    names: Mapping[str, Defined] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)
    planned: Callable[[str, tuple[str, ...]], Type] = unplanned
    continuous: bool = False
    events: tuple[str, ...] = ()
    cuts: Mapping[str, tuple[Literal, ...]] = field(default_factory=dict)
    scored: list[Any] = field(default_factory=list)

    @property
    def expected(self) -> str:
        """What a name may be here, for messages."""
        kinds = sorted({defined.kind for defined in self.names.values()})
        found = (
            ["stage" if kind == "stage" else "a " + kind for kind in kinds]
            + [f"{root}.NAME" for root in self.roots]
            + list(self.fields)
        )
        return listed(found)
