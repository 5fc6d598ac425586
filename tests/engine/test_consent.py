"""Consent: without it nothing is there for its purpose, and with its end everything goes, at once and with records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine.harness import compiled
from hypothesis import example, given
from hypothesis import strategies as st

from rtcdp import profile as profiles
from rtcdp import records
from rtcdp.explanation.decisions import decisions
from rtcdp.explanation.explaining import explain
from rtcdp.folding.consents import Said, joined, take
from rtcdp.folding.engine import Engine
from rtcdp.folding.outbox import Outbox
from rtcdp.outputs import Cancel, Change
from rtcdp.profile import Answer, Profile
from rtcdp.records import Consent, Event, Tick
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.loading.folder import definitions_from_normal
from tests.identity.cluster import Cluster, anonymous, user

ORDER = "Order Completed"
HOUR = 3_600_000
SHOP: dict[str, Any] = {
    "consent": {
        "purposes": {"marketing": {"default": "denied", "categories": ["Advertising", "Targeting"]}, "analytics": "granted"}
    },
    "features": {
        "orders": {"count": ORDER},
        "wanted": {"count": ORDER, "purpose": "marketing"},
        "spend": {"sum": "properties.revenue", "of": ORDER, "purpose": "analytics"},
        "recent": {"count": ORDER, "within": "1d", "where": "properties.revenue > 0", "purpose": "marketing"},
    },
    "tags": {"level": {"value": "orders", "purpose": "marketing"}},
    "segments": {"targets": "wanted >= 1", "buyers": "orders >= 1", "loved": {"if": "orders >= 1", "purpose": "marketing"}},
    "triggers": {
        "thanks": {"on": ORDER, "purpose": "marketing", "channel": "email"},
        "later": {"on": ORDER, "after": "1h", "purpose": "marketing", "channel": "push"},
        "receipt": {"on": ORDER, "channel": "email"},
    },
}
YES, NO = {"consent": {"marketing": True}}, {"consent": {"marketing": False}}


@pytest.fixture(scope="module")
def shop() -> Compiled:
    return compiled(SHOP)


def order(log: Cluster, key: str, at: int, **context: Any) -> None:
    log.send([key], ORDER, at, properties={"revenue": 10}, context=context)


def said(log: Cluster, kind: str) -> list[tuple[str, Any, str, str]]:
    found = [msgspec.json.decode(change) for change in log.changes]
    return [(one["name"], one.get("new"), one.get("reason", ""), one.get("by", "")) for one in found if one["kind"] == kind]


def sent(log: Cluster) -> list[str]:
    return [name for record in log.triggers if (name := msgspec.json.decode(record)).get("type") == "rtcdp.trigger"] and [
        one["data"]["trigger"] for record in log.triggers if (one := msgspec.json.decode(record))["type"] == "rtcdp.trigger"
    ]


def recalled(log: Cluster) -> list[tuple[str, str, str]]:
    found = [msgspec.json.decode(record) for record in log.triggers]
    return [
        (one["subject"], one["data"]["trigger"], one["data"].get("channel", "")) for one in found if one["type"] == Cancel.TYPE
    ]


def values(shop: Compiled, profile: Profile | None) -> dict[str, Any]:
    assert profile is not None
    return {name: shop.features[name].value(profile) for name in ("orders", "wanted", "spend", "recent")}


def test_what_is_done_without_consent_is_not_kept_for_the_purpose(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000)
    log.settle()
    found = log.profile(user("ann"))
    assert values(shop, found) == {"orders": 1, "wanted": 0, "spend": 10, "recent": 0}
    assert found is not None
    assert found.tags == {}
    assert not found.waiting
    assert [name for name, *_ in said(log, "entered")] == ["buyers"]
    assert sent(log) == ["receipt"]
    assert said(log, "not_sent") == [
        ("later", None, "consent", "purpose marketing"),
        ("thanks", None, "consent", "purpose marketing"),
    ]
    order(log, user("ann"), 2_000, **YES)
    log.settle()
    found = log.profile(user("ann"))
    assert values(shop, found) == {"orders": 2, "wanted": 1, "spend": 20, "recent": 1}, "from the yes on, not before it"
    assert said(log, "consent") == [("marketing", True, "", "")]
    assert {name for name, *_ in said(log, "entered")} == {"buyers", "targets", "loved"}


def test_starts_without_consent_are_told_once_a_day(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    day = 86_400_000
    for number in range(10):
        order(log, user("ann"), 1_000 + number)
    order(log, user("bob"), 1_000)
    log.settle()
    told = [("later", None, "consent", "purpose marketing"), ("thanks", None, "consent", "purpose marketing")]
    assert said(log, "not_sent") == told * 2, "once for each of them"
    order(log, user("ann"), 1_000 + day - 1)
    log.settle()
    assert len(said(log, "not_sent")) == 4
    order(log, user("ann"), 1_000 + day)
    log.settle()
    assert said(log, "not_sent")[4:] == told
    order(log, user("ann"), 2_000 + day, **YES)
    log.send([user("ann")], "Page Seen", 3_000 + day, context=NO)
    log.settle()
    assert said(log, "not_sent")[6:] == [("later", None, "consent", "purpose marketing")], "what waited is always told"
    found = log.profile(user("ann"))
    assert found is not None
    thanks = next(trigger for trigger in shop.triggers if trigger.name == "thanks")
    assert [one.gate for one in decisions(found, thanks)] == ["sent", *["consent (purpose marketing)"] * 2], (
        "and `why` shows it"
    )


def test_with_consent_everything_goes_that_was_kept_for_it(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000, **YES)
    log.settle()
    assert sent(log) == ["receipt", "thanks"]
    log.send([user("ann")], "Page Seen", 2_000, context=NO)
    log.settle()
    found = log.profile(user("ann"))
    assert values(shop, found) == {"orders": 1, "wanted": 0, "spend": 10, "recent": 0}
    assert found is not None
    assert {key for key, leaf in shop.leaves.items() if leaf.purpose and leaf.purpose.name == "marketing"}.isdisjoint(
        found.slots
    )
    assert found.tags == {}
    assert not found.waiting
    assert {name for name, *_ in said(log, "exited")} == {"targets", "loved"}
    assert said(log, "not_sent") == [("later", None, "consent", "purpose marketing")]
    assert recalled(log) == [(user("ann"), "thanks", "")], "a receipt needs no consent"
    identities = [msgspec.json.decode(record)["id"] for record in (*log.changes, *log.triggers)]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("refused", [1, 6])
def test_what_was_sent_is_withdrawn_however_often_it_was_not_sent_since(refused: int) -> None:
    """A profile remembers few decisions: where all of them were refusals, what was sent may lie before them."""
    offer = {"on": ORDER, "purpose": "marketing", "channel": "email", "cap": {"times": 1, "per": "1d"}}
    log = Cluster(compiled({"consent": SHOP["consent"], "triggers": {"offer": offer}}), cold=True)
    for number in range(1 + refused):
        order(log, user("ann"), 1_000 + number, **YES)
    log.settle()
    assert sent(log) == ["offer"]
    assert [reason for _, _, reason, _ in said(log, "not_sent")] == ["cap"] * refused
    log.send([user("ann")], "Page Seen", 2_000, context=NO)
    log.settle()
    assert recalled(log) == [(user("ann"), "offer", "")]


def test_a_command_does_the_same(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000, **YES)
    log.append(user("ann"), records.encode(Consent(id="r", by="ops", answers={"marketing": False}, received=2_000)))
    log.settle()
    assert values(shop, log.profile(user("ann")))["wanted"] == 0
    assert {name for name, *_ in said(log, "exited")} == {"targets", "loved"}
    assert recalled(log) == [(user("ann"), "thanks", "")]
    log.append(user("ann"), records.encode(Consent(id="s", answers={"marketing": True}, received=3_000)))
    log.settle()
    assert [name for name, *_ in said(log, "entered")].count("loved") == 2
    assert values(shop, log.profile(user("ann")))["wanted"] == 0, "what went does not come back"
    log.append(user("ann"), records.encode(Consent(id="t", answers={"marketing": None}, received=4_000)))
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    assert found.consent == {}
    assert said(log, "consent") == [
        ("marketing", True, "", ""),
        ("marketing", False, "", ""),
        ("marketing", True, "", ""),
        ("marketing", None, "", ""),
    ]


def test_segments_consent_object(shop: Compiled) -> None:
    for preferences, expected in (
        ({"Advertising": True, "Targeting": True, "Other": False}, True),
        ({"advertising": True}, True),
        ({"Advertising": True, "Targeting": False}, False),
        ({"Other": True}, None),
        ({"Advertising": "yes"}, None),
    ):
        log = Cluster(shop)
        order(log, user("ann"), 1_000, consent={"categoryPreferences": preferences})
        log.settle()
        found = log.profile(user("ann"))
        assert found is not None
        answer = found.consent.get("marketing")
        assert (answer.granted if answer else None) is expected


@pytest.mark.parametrize("consent", [{}, [], "yes", 7, None, {"categoryPreferences": 3}, {"unheard": True}, {"@": True}])
def test_what_is_no_answer_changes_nothing(shop: Compiled, consent: Any) -> None:
    log = Cluster(shop)
    order(log, user("ann"), 1_000, consent=consent)
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    assert found.consent == {}
    assert not log.letters


def test_a_channel_is_unsubscribed_and_what_it_sent_withdrawn(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000, **YES)
    log.send([user("ann")], "Unsubscribed", 2_000, properties={"channel": "email"})
    order(log, user("ann"), 3_000)
    log.settle()
    assert said(log, "consent") == [("marketing", True, "", ""), ("@email", False, "", "")]
    assert recalled(log) == [(user("ann"), "receipt", "email"), (user("ann"), "thanks", "email")]
    assert [one for one in said(log, "not_sent") if one[2] == "consent"] == [
        ("receipt", None, "consent", "channel email"),
        ("thanks", None, "consent", "channel email"),
    ]
    log.send([user("ann")], "Subscribed", 4_000, properties={"channel": "email"})
    order(log, user("ann"), 5_000)
    log.settle()
    assert sent(log) == ["receipt", "thanks", "receipt", "thanks"]


def test_a_purpose_on_a_channel_leaves_the_rest_of_the_channel(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    log.send([user("ann")], "Unsubscribed", 500, properties={"channel": "email", "purpose": "marketing"})
    order(log, user("ann"), 1_000, **YES)
    log.settle()
    assert sent(log) == ["receipt"]
    assert said(log, "not_sent") == [("thanks", None, "consent", "purpose marketing, channel email")]


def test_do_not_disturb_ends_by_itself(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    log.send([user("ann")], "Do Not Disturb", 1_000, properties={"until": "1970-01-01T00:00:05Z"})
    order(log, user("ann"), 2_000)
    order(log, user("ann"), 5_000)
    log.settle()
    assert said(log, "not_sent")[0] == ("receipt", None, "consent", "channel *") or (
        "receipt",
        None,
        "consent",
        "channel *",
    ) in said(log, "not_sent")
    assert sent(log) == ["receipt"]


def test_what_waits_is_stopped_by_its_channel_when_it_is_due(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000, **YES)
    log.send([user("ann")], "Unsubscribed", 2_000, properties={"channel": "push"})
    log.send([user("ann")], "Page Seen", 2 * HOUR)
    log.settle()
    assert ("later", None, "consent", "channel push") in said(log, "not_sent")
    assert "later" not in sent(log)


def test_a_merge_takes_the_later_answer_and_drops_what_it_does_not_cover(shop: Compiled) -> None:
    for theirs, mine, kept in ((1_000, 2_000, False), (2_000, 1_000, True)):
        log = Cluster(shop, cold=True)
        order(log, anonymous("a"), theirs, **YES)
        log.send([user("ann")], "Page Seen", mine, context=NO)
        log.settle()
        log.send([user("ann"), anonymous("a")], "identify", 3_000)
        log.settle()
        found = log.profile(user("ann"))
        assert values(shop, found)["wanted"] == (1 if kept else 0)
        assert found is not None
        assert bool(found.waiting) is kept
        if not kept:
            assert (anonymous("a"), "thanks", "") in recalled(log), "what was sent under the other key is withdrawn too"


def test_defaults_by_region(shop: Compiled) -> None:
    by_region = {
        **SHOP,
        "consent": {
            "purposes": {"marketing": {"default": "denied", "regions": {"US": "granted"}}, "analytics": "granted"},
            "region": "country",
        },
        "features": {**SHOP["features"], "country": {"last": "context.location.country", "of": "*"}},
    }
    rules = compiled(by_region)
    log = Cluster(rules, cold=True)
    order(log, user("ann"), 1_000, location={"country": "US"})
    order(log, user("ann"), 2_000, location={"country": "US"})
    log.settle()
    assert values(rules, log.profile(user("ann")))["wanted"] == 2, "the region counts from the event on that tells it"
    assert "loved" in [name for name, *_ in said(log, "entered")]
    order(log, user("ann"), 3_000, location={"country": "DE"})
    log.settle()
    assert values(rules, log.profile(user("ann")))["wanted"] == 0
    assert {name for name, *_ in said(log, "exited")} == {"targets", "loved"}


def test_other_definitions_may_change_the_default() -> None:
    granted = compiled({**SHOP, "consent": {"purposes": {"marketing": "granted", "analytics": "granted"}}})
    denied = compiled(SHOP)
    box = Outbox(granted.version)
    profile = Profile("main/user_id:ann")
    before = Engine(granted)
    event = granted.decode(records.encode(Event(received=5, occurred=5, source="s/0", offset=1, id="m", event=ORDER)))
    before.applies[ORDER](profile, event, box)
    assert granted.features["wanted"].value(profile) == 1
    Engine(denied).migrate(profile, granted, box, revealed=6)
    assert denied.features["wanted"].value(profile) == 0
    assert {item.name for item in box.items if isinstance(item, Change) and item.kind == "exited"} == {"targets", "loved"}
    assert not profile.waiting


def test_a_no_outlives_the_profile() -> None:
    rules = compiled({**SHOP, "expire": {"known": "30d", "anonymous": "30d"}})
    log = Cluster(rules, cold=True)
    for key in (user("ann"), anonymous("a")):
        order(log, key, 1_000, **NO)
        log.send([key], "Page Seen", 2_000, context={"consent": {"analytics": True}})
    for number in range(3):
        log.waiting[number].append((records.TICK_KEY, records.encode(Tick(time=40 * 24 * HOUR, wake=9, simulated=True))))
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    assert found.fresh
    assert [(name, answer.granted) for name, answer in found.consent.items()] == [("marketing", False)]
    assert log.profile(anonymous("a")) is None, "nobody to honour it for"


def test_an_event_collected_for_a_purpose_counts_for_nothing_without_it() -> None:
    plan = {"events": {ORDER: {"purpose": "marketing"}, "Page Seen": None}}
    rules = compiled({**SHOP, "tracking": plan})
    for generated in (True, False):
        engine, box, profile = Engine(rules, generated=generated), Outbox(rules.version), Profile("main/user_id:ann")

        def fold(
            name: str, at: int, context: dict[str, Any], engine: Engine = engine, box: Any = box, one: Any = profile
        ) -> None:
            event = Event(
                received=at, occurred=at, source="s/0", offset=at, id=f"m{at}", event=name, context=context, traits={"at": at}
            )
            engine.applies[name](one, rules.decode(records.encode(event)), box)

        fold(ORDER, 1, {})
        assert profile.fresh
        assert not box.items
        fold(ORDER, 2, YES)
        assert rules.features["orders"].value(profile) == 1
        assert profile.trait("at") == 2
        fold(ORDER, 3, NO)
        assert rules.features["orders"].value(profile) == 1, "what needed no consent stays"
        assert profile.trait("at") == 2
        assert {item.name for item in box.items if isinstance(item, Change) and item.kind == "exited"} == {"targets", "loved"}
        fold("Page Seen", 4, {})
        assert profile.trait("at") == 4


def test_the_normal_form_holds_all_of_it() -> None:
    purposes = {"marketing": {"default": "denied", "regions": {"US": "granted"}, "categories": ["Ads"]}, "analytics": "granted"}
    plan = {"events": {ORDER: {"purpose": "marketing"}}}
    rules = compiled({**SHOP, "consent": {"purposes": purposes, "region": "traits.country"}, "tracking": plan}).definitions
    assert definitions_from_normal(rules.normal) == rules
    channels_alone = definitions_from_normal('{"consent": {}}')
    assert channels_alone.consent is not None
    assert definitions_from_normal(channels_alone.normal) == channels_alone


def test_a_no_that_comes_late_ends_what_was_gathered_before_it(shop: Compiled) -> None:
    log = Cluster(shop, cold=True)
    order(log, user("ann"), 1_000, **YES)
    order(log, user("ann"), 9_000, **YES)
    log.send([user("ann")], "Page Seen", 10_000, occurred=5_000, context=NO)
    log.settle()
    found = log.profile(user("ann"))
    assert values(shop, found)["wanted"] == 0, "what was gathered between is not told apart: all of it goes"
    assert answered(found) is True, "the later answer counts"
    log.send([user("ann")], ORDER, 11_000, occurred=6_000)
    order(log, user("ann"), 12_000)
    log.settle()
    assert values(shop, log.profile(user("ann")))["wanted"] == 1, "nor does what occurred before the yes count again"


def answered(profile: Profile | None) -> bool:
    assert profile is not None
    return profile.consent["marketing"].granted


def test_why_names_the_consent(shop: Compiled) -> None:
    profile, box = Profile("main/user_id:ann"), Outbox(shop.version)
    engine = Engine(shop)
    for offset, name in enumerate((ORDER, "Unsubscribed")):
        event = Event(received=5, occurred=5, source="s/0", offset=offset, id=f"m{offset}", event=name)
        engine.applies[name](profile, shop.decode(records.encode(event)), box)
    loved = explain(profile, engine, "loved")
    assert (loved.value, loved.consent) == (False, "purpose marketing: denied by default")
    assert loved.change is not None
    assert loved.change.text == "consent to marketing"
    assert explain(profile, engine, "buyers").consent == ""
    thanks = [(gate.text, gate.state) for gate in explain(profile, engine, "thanks").gates if gate.gate == "consent"]
    assert thanks == [("purpose marketing", "denied by default")]
    receipt = [(gate.text, gate.state) for gate in explain(profile, engine, "receipt").gates if gate.gate == "consent"]
    assert receipt == [("channel *", "refused")]


ANSWERS = st.builds(
    Answer, st.booleans(), st.integers(1, 20), st.sampled_from("abc"), since=st.just(0), until=st.just(0), denied=st.just(0)
).map(lambda answer: msgspec.structs.replace(answer, since=answer.at if answer.granted else 0))


@given(st.lists(ANSWERS, min_size=1, max_size=8, unique_by=lambda answer: (answer.at, answer.id)), st.randoms())
def test_the_last_answer_is_the_same_in_any_order(answers: list[Answer], dice: Any) -> None:
    def fold(items: list[Answer]) -> Answer:
        found: Answer | None = None
        for item in items:
            found = joined(found, item)
        assert found is not None
        return found

    straight = fold(sorted(answers, key=lambda answer: (answer.at, answer.id)))
    dice.shuffle(answers)
    found = fold(answers)
    assert (found.granted, found.at, found.id, found.denied) == (straight.granted, straight.at, straight.id, straight.denied)
    if found.granted:
        assert straight.since <= found.since, "what comes late never covers more than it would have in order"
        assert found.since >= found.denied


@example(
    [
        Answer(granted=False, at=1, id="a"),
        Answer(granted=True, at=1, id="b", since=1),
        Answer(granted=True, at=2, id="a", since=2),
    ]
)
@given(st.lists(ANSWERS, min_size=1, max_size=8, unique_by=lambda answer: (answer.at, answer.id)))
def test_what_is_said_again_is_joined_as_everything_else(answers: list[Answer]) -> None:
    rules = compiled(SHOP)
    profile, found = Profile("main/user_id:ann"), None
    for answer in answers:
        found = joined(found, answer)
        take(profile, Said({"marketing": answer}, answer.at, answer.id), rules, Outbox(rules.version))
    assert profile.consent["marketing"] == found


@given(st.lists(st.tuples(st.sampled_from(["order", "yes", "no", "order yes", "order no"]), st.integers(0, 2)), max_size=25))
def test_state_is_that_of_the_events_that_consent_covered(steps: list[tuple[str, int]]) -> None:
    """In order of time: what counts are the events since the last no that came with or after a yes."""
    rules = compiled(SHOP)
    for generated in (True, False):
        engine, box, profile = Engine(rules, generated=generated), Outbox(rules.version), Profile("main/user_id:ann")
        covered, agreed, orders, now = 0, False, 0, 0
        for offset, (what, more) in enumerate(steps):
            now += more + 1
            context = YES if "yes" in what else NO if "no" in what else {}
            name = ORDER if "order" in what else "Page Seen"
            event = Event(received=now, occurred=now, source="s/0", offset=offset, id=f"m{offset}", event=name, context=context)
            engine.applies[name](profile, rules.decode(records.encode(event)), box)
            if context:
                agreed = context is YES
                covered = covered if agreed else 0
            orders += "order" in what
            covered += "order" in what and agreed
        assert rules.features["orders"].value(profile) == orders
        assert rules.features["wanted"].value(profile) == covered
        names = {rule.name for rule in rules.rules if rule.is_segment and rule.key in profile.segments}
        assert names == {
            name for name, holds in {"buyers": orders, "targets": covered, "loved": orders and agreed}.items() if holds
        }
        assert bool(profile.tags) == agreed
        assert agreed or not profile.waiting
        assert profiles.encode(profiles.decode(profile.key, profiles.encode(profile))) == profiles.encode(profile)
