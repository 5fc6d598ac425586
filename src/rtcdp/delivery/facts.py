"""What an expression in a folder of destinations can see: the facts of a record that goes out, of an answer, of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtcdp.ingestion.identity import parse_profile_key
from rtcdp.outputs import Change, TriggerEvent
from rtcdp.rules.compiling.interpreter import Closure, closure, follow
from rtcdp.rules.expressions.scope import Defined, Scope
from rtcdp.rules.expressions.tree import EventField, Name, Node, Part, Path, Type


@dataclass(frozen=True, slots=True)
class Facts:
    """Values by name, and JSON objects by root: `names["kind"]`, `roots["payload"]["cart"]`."""

    names: Mapping[str, Any]
    roots: Mapping[str, Any] = field(default_factory=dict)


def _defined(type_: Type, *names: str) -> dict[str, Defined]:
    return {name: Defined("feature", type_) for name in names}


RECORD = Scope(
    "the record that goes out",
    roots=("payload",),
    names={
        **_defined(Type.TEXT, "kind", "name", "profile", "tenant", "namespace", "identifier", "user_id", "anonymous_id"),
        **_defined(Type.TEXT, "id", "channel", "cause", "message_id", "version", "reason", "step", "arm", "by"),
        **_defined(Type.TEXT, "at", "occurred", "received", "due", "expires_at"),
        **_defined(Type.NUMBER, "seq"),
        **_defined(Type.BOOLEAN, "historical"),
        **_defined(Type.ANY, "old", "new"),
    },
)
"""A trigger or a change. Times are RFC 3339 text."""
ANSWER = Scope("the answer", roots=("answer",), names=_defined(Type.NUMBER, "status"))
REPORT = Scope("the report", roots=("body",))


class FactsReader:
    """Reads the leaves of expressions: closures are called with `(None, facts)`."""

    def name(self, node: Name) -> Closure:
        """A fact by name."""
        name = node.name
        return lambda _, facts: facts.names.get(name)

    def part(self, node: Part) -> Closure:
        """No fact has keys."""
        raise TypeError(node.name)

    def path(self, node: Path) -> Closure:
        """A value inside one of the roots."""
        root: str = node.root
        parts = node.parts
        return lambda _, facts: follow(facts.roots.get(root), parts)

    def field(self, node: EventField) -> Closure:
        """There is none in these scopes."""
        raise TypeError(node.name)

    def since(self, node: Node) -> Closure:
        """`since` takes a feature that holds a time: there is none in these scopes."""
        raise TypeError("since")


READER = FactsReader()
Read = Callable[[Any, Facts], Any]


def compiled(node: Node) -> Read:
    """The closure of a checked expression, called with `(None, facts)`."""
    return closure(node, READER)


def of_trigger(event: TriggerEvent) -> Facts:
    """The facts of a trigger."""
    data = event.data
    names = {
        "kind": "trigger",
        "name": data.trigger,
        "id": event.id,
        "seq": event.seq,
        "at": data.decided,
        "occurred": data.occurred,
        "received": data.received,
        "due": data.due,
        "expires_at": data.expires_at,
        "channel": data.channel,
        "step": data.step or None,
        "arm": data.arm or None,
        "cause": data.cause,
        "message_id": data.message_id,
        "version": data.version,
        "historical": False,
        **_identity(data.profile),
    }
    return Facts(names, {"payload": data.payload})


def of_change(change: Change) -> Facts:
    """The facts of a change."""
    names = {
        "kind": change.kind,
        "name": change.name,
        "id": change.id,
        "seq": change.seq,
        "at": change.at,
        "cause": change.cause,
        "message_id": change.message_id,
        "version": change.version,
        "historical": change.historical,
        "reason": change.reason or None,
        "step": change.step or None,
        "arm": change.arm or None,
        "by": change.by or None,
        "old": change.old,
        "new": change.new,
        **_identity(change.profile),
    }
    return Facts(names)


def _identity(profile: str) -> dict[str, str]:
    try:
        key = parse_profile_key(profile.encode())
    except ValueError:  # written by an older or another program: the key as a whole is all there is
        return {"profile": profile}
    found = {"profile": profile, "tenant": key.tenant, "namespace": key.namespace, "identifier": key.value}
    if key.namespace in ("user_id", "anonymous_id"):
        found[key.namespace] = key.value
    return found
