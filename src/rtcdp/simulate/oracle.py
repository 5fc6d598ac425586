"""Compares what a worker published with what it should have published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import orjson

from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.tree import Name, Node, Part, walk

BEGINS_ANEW = frozenset({"alias", "detached", "freed"})
"""What may become of an identifier after which nothing of it holds any more."""
MERGED = "merged"
"""Said of an identifier that had something to hand over: none has where its link overtook its first event."""
_ORDER_FREE = frozenset({"count", "sum", "avg", "min", "max", "first_time", "last_time", "unique", "most_frequent"})
"""Aggregates whose value is that of the set of events; others are exact within the newest entries they keep."""


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


def compare(
    expected: Iterable[Output], found: Iterable[Output], order_free: Callable[[str], bool] = lambda _: True
) -> Differences:
    """Compare two sets of outputs, in any order. Repeats in `found` beyond those in `expected` are extra.

    Where identifiers became one person, what was put out on the way depends on which record came first, the link or the
    next event: there the identities and what holds at the end are compared, everywhere else every record.

    order_free: whether a tag or segment is the same at the end in whatever order a person's events came (`order_free`).
    """
    expected, found = list(expected), list(found)
    linked = _linked(expected) | _linked(found)
    differences = _compare_records(
        [output for output in expected if output.key not in linked], [output for output in found if output.key not in linked]
    )
    ends = [_at_the_end(output for output in outputs if output.key in linked) for outputs in (expected, found)]
    wanted, there = ({what: end[what] for what in end if what[1] == "identity" or order_free(what[2])} for end in ends)
    differences.missing += [wanted[what] for what in wanted.keys() - there.keys()]
    differences.extra += [there[what] for what in there.keys() - wanted.keys()]
    return differences


def order_free(definitions: Definitions) -> Callable[[str], bool]:
    """Which tags and segments read nothing but features that are exact in any order of the same events."""
    rules: dict[str, list[Node]] = {name: [segment.condition] for name, segment in definitions.segments.items()}
    rules |= {name: [tag.value, *([tag.when] if tag.when else [])] for name, tag in definitions.tags.items()}

    def reads(node: Name) -> bool:
        if node.kind == "feature":
            feature = definitions.features[node.name]
            bounded = feature.by or feature.reset_on or feature.current or feature.gap or feature.gaps
            return feature.aggregate in _ORDER_FREE and not bounded
        return node.kind == "list" or (node.kind != "stage" and known(node.name))

    @cache
    def known(name: str) -> bool:
        nodes = [node for top in rules.get(name, ()) for node in walk(top)]
        return all(reads(node) for node in nodes if isinstance(node, Name)) and not any(
            isinstance(node, Part) for node in nodes
        )

    return known


def _compare_records(expected: list[Output], found: list[Output]) -> Differences:
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


def _linked(outputs: list[Output]) -> set[bytes]:
    """Keys of the profiles that became part of another, or took one in."""
    return {output.key for output in outputs if output.topic == "profile-changes" and b'"kind":"identity"' in output.value}


def _at_the_end(outputs: Iterable[Output]) -> dict[tuple[str, str, str, str], Output]:
    """What holds at the end, and what was said of identities: (profile, kind, name, value), and the record that said so."""
    holds: dict[tuple[str, str, str], tuple[str, Output]] = {}
    said: dict[tuple[str, str, str, str], Output] = {}
    for output in outputs:
        body = orjson.loads(output.value)
        if output.topic != "profile-changes" or body["kind"] not in ("entered", "exited", "tag", "identity"):
            continue
        profile, kind, name = body["profile"], body["kind"], body["name"]
        if kind == "identity":
            if body["reason"] != MERGED:
                said[profile, kind, name, body["reason"]] = output
            if body["reason"] in BEGINS_ANEW:
                holds = {place: held for place, held in holds.items() if place[0] != profile}
        elif kind == "tag" and "new" in body:
            holds[profile, "tag", name] = (orjson.dumps(body["new"]).decode(), output)
        elif kind == "entered":
            holds[profile, "segment", name] = ("", output)
        else:
            holds.pop((profile, "tag" if kind == "tag" else "segment", name), None)
    return said | {(*place, value): output for place, (value, output) in holds.items()}


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
        elif body["kind"] == "identity" and body["reason"] in BEGINS_ANEW:
            inside = {member for member in inside if member[0] != body["profile"]}
    return inside
