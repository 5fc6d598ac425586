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
from rtcdp.rules.definitions import Definitions, Namespace, Property
from rtcdp.rules.documents import DEEPEST, LARGEST_FILE, MOST_VALUES
from rtcdp.rules.expressions import Name, Type, walk
from rtcdp.rules.loading import definitions_from_normal, load, read_folder
from rtcdp.rules.sending import DAY_MS, Cap, On

Folder = Callable[..., Path]
Draw = Callable[..., Any]
DAY = 86_400_000


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write files and give their folder: `folder(text)` or `folder(name=text, ...)`."""

    def write(text: str | None = None, **files: str) -> Path:
        if text is not None:
            files["rules"] = text
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content, "utf-8")
        return tmp_path

    return write


# Meaning


def test_features(folder: Folder) -> None:
    features = load(
        folder("""
features:
  orders:     {count: Order Completed}
  spend:      {sum: properties.revenue, of: [B, A, B], where: properties.revenue > 0, within: 90d, description: Money}
  last_order: {last_time: [Order Completed, "*"]}
  kinds:      {unique: "properties.products[].kind", of: A}
  favourite:  {most_frequent: properties.kind, of: A, within: 1h + 30m}
  dearest:    {max: properties.price * properties.quantity, of: A}
  page:       {last: event, of: "*"}
""")
    ).features
    assert features["orders"].events == ("Order Completed",)
    assert (features["orders"].value, features["orders"].where, features["orders"].within) == (None, None, None)
    assert (features["spend"].events, features["spend"].within) == (("A", "B"), 90 * DAY)
    assert features["spend"].description == "Money"
    assert features["last_order"].events == ("*",)
    assert features["favourite"].within == 5_400_000
    assert list(features) == sorted(features)


def test_a_feature_is_kept_by_what_it_means(folder: Folder) -> None:
    features = load(
        folder("""
lists: {a: [x, y], b: [y, x], c: [z]}
features:
  one:   {sum: properties.x*2, of: [A, B], where: "properties.y=='a'", within: 7d, description: first}
  two:   {within: 1w, where: "properties['y'] == \\"a\\"", of: [B, A, A], sum: (properties.x) * 2.0}
  three: {sum: properties.x * 2, of: [A, B], where: properties.y == 'b', within: 7d}
  four:  {sum: properties.x * 2, of: [A, B], where: properties.y == 'a'}
  five:  {count: A, where: properties.y in a}
  six:   {count: A, where: properties.y in c}
""")
    ).features
    assert features["one"].normal == features["two"].normal
    assert len({feature.normal for feature in features.values()}) == 5


def test_a_list_counts_by_what_is_on_it(folder: Folder) -> None:
    text = "lists: {a: [%s]}\nfeatures:\n  five:  {count: A, where: properties.y in a}\n"
    normals = [load(folder(text % items)).features["five"].normal for items in ("x, y", "y, x", "x, z")]
    assert normals[0] == normals[1] != normals[2]


def test_tags_and_segments_are_typed_by_what_they_read(folder: Folder) -> None:
    definitions = load(
        folder("""
tags:
  band: {value: "'high' if worth > 3 else 'low'", when: buyers}
  worth: spend / 2
segments:
  high: band == 'high'
  buyers: since(last_seen) > 30d or spend > 0
  everyone: true
features:
  spend: {sum: properties.revenue, of: A}
""")
    )
    assert definitions.tags["band"].value.type is Type.TEXT
    assert definitions.tags["worth"].value.type is Type.NUMBER
    assert list(definitions.segments) == ["buyers", "everyone", "high"]
    assert set(definitions.features) == {"spend", "last_seen"}
    assert definitions.features["last_seen"].aggregate == "last_time"


def test_segments_stand_after_what_they_read(folder: Folder) -> None:
    segments = load(folder("segments: {a: b or t == 'x', b: c, c: true, z: true}\ntags: {t: \"'x' if z else 'y'\"}")).segments
    assert list(segments) == ["c", "z", "b", "a"]
    for place, segment in enumerate(segments.values()):
        read = {node.name for node in walk(segment.condition) if isinstance(node, Name) and node.kind == "segment"}
        assert read <= set(list(segments)[:place])


def test_triggers(folder: Folder) -> None:
    triggers = load(
        folder("""
segments: {buyers: orders >= 1}
features: {orders: {count: B}}
triggers:
  short: {on: A}
  long:
    on: {event: A, where: properties.x > 1}
    after: 1h
    unless: {event: [C, B], same: [properties.cart, context.z], where: properties.y == 2}
    if: orders > 3 and properties.x > 2
    cap: [{times: 3, per: 7d}, {times: 1, per: 1d}]
    max_age: 15m
    payload: {n: orders, x: properties.x, at: occurred, who: traits.name, text: "'hello'"}
    channel: push
  entry: {on: {entered: buyers}, cap: {times: 1, per: 1d}}
  exit: {on: {exited: buyers}, unless: C}
  beside: {on: A, where: properties.x > 1}
