"""`rtcdp why` for people: the tree as it is printed."""

from __future__ import annotations

import io

from engine.test_explanation import DAY, START, Shopper
from rich.console import Console

from rtcdp.queries.why import show


def printed(shopper: Shopper, name: str, at: int | None = None) -> list[str]:
    out = io.StringIO()
    show(shopper.why(name, at), Console(file=out, width=120, highlight=False))
    return [line.rstrip() for line in out.getvalue().splitlines()][1:]


def test_a_segment_as_a_tree() -> None:
    shopper = Shopper()
    shopper.does(START, "Order Completed", revenue=50)
    assert printed(shopper, "lapsed", START + DAY) == [
        "segment lapsed: not in   until 1970-05-11T00:00:00.001Z, if nothing arrives",
        "✘ buyers and since(last_order) > 30d   until 1970-05-11T00:00:00.001Z",
        "├── ✔ buyers   orders >= 1",
        "│   └── ✔ orders >= 1",
        "│       └── orders = 1   count Order Completed",
        "└── ✘ since(last_order) > 30d   until 1970-05-11T00:00:00.001Z",
        "    └── since(last_order) = 1d",
        "        └── last_order = 1970-04-11T00:00:00.000Z   last_time Order Completed",
        "            └── 1970-04-11T00:00:00.000Z",
        "to change it",
        "└── 29d 1ms more must pass since last_order   by itself at 1970-05-11T00:00:00.001Z",
    ]


def test_a_trigger_with_its_gates() -> None:
    shopper = Shopper()
    shopper.does(START, "Product Viewed", price=5, page="[bold]")
    lines = printed(shopper, "cart", START + DAY)
    assert lines[0] == "trigger cart: nothing waits"
    assert "├── cap 1 per 1d   0 of 1 used" in lines
    assert lines[-2:] == ["decided", "└── if   1970-04-11T01:00:00.000Z"]


def test_what_people_sent_is_no_markup() -> None:
    shopper = Shopper()
    shopper.does(START, "Product Viewed", price=5, page="[bold]")
    assert printed(shopper, "first_page")[0] == "feature first_page: = [bold]"
