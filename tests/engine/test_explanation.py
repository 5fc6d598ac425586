"""Why and until: the value is the engine's, it changes at `until`, and what is needed suffices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from engine.harness import Partition, compiled
from engine.oracle import Happened, Spec, Ticked
from engine.test_engine_oracle import cases, made
from hypothesis import HealthCheck, given, settings

from rtcdp import profile as profiles
from rtcdp.explanation.explained import Need, Part
from rtcdp.explanation.explaining import UnknownName, explain
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.position import Came
from rtcdp.profile import Profile
from rtcdp.records import Event, encode
from rtcdp.times.timestamps import rfc3339

DAY = 86_400_000
START = 100 * DAY

SHOP: dict[str, Any] = {
    "features": {
        "orders": {"count": "Order Completed"},
        "views_7d": {"count": "Product Viewed", "within": "7d"},
        "views_1d": {"count": "Product Viewed", "within": "1d"},
        "views_30d": {"count": "Product Viewed", "within": "30d"},
        "spend": {"sum": "properties.revenue", "of": "Order Completed"},
        "last_order": {"last_time": "Order Completed"},
        "first_page": {"first": "properties.page", "of": "Product Viewed"},
        "favourite": {"most_frequent": "properties.page", "of": "Product Viewed", "within": "30d"},
    },
    "tags": {"band": {"value": "'high' if spend / orders >= 300 else 'low'", "when": "orders >= 2"}, "views": "views_30d"},
    "segments": {
        "buyers": "orders >= 1",
        "lapsed": "buyers and since(last_order) > 30d",
        "keen": "views_7d >= 3 and (orders == 0 or spend > 100)",
        "busy": "views_1d >= 3",
        "strangers": "not buyers and not traits.vip",
    },
    "triggers": {
        "cart": {
            "on": "Product Viewed",
            "after": "1h",
            "unless": "Order Completed",
            "if": "views_7d >= 2 and properties.price > 3",
            "cap": {"times": 1, "per": "1d"},
        }
    },
}


class Shopper:
    """One profile under the shop's definitions."""

    def __init__(self, definitions: dict[str, Any] = SHOP) -> None:
        self.engine = Engine(compiled(definitions))
        self.profile = Profile("main/user_id:1")
        self.sent = Outbox(self.engine.compiled.version)
        self._count = 0

    def does(self, at: int, event: str, **properties: Any) -> None:
        self._count += 1
        record = Event(
            received=at, occurred=at, source="e/0", offset=self._count, id=f"m{self._count}", event=event, properties=properties
        )
        self.engine.applies[event](self.profile, self.engine.compiled.decode(encode(record)), self.sent)

    def why(self, name: str, at: int | None = None, **options: Any) -> Any:
        return explain(self.profile, self.engine, name, at=at, **options)


@pytest.fixture
def shopper() -> Shopper:
    return Shopper()


def parts(part: Part) -> Iterator[Part]:
    yield part
    for inner in part.parts:
        yield from parts(inner)


def part(tree: Part, text: str) -> Part:
    return next(one for one in parts(tree) if one.text == text)


def needed(need: Need) -> list[str]:
    return [need.text] * bool(need.text) + [text for inner in (*need.all, *need.any) for text in needed(inner)]


def test_a_segment_that_time_alone_changes(shopper: Shopper) -> None:
    shopper.does(START, "Order Completed", revenue=50)
    before = profiles.encode(shopper.profile)
    found = shopper.why("lapsed", START + DAY)
    turns = rfc3339(START + 30 * DAY + 1)
    assert (found.value, found.until, found.becomes, found.precision) == (False, turns, True, "exact")
    assert part(found.tree, "since(last_order)").value == "1d"
    assert part(found.tree, "since(last_order) > 30d").until == turns
    assert part(found.tree, "last_order").events[0].at == rfc3339(START)
    assert part(found.tree, "orders").definition == "count Order Completed"
    assert found.change == Need("29d 1ms more must pass since last_order", turns)
    assert profiles.encode(shopper.profile) == before, "asking changes nothing"
    later = shopper.why("lapsed", START + 40 * DAY)
    assert (later.value, later.since, later.until) == (True, turns, "")
    assert needed(later.change) == [
        "the profile must leave buyers",
        "orders must fall below 1 (now 1)",
        "last_order must be less than 30d ago (now 40d): by Order Completed",
    ]


