"""What of a profile tells who somebody is, by a version of the definitions: for whoever may read profiles without it.

Personal are: identifiers, always; traits that the tracking plan marks `pii`, that the identity plan reads, or that Segment's
specification reserves for a person's own data; and whatever is computed of these: features, tags, derived values, payloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rtcdp.rules.definitions import Definitions, Namespace
from rtcdp.rules.expressions.tree import Name, Node, Part, Path, walk
from rtcdp.rules.sending import Send, steps_of

RESERVED_TRAITS = frozenset(
    ["address", "avatar", "birthday", "email", "firstName", "first_name", "lastName", "last_name", "name", "phone", "username"]
)
"""Traits that Segment's specification reserves for what tells who somebody is; personal whatever the tracking plan says."""
CONTEXT = frozenset(
    {("ip",), ("location",), ("device", "id"), ("device", "token"), ("device", "advertisingId"), ("externalIds",)}
)
"""Paths of `context` that are always personal."""
MASK = "***"
"""Stands where a personal value would."""
_WORDS = re.compile(r"[^\W\d][\w.]*")

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Personal:
    """Where personal values are.

    paths:    by root (`traits`, `properties`, `context`).
    names:    features, derived values and tags whose value is made of such.
    payloads: by trigger: the fields of its payloads that are.
    """

    paths: Mapping[str, frozenset[Names]]
    names: frozenset[str]
    payloads: Mapping[str, frozenset[str]]

    def reads(self, node: Node) -> bool:
        """Whether an expression's value may be made of something personal."""
        for one in walk(node):
            match one:
                case Name(kind="feature" | "tag", name=name) | Part(name=name):
                    if name in self.names:
                        return True
                case Path(root=root, parts=parts):
                    if _meets(parts, self.paths[root]):
                        return True
                case _:
                    continue
        return False

    def mentions(self, text: str) -> bool:
        """Whether a text of the language names something personal."""
        for word in _WORDS.findall(text):
            root, _, rest = word.partition(".")
            if root in self.names or (rest and _meets(tuple(rest.split(".")), self.paths.get(root, frozenset()))):
                return True
        return False

    def masked_traits(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """Traits with everything personal replaced by the mask."""
        return {name: self._masked(value, (name,)) for name, value in traits.items()}

    def masked_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Features or tags by name, the personal ones masked."""
        return {name: MASK if name in self.names else value for name, value in values.items()}

    def masked_payload(self, trigger: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A payload; of a trigger that is not known, all of it is masked."""
        known = self.payloads.get(trigger)
        return {name: MASK if known is None or name in known else value for name, value in payload.items()}

    def _masked(self, value: Any, path: Names) -> Any:
        known = self.paths["traits"]
        if any(path[: len(one)] == one for one in known):
            return MASK
        if not any(one[: len(path)] == path for one in known):
            return value
        return {name: self._masked(inner, (*path, name)) for name, inner in value.items()} if isinstance(value, dict) else MASK


def personal_of(definitions: Definitions, namespaces: Iterable[Namespace]) -> Personal:
    """What is personal under these definitions. namespaces: of the identity plan, or the built-in ones."""
    plan = definitions.tracking
    paths: dict[str, set[Names]] = {
        "traits": {(name,) for name in RESERVED_TRAITS},
        "properties": set(),
        "context": set(CONTEXT),
    }
    paths["traits"] |= {tuple(path.split(".")) for path, rule in plan.traits.items() if rule.pii}
    for event in plan.events.values():
        paths["properties"] |= {tuple(path.split(".")) for path, rule in event.properties.items() if rule.pii}
    for space in namespaces:
        for path in space.paths:
            root, _, rest = path.partition(".")
            if root in paths and rest:
                paths[root].add(tuple(rest.split(".")))
    found = Personal({root: frozenset(some) for root, some in paths.items()}, frozenset(), {})
    values = dict(_values(definitions))
    while more := {name for name, nodes in values.items() if name not in found.names and any(map(found.reads, nodes))}:
        found = Personal(found.paths, found.names | more, {})
    payloads: dict[str, frozenset[str]] = {}
    for trigger in definitions.triggers.values():
        sent = [trigger.payload, *(step.payload for step in steps_of(trigger.steps) if isinstance(step, Send))]
        payloads[trigger.name] = frozenset(name for one in sent for name, node in one.items() if found.reads(node))
    return Personal(found.paths, found.names, payloads)


def _values(definitions: Definitions) -> Iterator[tuple[str, tuple[Node, ...]]]:
    """Everything with a value, and the expressions that its value is made of."""
    for feature in definitions.features.values():
        yield feature.name, tuple(node for node in (feature.value, feature.by, feature.spent) if node is not None)
    for derived in definitions.derived.values():
        yield derived.name, (derived.value,)
    for tag in definitions.tags.values():
        yield tag.name, (tag.value,)


def _meets(parts: tuple[Any, ...], paths: Iterable[Names]) -> bool:
    """Whether a path leads to, through or around one of these. `[]` in it counts as no step."""
    plain = tuple(part for part in parts if isinstance(part, str) and part != "[]")
    return any(plain[: len(one)] == one[: len(plain)] for one in paths)
