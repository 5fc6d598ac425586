"""The normal form: one meaning has one, another meaning has another version."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from rules.expressions_of import texts

from rtcdp.errors import DefinitionErrors
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import definitions_from_normal, load

Folder = Callable[..., Path]
Draw = Callable[..., Any]


_names = st.sampled_from(["f1", "f2", "f3", "f4"])
_events = st.lists(st.sampled_from(["A", "B", "Order Completed", "看", "*", "it's: #1"]), min_size=1, max_size=3)
_windows = st.sampled_from(["7d", "1w", "90m", "1h + 30m", "250ms"])
_wheres = st.sampled_from(["properties.x > 1", "properties['x']>1.0", "properties.kind in ['a', 'b']", "event != 'A'"])
_values = st.sampled_from(["properties.x", "properties.x * 2", "-properties.y", "properties.a.b"])


def _sparse(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=options)


@st.composite
def features(draw: st.DrawFn) -> dict[str, Any]:
    feature = draw(_sparse(where=_wheres, within=_windows, description=texts.filter(_writable)))
    aggregate = draw(st.sampled_from(["count", "first_time", "last_time", "sum", "avg", "last", "unique", "most_frequent"]))
    events = draw(_events)
    if aggregate in ("count", "first_time", "last_time"):
        return {aggregate: events, **feature}
    return {aggregate: draw(_values), "of": events, **feature}


_conditions = st.sampled_from(
    [
        "f1 > 2",
        "since(last_seen) > 30d",
        "1 < f1 <= 5 and traits.vip",
        "not s1",
        "traits.name in names",
        "first_seen < last_seen",
    ]
)
_descriptions = _sparse(description=st.sampled_from(["x", "long: text # 1", "多"]))


def _writable(text: str) -> bool:
    """Whether the YAML library reads what it writes: a leading `?` it takes for a key in flow style."""
    return bool(text.strip()) and not text.startswith("?")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "features": {"f1": {"count": ["A"]}, **draw(st.dictionaries(st.sampled_from(["f2", "f3"]), features()))},
        "lists": {"names": draw(st.lists(texts.filter(_writable), min_size=1, max_size=3))},
        "segments": {"s1": {"if": "f1 >= 1"}},
    }
    for name in draw(st.sets(st.sampled_from(["s2", "s3"]))):
        found["segments"][name] = {"if": draw(_conditions), **draw(_descriptions)}
    for name in draw(st.sets(st.sampled_from(["t1", "t2"]))):
        value = draw(st.sampled_from(["f1 / 2", "'x' if s1 else 'y'", "month(traits.birthday)"]))
        found.setdefault("tags", {})[name] = {"value": value, **draw(_sparse(when=_conditions)), **draw(_descriptions)}
    for name in draw(st.sets(st.sampled_from(["g1", "g2"]))):
        on = draw(st.sampled_from([{"event": "A"}, {"event": "A", "where": "properties.x == 1"}]))
        found.setdefault("triggers", {})[name] = {
            "on": on,
            **draw(
                _sparse(
                    after=_windows,
                    unless=st.sampled_from([{"event": ["B"]}, {"event": ["B", "A"], "same": ["properties.c"]}]),
                    cap=st.sampled_from([[{"times": 1, "per": "1d"}], [{"times": 3, "per": "7d"}, {"times": 1, "per": "1d"}]]),
                    payload=st.sampled_from([{"n": "f1", "x": "properties.x + 1"}]),
                    channel=st.sampled_from(["push", "sms"]),
                    max_age=_windows,
                    **{"if": _conditions},
                )
            ),
        }
    return found


def _shuffled(draw: Draw, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _shuffled(draw, value[key]) for key in draw(st.permutations(list(value)))}


def _shortened(draw: Draw, document: dict[str, Any]) -> dict[str, Any]:
    """The same, with short forms here and there."""
    short: dict[str, Any] = json.loads(json.dumps(document))
    for section, key in (("segments", "if"), ("tags", "value")):
        for name, item in short.get(section, {}).items():
            if item.keys() == {key} and draw(st.booleans()):
                short[section][name] = item[key]
    for trigger in short.get("triggers", {}).values():
        if trigger["on"].keys() == {"event"} and draw(st.booleans()):
            trigger["on"] = trigger["on"]["event"]
        if "unless" in trigger and trigger["unless"].keys() == {"event"} and draw(st.booleans()):
            trigger["unless"] = trigger["unless"]["event"]
        if "cap" in trigger and len(trigger["cap"]) == 1 and draw(st.booleans()):
            trigger["cap"] = trigger["cap"][0]
    for feature in short["features"].values():
        for key in ("of", "count"):
            if len(feature.get(key, ())) == 1 and draw(st.booleans()):
                feature[key] = feature[key][0]
    return short


def _write(folder: Path, documents_: list[dict[str, Any]], *, block: bool) -> Path:
    folder.mkdir()
    for number, document in enumerate(documents_):
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = not block
        yaml.allow_unicode = True
        stream = StringIO()
        yaml.dump(document, stream)
        (folder / f"{number}.yaml").write_text(f"# file {number}\n{stream.getvalue()}", "utf-8")
    return folder


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(document=documents(), data=st.data())
def test_one_meaning_has_one_normal_form(
    document: dict[str, Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("normal")
    first = load(_write(base / "one", [document], block=True))
    shuffled = _shuffled(data.draw, _shortened(data.draw, document))
    split = [{section: items} for section, items in shuffled.items()]
    second = load(_write(base / "many", split, block=data.draw(st.booleans())))
    assert second.normal == first.normal
    assert second == first
    again = definitions_from_normal(first.normal)
    assert again == first
    assert again.version == first.version
    assert list(again.segments) == list(first.segments)


CHANGES = [
    ("orders >= 1", "orders >= 2"),
    ("count: A", "count: B"),
    ("within: 7d", "within: 8d"),
    ("times: 1", "times: 2"),
    ("[x, y]", "[x, z]"),
    ("price: number", "price: text"),
    ("payload: {n: orders}", "payload: {m: orders}"),
    ("entered: buyers", "exited: buyers"),
    ("value: orders", "value: orders + 1"),
    ("blocked: [q]", "blocked: [r]"),
    ("blocked: [q]", "blocked: [q], links: every"),
    ("orders:", "orderz:"),
]
CHANGED = """
features: {orders: {count: A, within: 7d}}
segments: {buyers: orders >= 1}
tags: {many: {value: orders}}
lists: {l: [x, y]}
triggers: {t: {on: {entered: buyers}, cap: {times: 1, per: 1d}, payload: {n: orders}}}
tracking: {events: {A: {properties: {price: number}}}}
identity: {blocked: [q]}
cuts: {c: [1, 2], d: {recency: [1d], frequency: [1], monetary: [1]}}
shadow: true
scenarios: {s: [{at: +1h, event: A, times: 2, expect: {in: buyers, sent: {t: {n: 2}}, tags: {many: 2}}}]}
"""


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_another_meaning_has_another_version(folder: Folder, old: str, new: str) -> None:
    before = load(folder(CHANGED))
    assert old in CHANGED
    text = CHANGED.replace("orders", "orderz") if new == "orderz:" else CHANGED.replace(old, new)
    after = load(folder(text))
    assert after.version != before.version
    assert len(after.version) == 16


def test_the_version_does_not_change_by_itself(folder: Folder) -> None:
    assert load(folder(CHANGED)).version == "ebfe7459f3d0292a"


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda it: st.lists(it) | st.dictionaries(texts, it))
)
def test_anything_else_is_no_normal_form(value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        found = definitions_from_normal(text)
    except DefinitionErrors as error:
        told = error.errors
    else:
        assert isinstance(found, Definitions)
        return
    assert told
