"""The normal form: one text for one meaning, however the definitions were written.

It is itself a document of definitions, in long form and as canonical JSON, so that reading it back needs no second
reader. Names of files, order of keys, short forms, comments, quotes and spaces leave no trace in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from rtcdp.rules.definitions import Feature, IdentityPlan, PlannedEvent, Property, Segment, Tag, TrackingPlan
from rtcdp.rules.expressions import Name, Node, spell_duration, unparse, walk
from rtcdp.rules.normal_reactions import sparse as _sparse
from rtcdp.rules.normal_reactions import text as _text
from rtcdp.rules.normal_reactions import trigger_document
from rtcdp.rules.options import AGGREGATES
from rtcdp.rules.sending import Trigger

Document = dict[str, Any]


def canonical(document: Document) -> str:
    """JSON without spaces and with sorted keys."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def version_of(normal: str) -> str:
    """The version of definitions: the first 16 hex digits of SHA-256 of their normal form."""
    return hashlib.sha256(normal.encode()).hexdigest()[:16]


def aggregate_normal(
    aggregate: str,
    events: tuple[str, ...],
    value: Node | None,
    where: Node | None,
    within: int | None,
    lists: Mapping[str, frozenset[str]],
) -> str:
    """What a feature keeps, whatever it is called: `Feature.normal`.

    Lists that it reads stand in it by what is on them, since that is what decides which events count.
    """
    document = _aggregate(aggregate, events, value, where, within)
    names = {node.name for top in (value, where) if top for node in walk(top) if isinstance(node, Name)}
    if names:
        document["lists"] = {name: version_of(canonical({"": sorted(lists.get(name, ()))})) for name in names}
    return canonical(document)


def _aggregate(aggregate: str, events: tuple[str, ...], value: Node | None, where: Node | None, within: int | None) -> Document:
    if AGGREGATES[aggregate].takes == "events":
        document: Document = {aggregate: list(events)}
    else:
        document = {aggregate: _text(value), "of": list(events)}
    return _sparse({**document, "where": _text(where), "within": within and spell_duration(within)})


def _feature(feature: Feature) -> Document:
    aggregate = _aggregate(feature.aggregate, feature.events, feature.value, feature.where, feature.within)
    return _sparse({**aggregate, "description": feature.description})


def _tag(tag: Tag) -> Document:
    return _sparse({"value": unparse(tag.value), "when": _text(tag.when), "description": tag.description})


def _segment(segment: Segment) -> Document:
    return _sparse({"if": unparse(segment.condition), "description": segment.description})


def _property(planned: Property) -> Document:
    document: Document = {"type": planned.type}
    if planned.default is not None:
        document["default"] = planned.default
    flags = {"required": planned.required, "pii": planned.pii, "allow_secret": planned.allow_secret}
    return {**document, **{name: True for name, flag in flags.items() if flag}}


def _planned_event(event: PlannedEvent) -> Document:
    properties = {path: _property(planned) for path, planned in event.properties.items()}
    return _sparse({"properties": properties, "violation": event.violation if event.violation != "warn" else None})


def _tracking(plan: TrackingPlan) -> Document:
    return _sparse(
        {
            "unplanned": plan.unplanned if plan.unplanned != "accept" else None,
            "events": {name: _planned_event(event) for name, event in plan.events.items()},
            "traits": {path: _property(planned) for path, planned in plan.traits.items()},
            "allow_secrets": sorted(plan.allow_secrets),
        }
    )


def _identity(plan: IdentityPlan) -> Document:
    namespaces = [{"name": space.name, "paths": list(space.paths), "normalise": space.normalise} for space in plan.namespaces]
    return _sparse({"namespaces": namespaces, "blocked": sorted(plan.blocked)})


def document(
    features: Mapping[str, Feature],
    tags: Mapping[str, Tag],
    segments: Mapping[str, Segment],
    triggers: Mapping[str, Trigger],
    lists: Mapping[str, frozenset[str]],
    tracking: TrackingPlan,
    identity: IdentityPlan,
) -> Document:
    """The whole set as a document in long form."""
    return _sparse(
        {
            "features": {name: _feature(feature) for name, feature in features.items()},
            "tags": {name: _tag(tag) for name, tag in tags.items()},
            "segments": {name: _segment(segment) for name, segment in segments.items()},
            "triggers": {name: trigger_document(trigger) for name, trigger in triggers.items()},
            "lists": {name: sorted(texts) for name, texts in lists.items()},
            "tracking": _tracking(tracking),
            "identity": _identity(identity),
        }
    )
