"""Decoding only what the rules read: the event struct of one set of definitions.

`properties` and `context` become structs with just the fields that some rule reads, typed Any, so that nothing a
producer sends can fail the decode; everything else is skipped by the decoder. Traits are kept whole: they are state.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from rtcdp.records import Forward, Link, Merge, Part, PersonalCommand, Release, Switch, Tick
from rtcdp.rules.compiling.interpreter import follow
from rtcdp.rules.expressions.tree import Node, Path


class Projection:
    """The event struct made from the paths that rules read.

    paths: (root, parts) of every `properties.` and `context.` path.
    """

    def __init__(self, paths: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        wanted: dict[str, set[str]] = {"properties": set(), "context": set()}
        for root, parts in paths:
            wanted[root].add(parts[0])
        self._fields = {root: {name: f"f{place}" for place, name in enumerate(sorted(names))} for root, names in wanted.items()}
        structs = {root: _struct(root, fields) for root, fields in self._fields.items()}
        event = msgspec.defstruct(
            "Event",
            [
                ("received", int),
                ("occurred", int),
                ("source", str),
                ("offset", int),
                ("id", str),
                ("event", str),
                ("type", str, "track"),
                ("channel", str, ""),
                ("properties", structs["properties"], msgspec.field(default_factory=structs["properties"])),
                ("context", structs["context"], msgspec.field(default_factory=structs["context"])),
                ("traits", dict[str, Any] | None, None),
                ("also", list[str] | None, None),
                ("appended", int, 0),
                ("simulated", bool, False),
                ("historical", bool, False),
            ],
            tag_field="kind",
            tag="event",
            gc=False,  # decoded from JSON: no cycles, nothing for the collector to find
        )
        self.event = event
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(
            event | Link | Release | Part | Merge | Forward | PersonalCommand | Tick | Switch
        ).decode

    def getter(self, root: str, parts: tuple[str, ...]) -> Callable[[Any], Any]:
        """Make a function that reads a path of a projected event; None where it is missing."""
        field, rest = self._fields[root][parts[0]], parts[1:]
        if root == "properties":
            if not rest:
                return _attribute("properties", field)
            return lambda event: follow(getattr(event.properties, field), rest)
        if not rest:
            return _attribute("context", field)
        return lambda event: follow(getattr(event.context, field), rest)

    def attribute(self, node: Node | None) -> str:
        """The dotted attribute of a projected event that a plain path is; "" for anything else."""
        if isinstance(node, Path) and node.root != "traits" and len(node.parts) == 1:
            return f"{node.root}.{self._fields[node.root][node.parts[0]]}"
        return ""


def _attribute(root: str, field: str) -> Callable[[Any], Any]:
    return operator.attrgetter(f"{root}.{field}")


def _struct(name: str, fields: dict[str, str]) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        name.capitalize(),
        [(field, Any, None) for field in fields.values()],
        rename={field: original for original, field in fields.items()},
        gc=False,
    )
