"""Web, app, mini-program and store: raw events as each sends them, and the one person that they come to."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from engine.harness import compiled
from identity.cluster import Cluster

from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.rules.compiling.compiled import Compiled

CARD = {"context": {"externalIds": [{"id": "C-1", "type": "member_card"}]}}
MINI = {"context": {"externalIds": [{"id": "o-1", "type": "openid"}, {"id": "n-1", "type": "unionid"}]}}
BUY: dict[str, Any] = {"type": "track", "event": "Order Completed"}
IDENTIFY: dict[str, Any] = {"type": "identify"}
HISTORY: list[dict[str, Any]] = [
    BUY | CARD,  # at the till, with nothing but the card
    {"type": "page", "anonymousId": "web-1"},
    BUY | {"anonymousId": "web-1"},
    BUY | {"context": {"externalIds": [{"id": "o-1", "type": "openid"}]}},
    IDENTIFY | MINI,  # the mini-program learns the union id
    BUY | {"context": {"device": {"id": "phone-1"}}},
    IDENTIFY | {"traits": {"phone": "0086 138-0013-8000"}} | {"context": {"device": {"id": "phone-1"}}},
    IDENTIFY | {"userId": "u1", "anonymousId": "web-1", "traits": {"email": "Li@Example.com", "member_card": "C-1"}},
    IDENTIFY | {"userId": "u1", "traits": {"phone": "+8613800138000", "unionid": "n-1"}},
    BUY | CARD,
    BUY | {"traits": {"email": "li@example.com"}},
]


@pytest.fixture(scope="module")
def definitions() -> Compiled:
    return compiled({"features": {"orders": {"count": "Order Completed"}}, "segments": {"buyers": "orders >= 1"}})


@pytest.mark.parametrize("seed", range(8))
def test_every_channel_comes_to_one_person_in_any_order(definitions: Compiled, seed: int) -> None:
    dice = random.Random(seed)
    events = dice.sample(HISTORY, len(HISTORY)) if seed else HISTORY
    ingestor = Ingestor(definitions.definitions.tracking, definitions.definitions.identity, Source("raw", time="event"))
    cluster = Cluster(definitions)
    for place, event in enumerate(events):
        raw = {**event, "messageId": f"m{place}", "timestamp": f"2026-03-01T09:00:{place:02}Z"}
        found = ingestor.ingest(json.dumps(raw).encode(), "raw/0", place, 0)
        assert isinstance(found, Accepted)
        cluster.append(found.key.decode(), found.value)
        if dice.random() < 0.5:
            cluster.settle(dice)
    cluster.settle(dice)
    names = ("member_card:C-1", "anonymous_id:web-1", "openid:o-1", "unionid:n-1", "device:phone-1", "phone:+8613800138000")
    assert {cluster.person(f"main/{name}") for name in (*names, "email:li@example.com")} == {"main/user_id:u1"}
    person = cluster.profile("main/user_id:u1")
    assert person is not None
    assert person.slots[definitions.features["orders"].key] == 6
    assert not cluster.letters


def test_nobody_is_joined_by_what_stands_for_nobody(definitions: Compiled) -> None:
    ingestor = Ingestor(definitions.definitions.tracking, definitions.definitions.identity, Source("raw", time="event"))
    cluster = Cluster(definitions)
    blocked = ("anonymous", "-1", "00000000-0000-0000-0000-000000000000", "undefined")
    for place, value in enumerate((*blocked, "till-7")):
        for user in ("u1", "u2"):
            event = IDENTIFY | {"userId": user, "anonymousId": value, "messageId": f"{user}-{place}"}
            found = ingestor.ingest(json.dumps({**event, "timestamp": "2026-03-01T09:00:00Z"}).encode(), "raw/0", place * 2, 0)
            assert isinstance(found, Accepted)
            cluster.append(found.key.decode(), found.value)
            cluster.settle()
    for user in ("u1", "u2"):
        person = cluster.profile(f"main/user_id:{user}")
        assert person is not None
        assert list(person.links) == ["main/anonymous_id:till-7"], "the last value is the control"


@pytest.mark.parametrize(
    ("links", "said", "linked"),
    [
        ("said", {"userId": "u1", "anonymousId": "web-1"}, 0),
        ("said", {"context": {"traits": {"email": "li@example.com", "phone": "+8613800138000"}}}, 0),
        ("said", CARD, 0),
        ("said", {"userId": "u1", **CARD}, 1),
        ("said", {"anonymousId": "web-1", **MINI}, 2),
        ("every", {"userId": "u1", "anonymousId": "web-1"}, 1),
        ("every", {"context": {"traits": {"email": "li@example.com", "phone": "+8613800138000"}}}, 1),
        ("every", CARD, 0),
    ],
)
def test_what_a_track_says_about_identifiers(links: str, said: dict[str, Any], linked: int) -> None:
    made = compiled({"identity": {"links": links}, "features": {"orders": {"count": "Order Completed"}}})
    ingestor = Ingestor(made.definitions.tracking, made.definitions.identity, Source("raw", time="event"))
    found = ingestor.ingest(json.dumps(BUY | said | {"timestamp": "2026-03-01T09:00:00Z"}).encode(), "raw/0", 0, 0)
    assert isinstance(found, Accepted)
    cluster = Cluster(made)
    cluster.append(found.key.decode(), found.value)
    cluster.settle()
    person = cluster.profile(found.key.decode())
    assert person is not None
    assert len(person.links) == linked