""")
    ).triggers
    short, long = triggers["short"], triggers["long"]
    assert (short.on, short.after, short.max_age, short.caps, short.payload) == (On("event", "A"), 0, DAY_MS, (), {})
    assert long.unless is not None
    assert long.unless.events == ("B", "C")
    assert len(long.unless.same) == 2
    assert (long.after, long.max_age, long.channel) == (3_600_000, 900_000, "push")
    assert long.caps == (Cap(1, DAY), Cap(3, 7 * DAY))
    assert list(long.payload) == ["at", "n", "text", "who", "x"]
    assert triggers["entry"].on == On("entered", "buyers")
    assert triggers["exit"].unless is not None
    assert triggers["beside"].on == long.on


def test_tracking_identity_and_lists(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vips.csv").write_text("id,name\n1, Ann \n2,Bob\n2,\n", "utf-8-sig")
    definitions = load(
        folder("""
tracking:
  unplanned: drop
  allow_secrets: [card_hint]
  traits: {birthday: time, vip: {type: boolean, default: false}}
  events:
    Empty:
    A:
      violation: dead-letter
      properties:
        price: number
        quantity: {type: number, required: true, default: 1}
        code: {type: text, default: 010, pii: true, allow_secret: true}
        at: {type: time, default: 2026-03-01}
        tags: {type: list, default: [1, a, true]}
        free: {default: 1.5}
identity:
  namespaces:
    - {name: user_id, paths: [userId]}
    - {name: phone, paths: [traits.phone, context.externalIds.phone], normalise: phone}
  blocked: ["0", null-id]
lists:
  plain: [b, a, b]
  long: {values: a, description: one}
  names: {file: data/vips.csv, column: name}
  ids: {file: data/vips.csv}
""")
    )
    plan = definitions.tracking
    assert plan.unplanned == "drop"
    assert plan.allow_secrets == {"card_hint"}
    assert plan.traits == {"birthday": Property("birthday", "time"), "vip": Property("vip", "boolean", default=False)}
    assert plan.events["A"].violation == "dead-letter"
    assert plan.events["Empty"].properties == {}
    properties = plan.events["A"].properties
    assert properties["quantity"] == Property("quantity", "number", required=True, default=1)
    assert properties["code"] == Property("code", "text", default="010", pii=True, allow_secret=True)
    assert properties["tags"].default == [1, "a", True]
    assert properties["free"].default == 1.5
    assert definitions.identity.namespaces == (
        Namespace("user_id", 0, ("userId",)),
        Namespace("phone", 1, ("traits.phone", "context.externalIds.phone"), "phone"),
    )
    assert definitions.identity.blocked == {"0", "null-id"}
    assert definitions.lists == {"plain": {"a", "b"}, "long": {"a"}, "names": {"Ann", "Bob"}, "ids": {"1", "2"}}
    assert definitions_from_normal(definitions.normal) == definitions


def test_the_plan_types_what_expressions_read(folder: Folder) -> None:
    text = """
