"""Commands about a person, in a log of several partitions: they reach whoever the identifier belongs to, once."""

from __future__ import annotations

from typing import Any

import msgspec
from engine.harness import compiled

from rtcdp import records
from rtcdp.profile import Profile, decode
from rtcdp.profile import encode as encode_profile
from rtcdp.records import Consent
from tests.identity.cluster import Cluster, anonymous, user

ORDERS: dict[str, Any] = {"features": {"orders": {"count": "Order Completed"}}}


def cluster() -> Cluster:
    return Cluster(compiled(ORDERS), cold=True)


def ask(log: Cluster, key: str, command: Consent, offset: int = -1) -> None:
    source = "commands/0" if offset >= 0 else ""
    log.append(key, records.encode(msgspec.structs.replace(command, source=source, offset=offset)))


def answers(profile: Profile | None) -> dict[str, bool]:
    return {} if profile is None else {name: answer.granted for name, answer in profile.consent.items()}


def changes(log: Cluster) -> list[tuple[str, str, str, object, object]]:
    found = [msgspec.json.decode(change) for change in log.changes]
    return [
        (one["profile"], one["name"], one["message_id"], one.get("old"), one.get("new"))
        for one in found
        if one["kind"] == "consent"
    ]


def test_a_command_is_done_once_with_a_record() -> None:
    log = cluster()
    log.send([user("ann")], "Order Completed", 1_000)
    asked = Consent(id="r1", by="ops", answers={"marketing": False}, received=2_000, at=1_500)
    ask(log, user("ann"), asked, offset=7)
    ask(log, user("ann"), asked, offset=7)  # another owner of the same partition of `commands` repeats it
    log.settle()
    assert changes(log) == [(user("ann"), "marketing", "r1", None, False)]
    found = log.profile(user("ann"))
    assert found is not None
    assert found.now == 2_000
    assert (found.consent["marketing"].at, found.consent["marketing"].by) == (1_500, "ops")
    assert not log.letters


def test_the_answer_given_later_counts_in_any_order() -> None:
    for first, second in ((0, 1), (1, 0)):
        log = cluster()
        asked = [
            Consent(id="r1", answers={"marketing": False}, received=3_000, at=2_000),
            Consent(id="r2", answers={"marketing": True}, received=3_000, at=1_000),
        ]
        ask(log, user("ann"), asked[first])
        ask(log, user("ann"), asked[second])
        log.settle()
        assert answers(log.profile(user("ann"))) == {"marketing": False}


def test_somebody_never_seen_may_answer_and_is_no_profile_by_that() -> None:
    log = cluster()
    ask(log, user("ann"), Consent(id="r1", answers={"marketing": False}, received=1_000))
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    assert found.fresh
    assert answers(found) == {"marketing": False}
    log.send([user("ann")], "Order Completed", 2_000)
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    assert not found.fresh
    assert answers(found) == {"marketing": False}


def test_a_command_to_an_alias_reaches_the_person() -> None:
    log = cluster()
    log.send([anonymous("a")], "Order Completed", 1_000)
    log.send([user("ann"), anonymous("a")], "identify", 2_000)
    log.settle()
    ask(log, anonymous("a"), Consent(id="r1", answers={"marketing": False}, received=3_000), offset=4)
    log.settle()
    assert answers(log.profile(user("ann"))) == {"marketing": False}
    assert answers(log.profile(anonymous("a"))) == {}


def test_answers_come_along_when_an_identifier_becomes_a_person() -> None:
    for seen in (True, False):
        log = cluster()
        if seen:
            log.send([anonymous("a")], "Order Completed", 500)
        ask(log, anonymous("a"), Consent(id="r1", answers={"marketing": False, "@email": False}, received=1_000))
        ask(log, user("ann"), Consent(id="r2", answers={"marketing": True, "@email": False}, received=900))
        log.settle()
        log.send([user("ann"), anonymous("a")], "identify", 2_000)
        log.settle()
        assert answers(log.profile(user("ann"))) == {"marketing": False, "@email": False}


def test_a_command_passed_on_too_often_is_a_dead_letter() -> None:
    log = cluster()
    log.send([user("ann"), anonymous("a")], "identify", 1_000)
    log.settle()
    ask(log, anonymous("a"), Consent(id="r1", answers={"marketing": False}, received=2_000, hops=99))
    log.settle()
    assert len(log.letters) == 1
    assert answers(log.profile(user("ann"))) == {}


def test_a_profile_of_nothing_but_answers_keeps_its_form() -> None:
    log = cluster()
    ask(log, user("ann"), Consent(id="r1", answers={"marketing": False}, received=1_000))
    log.settle()
    found = log.profile(user("ann"))
    assert found is not None
    for fresh, detached in ((True, True), (True, False), (False, True), (False, False)):
        found.fresh, found.detached = fresh, detached
        again = decode(user("ann"), encode_profile(found))
        assert (again.fresh, again.detached) == (fresh, detached)
