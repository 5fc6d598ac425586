"""What the leaves of an expression are read off: the profile, the event, or both at two times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtcdp.profile import Profile, slot_key
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.features import Leaf
from rtcdp.rules.compiling.interpreter import Closure, Reader, closure, follow
from rtcdp.rules.compiling.projection import Projection
from rtcdp.rules.compiling.reads import trait_name
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.tree import EventField, Name, Node, Part, Path, unparse


class ProfileReader:
    """Leaves of rules: features, tags, segments, traits of the profile."""

    def __init__(self, definitions: Definitions, features: Mapping[str, Leaf]) -> None:
        self._definitions = definitions
        self._features = features

    def name(self, node: Name) -> Closure:
        if node.kind == "feature":
            return self._feature(node.name)
        if node.kind == "list":
            members = self._definitions.lists[node.name]
            return lambda profile, event: members
        key = slot_key(f"{node.kind}:{node.name}")
        if node.kind == "tag":
            return lambda profile, event: profile.tags.get(key)
        if node.kind == "stage":
            return lambda profile, event: profile.stage[0] if profile.stage else None
        return lambda profile, event: key in profile.segments

    def _feature(self, name: str) -> Closure:
        return self._features[name].reader()

    def part(self, node: Part) -> Closure:
        return self._features[node.name].part_reader(node.key)

    def path(self, node: Path) -> Closure:
        if node.root != "traits":
            message = f"{node.root} is not readable here"
            raise TypeError(message)
        name = trait_name(node.parts)
        rest = node.parts[2:] if name != node.parts[0] else node.parts[1:]
        if not rest:
            return lambda profile, event: profile.trait(name)
        return lambda profile, event: follow(profile.trait(name), rest)

    def field(self, node: EventField) -> Closure:
        message = f"{node.name} is not readable here"
        raise TypeError(message)

    def since(self, node: Node) -> Closure:
        then = closure(node, self)

        def elapsed(profile: Profile, event: Any) -> int | None:
            at = then(profile, event)
            return None if at is None else profile.now - at

        return elapsed


class EventReader:
    """Leaves of `where` and of what is aggregated: the event alone."""

    def __init__(self, definitions: Definitions, projection: Projection) -> None:
        self._definitions = definitions
        self._projection = projection

    def name(self, node: Name) -> Closure:
        members = self._definitions.lists[node.name]
        return lambda profile, event: members

    def part(self, node: Part) -> Closure:
        message = f"{node.name} is not readable of an event"
        raise TypeError(message)

    def path(self, node: Path) -> Closure:
        if node.root == "traits":
            parts = node.parts
            return lambda profile, event: follow(event.traits, parts)
        get = self._projection.getter(node.root, node.parts)
        return lambda profile, event: get(event)

    def field(self, node: EventField) -> Closure:
        if node.name == "message_id":
            return lambda profile, event: event.id
        if node.name == "occurred":
            return lambda profile, event: event.occurred
        if node.name == "event":
            return lambda profile, event: event.event
        return lambda profile, event: event.channel or None

    def since(self, node: Node) -> Closure:
        message = "since() is not readable of an event"
        raise TypeError(message)


class PayloadReader(ProfileReader):
    """Leaves of a trigger's `if` and payload: the profile when it fires, and what was captured when it started."""

    def __init__(self, definitions: Definitions, features: Mapping[str, Leaf], event: EventReader) -> None:
        super().__init__(definitions, features)
        self.captures: list[Closure] = []
        self.captured: list[str] = []
        self._event = event

    def _capture(self, node: Node, read: Closure) -> Closure:
        place = len(self.captures)
        self.captures.append(read)
        self.captured.append(unparse(node))
        return lambda profile, captured: captured[place] if captured else None

    def path(self, node: Path) -> Closure:
        return super().path(node) if node.root == "traits" else self._capture(node, self._event.path(node))

    def field(self, node: EventField) -> Closure:
        return self._capture(node, self._event.field(node))


class FiringReader(ProfileReader):
    """Leaves of a trigger's `if` for those who ask why: the profile, and what was captured of the start, by its text."""

    def __init__(self, definitions: Definitions, features: Mapping[str, Leaf], captured: Mapping[str, Any]) -> None:
        super().__init__(definitions, features)
        self._captured = captured

    def path(self, node: Path) -> Closure:
        return super().path(node) if node.root == "traits" else self._of_event(node)

    def field(self, node: EventField) -> Closure:
        return self._of_event(node)

    def _of_event(self, node: Node) -> Closure:
        value = self._captured.get(unparse(node))
        return lambda profile, event: value


def reader_of(compiled: Compiled, captured: Mapping[str, Any] | None = None) -> Reader:
    """Make what reads the leaves of any expression of these definitions off a profile.

    captured: what a trigger's start has captured, by its text; without it an expression sees the profile alone.
    """
    known = compiled.definitions, compiled.features
    return ProfileReader(*known) if captured is None else FiringReader(*known, captured)