def test_what_must_change_and_that_it_suffices(shopper: Shopper) -> None:
    shopper.does(START, "Product Viewed", page="a")
    shopper.does(START + DAY, "Order Completed", revenue=50)
    found = shopper.why("keen")
    assert needed(found.change) == [
        "views_7d must reach 3 (now 1): 2 more Product Viewed",
        "orders must become 0 (now 1)",
        "spend must exceed 100 (now 50): by Order Completed",
    ]
    for _ in range(2):
        shopper.does(START + DAY, "Product Viewed", page="a")
    shopper.does(START + DAY, "Order Completed", revenue=50)
    assert not shopper.why("keen").value, "control: one hundred does not exceed one hundred"
    shopper.does(START + DAY, "Order Completed", revenue=1)
    found = shopper.why("keen")
    assert found.value
    assert found.until == rfc3339(START + 7 * DAY), "the oldest of three views leaves"
    assert needed(shopper.why("strangers").change) == ["the profile must leave buyers", "orders must fall below 1 (now 3)"]


def test_events_are_told_as_far_as_they_are_held(shopper: Shopper) -> None:
    for day in range(5):
        shopper.does(START + day * DAY, "Product Viewed", page="ab"[day % 2])
    first = shopper.why("first_page").tree
    assert [(event.at, event.message_id, event.value) for event in first.events] == [(rfc3339(START), "m1", "a")]
    views = shopper.why("views_30d")
    assert [event.at for event in views.tree.events] == [rfc3339(START + day * DAY) for day in range(5)]
    assert (views.until, views.becomes) == (rfc3339(START + 30 * DAY), 4)
    assert shopper.why("favourite").tree.counts == [("a", 3), ("b", 2)]
    for _ in range(4):
        shopper.does(START + 5 * DAY, "Product Viewed", page="a")
    capped = shopper.why("views_1d")
    assert (capped.value, capped.tree.precision) == (3, "3 or more: no rule asks further")
    assert shopper.why("busy").precision == "exact", "the rule's answer is"


SCOPED: dict[str, Any] = {
    "features": {
        "cart": {"sum": "properties.n", "of": "Added", "reset_on": "Paid"},
        "visit": {"count": "Added", "per": "session"},
        "points": {"balance": "properties.n", "of": "Added", "spend": "Spent", "expire": "30d"},
        "funnel": {"sequence": ["Added", "Paid"], "within": "7d"},
        "visits": {"sessions": "*"},
        "bounces": {"bounces": "*"},
        "by_page": {"count": "Added", "by": "properties.page"},
        "monthly": {"first": "properties.page", "of": "Added", "during": "month", "zone": "UTC"},
        "before": {"count": "Added", "within": "2d..1d"},
        "reading": {"dwell": "*"},
        "reading_of": {"dwell": "*", "by": "properties.page"},
    },
    "segments": {"s": "cart > 1"},
}


def test_events_of_every_scope_are_told() -> None:
    shopper = Shopper(SCOPED)
    for at, event, n, page in ((0, "Added", 5, "a"), (1, "Paid", 1, "a"), (2, "Added", 7, "b"), (2.5, "Spent", 4, "b")):
        shopper.does(START + round(at * DAY), event, n=n, page=page)
    shopper.does(START + round(2.5 * DAY) + 60_000, "Added", n=2, page="b")
    told = {name: [(event.at, event.value) for event in shopper.why(name).tree.events] for name in SCOPED["features"]}
    times = [rfc3339(START + round(at * DAY)) for at in (0, 1, 2, 2.5)]
    last = rfc3339(START + round(2.5 * DAY) + 60_000)
    assert told["cart"] == [(times[2], 7), (last, 2)]
    assert shopper.why("visit").tree.more == 1
    assert told["points"] == [(times[0], 1), (times[2], 7), (last, 2)]
    assert [at for at, _ in told["funnel"]] == [times[0], times[1], times[2], last]
    assert told["visits"] == [(times[0], 0), (times[1], 0), (times[2], 0), (times[3], 60_000)]
    assert told["bounces"] == told["visits"][:3]
    assert shopper.why("by_page").tree.counts == [("b", 2), ("a", 1)]
    assert told["monthly"] == [(times[0], "a")]
    assert [at for at, _ in told["before"]] == []
    assert told["reading"] == [(times[3], 60_000)], "the pauses before were no reading"
    assert told["reading_of"] == [(times[3], ["b", 60_000])]
    shopper.does(START + 4 * DAY, "Nothing")
    assert [event.at for event in shopper.why("before").tree.events] == [last]


