"""The normal form: one text for one meaning, however the definitions were written.

It is itself a document of definitions, in long form and as canonical JSON, so that reading it back needs no second
reader. Names of files, order of keys, short forms, comments, quotes and spaces leave no trace in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from rtcdp.rules.definitions import (
    Derived,
    Feature,
    Filter,
    IdentityPlan,
    PlannedEvent,
    Property,
    Segment,
    Step,
    Tag,
    TrackingPlan,
)
from rtcdp.rules.expressions.tree import Name, spell_duration, unparse, walk
from rtcdp.rules.loading.normal_reactions import sparse as _sparse
from rtcdp.rules.loading.normal_reactions import text as _text
from rtcdp.rules.loading.normal_reactions import trigger_document
from rtcdp.rules.loading.options import AGGREGATES, DEFAULT_GAP_MS, DEFAULT_TOP
from rtcdp.rules.sending import Trigger

Document = dict[str, Any]


def canonical(document: Document) -> str:
    """JSON without spaces and with sorted keys."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def version_of(normal: str) -> str:
    """The version of definitions: the first 16 hex digits of SHA-256 of their normal form."""
    return hashlib.sha256(normal.encode()).hexdigest()[:16]


def with_normal(feature: Feature, lists: Mapping[str, frozenset[str]]) -> Feature:
    """The feature with its `normal`: what it keeps, whatever it is called.

    Lists that it reads stand in it by what is on them, since that is what decides which events count.
    """
    document = _aggregate(feature)
    names = {node.name for top in feature.nodes for node in walk(top) if isinstance(node, Name)}
    if names:
        document["lists"] = {name: version_of(canonical({"": sorted(lists.get(name, ()))})) for name in names}
    return replace(feature, normal=canonical(document))


def _aggregate(feature: Feature) -> Document:
    kind = AGGREGATES[feature.aggregate].takes
    if kind == "steps":
        document: Document = {feature.aggregate: [_step(step) for step in feature.steps]}
    elif kind == "events":
        document = {feature.aggregate: list(feature.events)}
    else:
        document = {feature.aggregate: _text(feature.value), "of": list(feature.events)}
    window = feature.within and spell_duration(feature.within)
    spend = feature.spend and _sparse(
        {"of": list(feature.spend.events), "where": _text(feature.spend.where), "value": _text(feature.spent)}
    )
    return _sparse(
        {
            **document,
            "where": _text(feature.where),
            "within": f"{window}..{spell_duration(feature.offset)}" if feature.offset else window,
            "during": feature.during,
            "zone": feature.zone if feature.zone != "UTC" else None,
            "by": _text(feature.by),
            "top": feature.top if feature.top not in (0, DEFAULT_TOP) else None,
            "reset_on": feature.reset_on and _filter(feature.reset_on),
            "per": "session" if feature.current else None,
            "gap": _gap(feature),
            "order": "strict" if feature.strict else None,
            "restart": feature.restart or None,
            "same": [unparse(node) for node in feature.same],
            "spend": spend,
            "expire": spell_duration(feature.expire) if feature.expire else None,
            "purpose": feature.purpose,
        }
    )


def _gap(feature: Feature) -> Any:
    if feature.gaps:
        return {channel: spell_duration(gap) for channel, gap in feature.gaps}
    return spell_duration(feature.gap) if feature.gap not in (0, DEFAULT_GAP_MS) else None


def _filter(part: Filter | Step) -> Document:
    return _sparse({"event": list(part.events), "where": _text(part.where)})


def _step(step: Step) -> Document:
    if step.excluded:
        return {"not": _filter(step)}
    return _sparse({**_filter(step), "same": [unparse(node) for node in step.same]})


def _feature(feature: Feature) -> Document:
    return _sparse({**_aggregate(feature), "description": feature.description})


def _derived(derived: Derived) -> Document:
    return _sparse({"value": unparse(derived.value), "description": derived.description})


def _tag(tag: Tag) -> Document:
    when = {"when": _text(tag.when), "purpose": tag.purpose}
    return _sparse({"value": unparse(tag.value), **when, "description": tag.description})


def _segment(segment: Segment) -> Document:
    return _sparse({"if": unparse(segment.condition), "purpose": segment.purpose, "description": segment.description})


def _property(planned: Property) -> Document:
    document: Document = {"type": planned.type}
    if planned.default is not None:
        document["default"] = planned.default
    flags = {"required": planned.required, "pii": planned.pii, "allow_secret": planned.allow_secret}
    return {**document, **{name: True for name, flag in flags.items() if flag}}


def _planned_event(event: PlannedEvent) -> Document:
    properties = {path: _property(planned) for path, planned in event.properties.items()}
    violation = event.violation if event.violation != "warn" else None
    return _sparse({"properties": properties, "violation": violation, "purpose": event.purpose})


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
    namespaces = [
        {"name": space.name, "paths": list(space.paths), "normalise": space.normalise, "limit": space.limit}
        for space in plan.namespaces
    ]
    links = "every" if plan.every else None
    return _sparse({"namespaces": namespaces, "blocked": sorted(plan.blocked), "links": links})


def document(
    features: Mapping[str, Feature],
    tags: Mapping[str, Tag],
    segments: Mapping[str, Segment],
    triggers: Mapping[str, Trigger],
    lists: Mapping[str, frozenset[str]],
    tracking: TrackingPlan,
    identity: IdentityPlan,
    derived: Mapping[str, Derived],
) -> Document:
    """The whole set as a document in long form."""
    written = {name: _feature(feature) for name, feature in features.items()}
    return _sparse(
        {
            "features": written | {name: _derived(feature) for name, feature in derived.items()},
            "tags": {name: _tag(tag) for name, tag in tags.items()},
            "segments": {name: _segment(segment) for name, segment in segments.items()},
            "triggers": {name: trigger_document(trigger) for name, trigger in triggers.items()},
            "lists": {name: sorted(texts) for name, texts in lists.items()},
            "tracking": _tracking(tracking),
            "identity": _identity(identity),
        }
    )
