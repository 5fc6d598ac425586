"""Keys of keyed features that are no texts: told apart, read and put out as what they are."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.reactions import event, told

from rtcdp import profile as profiles
from rtcdp.explanation.explaining import explain
from rtcdp.folding.engine import Engine

RULES = compiled(
    {
        "features": {"by_kind": {"count": "Added", "by": "properties.kind"}},
        "tags": {"kind": "top(by_kind)"},
        "segments": {"six": "by_kind[6] >= 1", "six_as_text": "by_kind['6'] >= 1", "yes": "by_kind[true] >= 1"},
        "triggers": {"added": {"on": "Added", "payload": {"kind": "top(by_kind)", "sixes": "by_kind[6]"}}},
    }
)


@pytest.mark.parametrize(
    ("kind", "top", "segments"),
    [(6, 6, ["six"]), (6.0, 6, ["six"]), ("6", "6", ["six_as_text"]), (True, True, ["yes"]), (7.5, 7.5, [])],
)
@pytest.mark.parametrize("generated", [True, False])
def test_a_key_is_put_out_as_it_came(kind: Any, top: Any, segments: list[str], generated: bool) -> None:
    found = Partition(RULES, generated=generated)
    found.feed([event("Added", 1, properties={"kind": kind})])
    assert [name for name, _, _ in told(found, "entered")] == segments
    tag, *_, sent = found.outputs["1"]
    assert (tag["new"], sent["payload"]) == (top, {"kind": top, "sixes": int(segments == ["six"])})
    assert type(tag["new"]) is type(top)


def test_why_shows_keys_as_they_are() -> None:
    found = Partition(RULES)
    found.feed([event("Added", at, properties={"kind": kind}) for at, kind in enumerate([6, "shoes", 6])])
    (key, stored), *_ = found.runner.state.items()
    answer = explain(profiles.decode(key.decode(), stored), Engine(RULES), "by_kind")
    assert answer.value == {"6": 2, "shoes": 1}
    assert answer.tree is not None
    assert answer.tree.counts == [(6, 2), ("shoes", 1)]


@pytest.mark.parametrize("generated", [True, False])
def test_null_in_an_array_is_missing(generated: bool) -> None:
    tagged = {"of": "Added"}
    features: dict[str, Any] = {
        "kinds": {"unique": "properties.tags", **tagged},
        "most": {"most_frequent": "properties.tags", **tagged},
        "most_lately": {"most_frequent": "properties.tags", "within": "7d", **tagged},
        "by_tag": {"count": "Added", "by": "properties.tags"},
    }
    tags = {"found": "kinds", "first": "most", "lately": "most_lately", "tag": "top(by_tag)"}
    found = Partition(compiled({"features": features, "tags": tags}), generated=generated)
    found.feed([event("Added", at, properties={"tags": [None, *names]}) for at, names in enumerate([["a"], [], [None, "a"]])])
    assert {item["name"]: item["new"] for item in found.outputs["1"]} == {"found": 1, "first": "a", "lately": "a", "tag": "a"}