def test_more_events_than_are_held_are_said_to_be_in_buckets(shopper: Shopper) -> None:
    for place in range(400):
        shopper.does(START + place * 1000, "Product Viewed", page="a")
    found = shopper.why("views_30d")
    assert found.value == 400
    assert len(found.tree.events) + found.tree.more == 400
    assert "more than 256 events: the older ones in buckets" in found.precision
    assert "views_30d: more than 256 events" in shopper.why("views").precision


def test_a_feature_that_has_not_seen_all_is_warming(shopper: Shopper) -> None:
    shopper.does(START, "Product Viewed", page="a")
    compiled_ = shopper.engine.compiled
    warming = {compiled_.features[name].key: Came(2, START - DAY) for name in ("views_7d", "orders")}
    assert shopper.why("views_7d", warming=warming).precision == f"warming since {rfc3339(START - DAY)}"
    assert f"orders: warming since {rfc3339(START - DAY)}" in shopper.why("keen", warming=warming).precision
    assert shopper.why("views_7d", START + 6 * DAY, warming=warming).precision == "exact", "the window is full"
    assert "warming" in shopper.why("orders", START + 6 * DAY, warming=warming).precision


def test_a_tag_and_its_condition(shopper: Shopper) -> None:
    shopper.does(START, "Order Completed", revenue=700)
    found = shopper.why("band")
    assert found.value is None
    assert part(found.tree, "orders >= 2").holds is False
    shopper.does(START, "Order Completed", revenue=700)
    assert shopper.why("band").value == "high"
    shopper.does(START, "Product Viewed", page="a")
    views = shopper.why("views")
    assert (views.value, views.until, views.becomes) == (1, rfc3339(START + 30 * DAY), 0)


def test_a_trigger_tells_its_gates_and_decisions(shopper: Shopper) -> None:
    shopper.does(START, "Product Viewed", price=5)
    shopper.does(START + DAY, "Product Viewed", price=5)
    waits = shopper.why("cart")
    assert (waits.value, waits.until) == (True, rfc3339(START + DAY + 3_600_000))
    assert [gate.gate for gate in waits.gates] == ["on", "after", "unless", "if", "cap", "max_age"]
    assert waits.gates[0].state.endswith("by message m2")
    assert part(waits.tree, "properties.price").value == 5
    assert [(decision.gate, decision.times) for decision in waits.decisions] == [("if", 1)], "one view was not enough"
    sent = shopper.why("trigger:cart", START + 2 * DAY)
    assert sent.value is False
    assert (sent.decisions[0].gate, sent.decisions[0].at) == ("sent", rfc3339(START + DAY + 3_600_000))
    cap = next(gate for gate in shopper.why("cart", START + DAY + 7_200_000).gates if gate.gate == "cap")
    assert (cap.state, cap.until) == ("1 of 1 used", rfc3339(START + 2 * DAY + 3_600_000))


