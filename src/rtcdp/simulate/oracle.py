"""Compares what a worker published with what it should have published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson


class Output(NamedTuple):
    """One record that rtcdp publishes. topic: `profile-changes`, `triggers` or `events-dlq`, whatever the cluster calls it."""

    topic: str
    key: bytes
    value: bytes


@dataclass
class Differences:
    """missing: expected and not found; extra: found and not expected (repeats too); different: found with other bytes."""

    missing: list[Output] = field(default_factory=list)
    extra: list[Output] = field(default_factory=list)
    different: list[tuple[Output, Output]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """How many records are wrong in any way."""
        return len(self.missing) + len(self.extra) + len(self.different)


def identity(output: Output) -> tuple[str, str]:
    """What names an output apart from its content: its topic and id; of a dead letter, the hash and reason.

    A dead letter has no id of its own: its origin differs from cluster to cluster.
    """
    body = orjson.loads(output.value)
    if output.topic == "events-dlq":
        return output.topic, f"{body['reason']}/{body.get('field', '')}/{body['hash']}"
    return output.topic, body["id"]


def compare(expected: Iterable[Output], found: Iterable[Output]) -> Differences:
    """Compare two sets of outputs, in any order. Repeats in `found` beyond those in `expected` are extra."""
    differences = Differences()
    wanted: dict[tuple[str, str], list[Output]] = {}
    for output in expected:
        wanted.setdefault(identity(output), []).append(output)
    for output in found:
        left = wanted.get(identity(output))
        if not left:
            differences.extra.append(output)
            continue
        want = left.pop()
        if _content(want) != _content(output):
            differences.different.append((want, output))
    differences.missing = [output for left in wanted.values() for output in left]
    return differences


def _content(output: Output) -> Any:
    if output.topic != "events-dlq":
        return output.key, output.value
    body = orjson.loads(output.value)
    return [body.get(name) for name in ("stage", "reason", "field", "detail", "length", "hash")]


def memberships(outputs: Iterable[Output]) -> set[tuple[str, str]]:
    """(profile, segment) pairs at the end, by following `entered` and `exited` in the order given."""
    inside: set[tuple[str, str]] = set()
    for output in outputs:
        if output.topic != "profile-changes":
            continue
        body = orjson.loads(output.value)
        if body["kind"] == "entered":
            inside.add((body["profile"], body["name"]))
        elif body["kind"] == "exited":
            inside.discard((body["profile"], body["name"]))
    return inside
