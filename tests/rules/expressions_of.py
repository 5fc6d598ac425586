"""Hypothesis strategies for expression texts that are right, by type, in all the ways people write them."""

from __future__ import annotations

from hypothesis import strategies as st

from rtcdp.rules.expressions.names import EVENT_FIELDS, EVENT_ROOTS
from rtcdp.rules.expressions.scope import Defined, Scope
from rtcdp.rules.expressions.tree import Type, quote

NAMES = {
    "orders": Defined("feature", Type.NUMBER),
    "spend": Defined("feature", Type.NUMBER),
    "last_order": Defined("feature", Type.TIME),
    "favourite": Defined("feature", Type.ANY),
    "views": Defined("feature", Type.NUMBER, keyed=True),
    "band": Defined("tag", Type.TEXT),
    "buyers": Defined("segment", Type.BOOLEAN),
    "vips": Defined("list", Type.LIST),
}
PROFILE = Scope("the profile", ("traits",), (), NAMES)
BOTH = Scope("the profile and the event", EVENT_ROOTS, EVENT_FIELDS, NAMES)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
gaps = st.sampled_from(["", " ", "  ", "\n", "\t"])


def literal_text(value: str) -> st.SearchStrategy[str]:
    forms = [quote(value)]
    if value.isprintable() and '"' not in value and "\\" not in value:
        forms.append(f'"{value}"')
    if value.isprintable() and "'" not in value and "\\" not in value:
        forms.append(f"r'{value}'")
    return st.sampled_from(forms)


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(" ".join)


def binary(left: st.SearchStrategy[str], signs: list[str], right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(left, gaps, st.sampled_from(signs), gaps, right).map(
        lambda parts: f"({parts[0]}){parts[1]}{parts[2]}{parts[3]}({parts[4]})"
    )


steps = st.one_of(
    st.sampled_from([".a", ".class", ".价格", ".products[].sku", "['a b']", '["$x"]', ".__each", ".is"]),
    texts.filter(lambda text: text not in ("", "[]")).map(lambda text: f"[{quote(text)}]"),
)
paths = st.tuples(st.sampled_from(EVENT_ROOTS), steps).map("".join).filter(lambda path: "[]" not in path)

_whole = st.integers(0, 10**12).map(str)
_durations = st.tuples(st.integers(0, 400), st.sampled_from(["w", "d", "h", "m", "s", "ms"])).map(lambda it: f"{it[0]}{it[1]}")
numbers: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        _whole,
        st.floats(0, 1e6, allow_nan=False).map(repr),
        st.sampled_from(["orders", "spend", "views['a b']", "properties.price", "month(occurred)", "length(band)"]),
        binary(numbers, ["+", "-", "*"], numbers),
        binary(numbers, ["/", "%", "//"], st.sampled_from(["orders", "3", "0.5"])),
        numbers.map(lambda text: f"-({text})"),
        binary(st.just("since(last_order)"), ["/"], st.just("1d")),
        st.tuples(numbers, numbers).map(lambda it: f"min({it[0]}, {it[1]})"),
        numbers.map(lambda text: f"round({text}, 2)"),
        st.just("sum(properties.products[].price)"),
    )
)
strings: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        texts.flatmap(literal_text),
        st.sampled_from(["band", "event", "channel", "day(occurred)"]),
        strings.map(lambda text: f"lower({text})"),
        st.tuples(strings, conditions, strings).map(lambda it: f"({it[0]} if {it[1]} else {it[2]})"),
    )
)
conditions: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["buyers", "true", "False", "traits.vip", "missing(last_order)", "favourite not in vips"]),
        binary(numbers, ["<", "<=", ">", ">=", "==", "!="], numbers),
        binary(strings, ["<", "==", "!="], strings),
        binary(paths, ["==", "!=", "<"], strings),
        binary(st.just("since(last_order)"), [">", "<="], _durations),
        st.tuples(numbers, numbers, numbers).map(lambda it: f"({it[0]}) < ({it[1]}) <= ({it[2]})"),
        st.tuples(strings, st.lists(strings, min_size=1, max_size=3)).map(lambda it: f"({it[0]}) in [{', '.join(it[1])}]"),
        strings.map(lambda text: f"in_list({text}, vips)"),
        binary(conditions, [" and ", " or "], conditions),
        st.tuples(conditions, st.sampled_from([" and ", " or "]), conditions, st.just(" and not "), conditions).map("".join),
        conditions.map(lambda text: f"not ({text})"),
    )
)