def test_an_unknown_name_is_answered_with_the_nearest(shopper: Shopper) -> None:
    with pytest.raises(UnknownName, match="did you mean 'lapsed'"):
        shopper.why("lapsd")


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(case=cases())
def test_until_is_when_the_engine_changes_it(case: tuple[int, Spec, list[Happened | Ticked]]) -> None:
    """Whatever the definitions and the stream: the first change after is at `until`, and there is none where that is empty."""
    unit, spec, stream = case
    partition = Partition(made(spec))
    partition.feed(stream)
    engine = Engine(partition.runner.engine(partition.runner.current.version).compiled)
    for key, stored in partition.runner.state.items():
        profile = profiles.decode(key.decode(), stored)
        box = Outbox("v")
        engine.advance(profile, profile.now, box, simulated=True)
        ahead = profiles.decode(profile.key, profiles.encode(profile))
        box = Outbox("v")
        engine.advance(ahead, profile.now + 200 * unit, box, simulated=True)
        later = {}
        for item in box.items:
            if getattr(item, "kind", "") in ("entered", "exited", "tag"):
                later.setdefault(item.name, item.at)
        for rule in engine.compiled.rules:
            found = explain(profile, engine, rule.name)
            assert found.until == later.get(rule.name, ""), rule.name
            if rule.is_segment:
                assert found.value is (rule.key in profile.segments)
                assert found.tree is not None
                assert found.tree.holds is found.value
            assert msgspec.json.encode(found)


LIFE: dict[str, Any] = {
    "features": {"orders": {"count": "Order Completed"}},
    "segments": {"buyers": "orders >= 1"},
    "lifecycle": {
        "stages": [
            {"gone": {"if": "since(last_seen) > 60d"}},
            {"loyal": {"if": "orders >= 2", "stay": "3d"}},
            {"new": {"if": "true"}},
        ]
    },
    "triggers": {
        "offer": {
            "on": "Product Viewed",
            "unless": {"if": "stage == 'gone'"},
            "again": "2d",
            "quiet": {"from": "22:00", "to": "08:00", "zone": "UTC"},
            "cooldown": "1d",
            "holdout": "50%",
            "priority": 3,
            "channel": "push",
        },
        "tour": {"on": "Signed Up", "steps": [{"send": "hello"}, {"wait": "3d"}, {"send": "bye"}]},
    },
    "groups": {"marketing": {"triggers": ["offer"], "cap": {"times": 1, "per": "7d"}, "pick": "priority"}},
    "channels": {"push": {"cooldown": "1h"}},
}


def test_the_stage_and_until_when() -> None:
    shopper = Shopper(LIFE)
    shopper.does(START, "Order Completed")
    found = shopper.why("stage")
    assert (found.kind, found.value, found.since) == ("stage", "new", rfc3339(START))
    assert (found.until, found.becomes) == (rfc3339(START + 60 * DAY + 1), "gone")
    assert [(one.text, one.holds) for one in found.tree.parts] == [("gone", False), ("loyal", False), ("new", True)]
    shopper.does(START, "Order Completed")
    assert shopper.why("stage").value == "loyal"


def test_every_gate_is_told() -> None:
    shopper = Shopper(LIFE)
    shopper.does(START + 12 * 3_600_000, "Product Viewed")
    found = {(gate.gate, gate.text): gate for gate in shopper.why("offer").gates}
    assert list(found) == [
        ("on", "Product Viewed"),
        ("unless", "if stage == 'gone'"),
        ("again", "2d"),
        ("quiet", "22:00 to 08:00, UTC"),
        ("cooldown", "1d"),
        ("holdout", "50%"),
        ("cap", "1 per 7d of group marketing"),
        ("cooldown", "1h of channel push"),
        ("priority", "3 in group marketing"),
        ("max_age", "1d"),
    ]
    decided = shopper.why("offer").decisions
    treated = found["holdout", "50%"].state == "treated"
    assert [decision.gate for decision in decided] == ["sent" if treated else "holdout"]
    assert found["again", "2d"].until == rfc3339(START + 2 * DAY + 12 * 3_600_000)
    shopper.does(START + 13 * 3_600_000, "Product Viewed")
    assert [decision.gate for decision in shopper.why("offer").decisions] == ["again", *(one.gate for one in decided)]
    night = shopper.why("offer", START + 23 * 3_600_000).gates[3]
    assert (night.state, night.until) == ("now", rfc3339(START + 32 * 3_600_000))


def test_a_journey_says_where_it_is() -> None:
    shopper = Shopper(LIFE)
    shopper.does(START, "Signed Up")
    found = shopper.why("tour")
    assert (found.value, found.until) == (True, rfc3339(START + 3 * DAY))
    assert found.gates[-1].gate == "steps"
    assert found.gates[-1].state.startswith("next: ")