tracking: {events: {A: {properties: {price: number}}, B: {properties: {price: text}}}}
features: {f: {last: properties.price, of: %s}}
"""
    types = {}
    for events in ("A", "B", "[A, B]", '"*"', "C"):
        value = load(folder(text % events)).features["f"].value
        assert value is not None
        types[events] = value.type
    assert types == {"A": Type.NUMBER, "B": Type.TEXT, "[A, B]": Type.ANY, '"*"': Type.ANY, "C": Type.ANY}


def test_words_of_yaml_1_1_are_text(folder: Folder) -> None:
    definitions = load(folder("features: {yes: {count: on}, no: {count: [off, ~x, 1e3, 010]}}\n"))
    assert definitions.features["yes"].events == ("on",)
    assert definitions.features["no"].events == ("010", "1e3", "off", "~x")


# Files


def test_files_are_merged(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.yml").write_text("features: {b: {count: B}}", "utf-8")
    (tmp_path / ".hidden.yaml").write_text("nonsense", "utf-8")
    (tmp_path / "notes.txt").write_text("nonsense", "utf-8")
    found = read_folder(folder(one="features: {a: {count: A}}", two="segments: {s: a > b}", empty="# nothing yet\n"))
    assert found.files == ["empty.yaml", "more/deep.yml", "one.yaml", "two.yaml"]
    assert found.definitions is not None
    assert set(found.definitions.features) == {"a", "b"}


def test_errors_of_all_files_are_told_in_order(folder: Folder) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load(folder(b="segments: {s: x > 1, r: 1 +}", a="features: {f: {cont: A}}", c="features: ["))
    assert [(error.file, error.line) for error in caught.value.errors] == [
        ("a.yaml", 1),
        ("b.yaml", 1),
        ("b.yaml", 1),
        ("c.yaml", 1),
    ]


def test_a_section_that_is_one_thing_stands_in_one_file(folder: Folder) -> None:
    with pytest.raises(DefinitionErrors, match=r"b.yaml:1:1: the section 'tracking' is written twice \(first in a.yaml:1:1\)"):
        load(folder(a="tracking: {unplanned: warn}", b="tracking: {unplanned: drop}"))


def test_no_folder_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DefinitionErrors, match=r"no \.yaml file"):
        load(tmp_path)


def test_an_anchor_can_be_used_again(folder: Folder) -> None:
    segments = load(folder("segments: {a: &long {if: traits.x > 1, description: d}, b: *long}")).segments
    assert segments["a"].condition == segments["b"].condition


# The normal form

_names = st.sampled_from(["f1", "f2", "f3", "f4"])
_events = st.lists(st.sampled_from(["A", "B", "Order Completed", "看", "*", "it's: #1"]), min_size=1, max_size=3)
_windows = st.sampled_from(["7d", "1w", "90m", "1h + 30m", "250ms"])
_wheres = st.sampled_from(["properties.x > 1", "properties['x']>1.0", "properties.kind in ['a', 'b']", "event != 'A'"])
_values = st.sampled_from(["properties.x", "properties.x * 2", "-properties.y", "properties.a.b"])


def _sparse(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=options)


@st.composite
def features(draw: st.DrawFn) -> dict[str, Any]:
    feature = draw(_sparse(where=_wheres, within=_windows, description=texts.filter(str.strip)))
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


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "features": {"f1": {"count": ["A"]}, **draw(st.dictionaries(st.sampled_from(["f2", "f3"]), features()))},
        "lists": {"names": draw(st.lists(texts.filter(str.strip), min_size=1, max_size=3))},
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


# Any bytes

WORDS = """
features: tags: segments: triggers: lists: tracking: identity: events: namespaces: properties: a: on: count: of: where: if: cap:
payload: within: value: unless: same: after: times: per: type: paths: - { } [ ] , ? | > >- & * ! % @ ` ' " # &a *a !!str --- ...
<< ~ null : A B 1 30d a>1 properties.x traits.y scenarios: steps: event: at: +1h expect: in: sent: tags: occurred: -1h
"""
BLANKS = ["\n", "\n  ", "\n    ", "\n      ", "\t", " ", "\x00", "\u2028", "\ufeff", "\ud800", "\x85"]
PIECES = st.sampled_from([*WORDS.split(), *BLANKS])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(PIECES, max_size=30).map(lambda pieces: " ".join(pieces).encode("utf-8", "surrogatepass")),
        st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass")),
    )
)
def test_any_bytes_are_definitions_or_errors_with_places(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "any.yaml").write_bytes(content)
    _definitions_or_errors(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(CHANGED)), st.integers(0, 12), st.one_of(PIECES, st.text(max_size=3), st.just("")))
def test_damaged_definitions_are_definitions_or_errors_with_places(tmp_path: Path, place: int, cut: int, piece: str) -> None:
    text = CHANGED[:place] + piece + CHANGED[place + cut :]
    (tmp_path / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    _definitions_or_errors(tmp_path)


def _definitions_or_errors(folder: Path) -> None:
    found = read_folder(folder)
    assert (found.definitions is None) == bool(found.errors)
    if found.definitions is not None:
        assert definitions_from_normal(found.definitions.normal) == found.definitions
    for error in found.errors:
        assert error.message
        assert error.file == "any.yaml"
        assert error.line >= 1
        assert error.column >= 1


def _laughs() -> str:
    lines = ["features: {}", "segments:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "content",
    [
        _laughs(),
        "a: " + "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: &a\n" * 2_000,
        "'" + "x" * 1_000_000,
        "segments:\n" + "".join(f" s{n}: s{n + 1}\n" for n in range(3_000)),
        "segments:\n" + "".join(f" s{n}: nothing{n}\n" for n in range(2_000)),
        "segments:\n" + " a:\n" * 5_000,
        "segments:\n a: " + "traits.x or " * 8_000,
        "x" * (LARGEST_FILE + 1),
        "\n" * 200_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_sizes_are_bounded(folder: Folder, content: str) -> None:
    found = read_folder(folder(content))
    if content.strip() and not content.startswith("segments:\n s0: s1"):
        assert found.errors
    assert len(found.errors) <= 30_000


def test_an_alias_counts_as_all_it_stands_for(folder: Folder) -> None:
    (error,) = read_folder(folder(_laughs())).errors
    assert f"more than {MOST_VALUES} values" in error.message


def test_depth_is_bounded(folder: Folder) -> None:
    (error,) = read_folder(folder("a: " + "[" * (DEEPEST + 2))).errors
    assert f"more than {DEEPEST} deep" in error.message
