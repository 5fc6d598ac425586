"""Definitions as they are loaded: what they mean, and from which files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtcdp.errors import DefinitionErrors
from rtcdp.rules.definitions import Namespace, Property
from rtcdp.rules.expressions.tree import Name, Type, walk
from rtcdp.rules.loading.folder import definitions_from_normal, load, read_folder
from rtcdp.rules.sending import DAY_MS, Cap, On

Folder = Callable[..., Path]
DAY = 86_400_000


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
