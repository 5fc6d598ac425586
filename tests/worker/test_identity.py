"""Identifiers become one person through real Kafka, also where the worker is killed in between."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from rtcdp import profile as profiles
from rtcdp.position import POSITION_KEY
from rtcdp.privacy import splitting
from rtcdp.queries import inspection
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load
from tests.worker.conftest import Deploy, Deployment, wait_for

PEOPLE = 40
ORDERS = 3


def history(people: int) -> list[list[dict[str, Any]]]:
    """Rounds of events: everybody's anonymous orders, then who they are, then orders by the old name again."""

    def order(person: int, place: int) -> dict[str, Any]:
        return {"type": "track", "event": "Order Completed", "anonymousId": f"a{person}", "messageId": f"{person}-{place}"}

    rounds = [[order(person, place) for person in range(people)] for place in range(2 * ORDERS)]
    known = [
        {"type": "identify", "anonymousId": f"a{person}", "userId": f"u{person}", "messageId": f"i{person}"}
        for person in range(people)
    ]
    return [*rounds[:ORDERS], known, *rounds[ORDERS:]]


def stored(shop: Deployment) -> dict[str, profiles.Profile]:
    """Every profile as the changelog has it."""
    found: dict[str, profiles.Profile] = {}
    for message in shop.read(shop.settings.changelog):
        key = message.key() or b""
        if key != POSITION_KEY and (value := message.value()) is not None:
            found[key.decode()] = profiles.decode(key.decode(), value)
    return found


def settled(shop: Deployment, people: int) -> Callable[[], bool]:
    slot = compile_definitions(load(shop.definitions)).features["orders"].key

    def look() -> bool:
        state = stored(shop)
        users = [state.get(f"main/user_id:u{person}") for person in range(people)]
        return all(user is not None and user.slots.get(slot, 0) >= 2 * ORDERS for user in users)

    return look


def check(shop: Deployment, people: int) -> None:
    slot = compile_definitions(load(shop.definitions)).features["orders"].key
    state = stored(shop)
    assert {state[f"main/user_id:u{person}"].slots[slot] for person in range(people)} == {2 * ORDERS}
    assert {state[f"main/anonymous_id:a{person}"].alias for person in range(people)} == {
        f"main/user_id:u{person}" for person in range(people)
    }
    merged = [change for change in shop.records(shop.settings.profile_changes) if change.get("reason") == "merged"]
    assert len(merged) == people, "each state was handed over once"
    assert not shop.records(shop.settings.events_dlq)


def test_a_visitor_becomes_a_user(deploy: Deploy) -> None:
    shop = deploy()
    shop.worker().ready()
    for events in history(5):
        shop.send(*events)
    wait_for(settled(shop, 5), what="everything folded into the users")
    check(shop, 5)
    found = inspection.people_of(shop.settings, "anonymous_id:a3")
    assert found is not None
    assert (found["person"], [link["identifier"] for link in found["links"]]) == ("main/user_id:u3", ["main/anonymous_id:a3"])
    seen = inspection.profile_at(shop.settings, "anonymous_id:a3")
    assert seen is not None
    assert (seen.key, list(seen.identifiers)) == ("main/user_id:u3", ["anonymous_id:a3"])


def test_a_visitor_who_was_somebody_else_is_given_back(deploy: Deploy) -> None:
    shop = deploy()
    shop.worker().ready()
    for events in history(2):
        shop.send(*events)
    wait_for(settled(shop, 2), what="everything folded into the users")
    asked = {"by": "dpo", "reason": "a shared till"}
    assert splitting.split(shop.settings, "user_id:u1", "anonymous_id:a0", **asked) is None, "it is not theirs"
    found = splitting.split(shop.settings, "anonymous_id:a1", "anonymous_id:a1", **asked)
    assert found is not None
    assert (found.person, found.other, found.events) == ("main/user_id:u1", "main/anonymous_id:a1", [1, 2 * ORDERS])
    shop.send({"type": "track", "event": "Order Completed", "anonymousId": "a1", "messageId": "more"}, history(2)[ORDERS][1])
    slot = compile_definitions(load(shop.definitions)).features["orders"].key

    def split() -> bool:
        own = stored(shop).get("main/anonymous_id:a1")
        return own is not None and own.slots.get(slot) == 2 * ORDERS + 1

    wait_for(split, what="the visitor with what is theirs")
    shown = inspection.people_of(shop.settings, "user_id:u1")
    assert shown is not None
    assert (shown["links"], [one["identifier"] for one in shown["parted"]]) == ([], ["main/anonymous_id:a1"])
    user = stored(shop)["main/user_id:u1"]
    assert (user.slots.get(slot, 0), user.links, list(user.parted)) == (0, {}, ["main/anonymous_id:a1"])
    assert not shop.records(shop.settings.events_dlq)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_no_event_is_lost_or_doubled_where_the_worker_is_killed(deploy: Deploy) -> None:
    shop = deploy()
    worker = shop.worker().ready()
    for place, events in enumerate(history(PEOPLE)):
        shop.send(*events)
        if place in (ORDERS - 1, ORDERS, ORDERS + 1):  # before, amid and after the links
            worker.end(signal.SIGKILL)
            worker = shop.worker().ready()
    wait_for(settled(shop, PEOPLE), 60, what="everything folded into the users")
    check(shop, PEOPLE)
