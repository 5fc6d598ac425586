"""Bodies with holes."""

from __future__ import annotations

from typing import Any

import pytest

from rtcdp.delivery import facts
from rtcdp.delivery.facts import Facts
from rtcdp.delivery.templates import template
from rtcdp.rules.loading.documents import read_yaml
from rtcdp.rules.loading.reading import Reader

FACTS = Facts(
    {"user_id": "u1", "kind": "entered", "seq": 7, "new": [1, {"a": None}], "historical": False},
    {"payload": {"cart": 12.0, "price": 12.5, "sku": "a'b", "items": [{"n": 1}, {"n": 2}]}},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a: 1, b: 2.5, c: true, d: null, e: text, f: '1', g: -0, h: [x, 2]}",
         {"a": 1, "b": 2.5, "c": True, "d": None, "e": "text", "f": "1", "g": 0, "h": ["x", 2]}),
        ('"{payload.cart}"', 12.0),
        ('"{payload.cart} and {payload.price}"', "12 and 12.5"),
        ('{a: "{payload.none}", b: "x{payload.none}y"}', {"b": "xy"}),
        ('["{payload.none}", "{seq}"]', [7]),
        ('"{new}"', [1, {"a": None}]),
        ('"is {new} {historical}"', 'is [1,{"a":null}] false'),
        ('"{{{user_id}}} ${seq}"', "{u1} $7"),
        ("\"{'}' + user_id}\"", "}u1"),
        ('"{payload.items[].n}"', [1, 2]),
        ("\"{'in' if kind == 'entered' else 'out'}\"", "in"),
        ('"{payload.sku}"', "a'b"),
        ("用户: '购 {user_id}'", {"用户": "购 u1"}),
    ],
)  # fmt: skip
def test_what_a_body_becomes(text: str, expected: Any) -> None:
    reader = Reader()
    value = read_yaml("b.yaml", text.encode(), reader.errors)
    assert value is not None
    render = template(value, facts.RECORD, reader)
    assert reader.errors == []
    assert render(FACTS) == expected


def test_an_error_in_a_body_has_its_place() -> None:
    reader = Reader()
    value = read_yaml("b.yaml", b"a:\n  b: 'one {seq} two {payload}'\n", reader.errors)
    assert value is not None
    template(value, facts.RECORD, reader)
    (error,) = reader.errors
    assert (error.line, error.column) == (2, 22)
    assert "'payload' is not a value by itself" in error.message
