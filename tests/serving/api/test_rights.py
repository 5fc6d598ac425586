"""Consent over HTTP: read by whoever may read profiles, set by whoever answers people."""

from __future__ import annotations

from typing import Any

import pytest

from rtcdp import outputs
from rtcdp.control import commands
from rtcdp.errors import ClusterError, SettingError
from rtcdp.outputs import Cancel, CancelData
from rtcdp.privacy import splitting
from rtcdp.privacy.splitting import Apart
from rtcdp.records import Consent, Correct, Erase
from rtcdp.serving.api.tokens import TokenFile
from rtcdp.simulate.oracle import Output
from rtcdp.transport.restore import restore
from tests.projector.conftest import PARTITIONS
from tests.serving.api.conftest import Client, Served
from tests.worker.conftest import wait_for


def asked(served: Served) -> dict[bytes, bytes]:
    """What lies in `commands`, by key."""
    found: dict[bytes, bytes] = {}
    for partition in range(PARTITIONS):
        restore(served.settings.kafka(), served.settings.commands, partition, found, group="asked")
    return found


def test_consent_is_read_and_set(served: Served) -> None:
    path = "/v1/profiles/user_id/bob/consent"
    before = served.ask(path).json
    assert before["answers"] == {"marketing": {"granted": False}}, "by default"
    request = served.ask(path, {"answers": {"marketing": True, "@sms": False}, "reason": "asked by phone"}).json
    served.ask("/v1/profiles/email/New@Example.COM/consent", {"answers": {"@email": None}})
    found = asked(served)
    command = commands.decode(found[b"main/user_id:bob"])
    assert isinstance(command, Consent)
    assert (command.id, command.by, command.reason) == (request["id"], "all", "asked by phone")
    assert command.answers == {"marketing": True, "@sms": False}
    assert b"main/email:new@example.com" in found, "in the form of profile keys, also of somebody never seen"


def test_what_an_answer_said_is_shown(served: Served) -> None:
    served.log.send({"type": "track", "event": "Page Seen", "userId": "dan", "context": {"consent": {"marketing": True}}})
    wait_for(lambda: served.ask("/v1/profiles/user_id/dan").status == 200, what="dan")
    (answer,) = served.ask("/v1/profiles/user_id/dan/consent").json["answers"].values()
    assert answer["granted"]
    assert answer["at"] == "2025-05-01T10:00:00.000Z"
    assert answer["source"].startswith("m")
    assert served.ask("/v1/profiles/user_id/dan").json["consent"]["marketing"] == answer


def test_only_who_may_sets_it_and_only_what_there_is(served: Served) -> None:
    path = "/v1/profiles/user_id/bob/consent"
    _, text = TokenFile(served.settings.api_tokens).add("reader", ["profiles"], ["main"])
    ask = Client(served.address, text)
    wait_for(lambda: ask(path).status == 200, what="the new token")
    assert ask(path, {"answers": {"marketing": True}}).status == 403
    before = asked(served)
    for body in (
        {"answers": {}},
        {"answers": {"marketting": True}},
        {"answers": {"a@b@c": True}},
        {"answers": {"": True}},
        {"answers": {"marketing": True}, "until": "2030-01-01T00:00:00Z"},
        {"answers": {"@sms": True}, "until": "soon"},
        {"answers": {"@sms": "no"}},
        {"answer": {"@sms": False}},
    ):
        assert served.ask(path, body).status == 400, body
    assert "did you mean 'marketing'" in served.ask(path, {"answers": {"marketting": True}}).json["detail"]
    assert served.ask("/v1/profiles/nothing/bob/consent", {"answers": {"@sms": False}}).status == 404
    assert asked(served) == before


def test_traits_are_put_right(served: Served) -> None:
    path = "/v1/profiles/user_id/eve/correct"
    request = served.ask(path, {"traits": {"city": "Hamburg", "age": None}, "reason": "letter"}).json
    command = commands.decode(asked(served)[b"main/user_id:eve"])
    assert isinstance(command, Correct)
    assert (command.id, command.by, command.traits) == (request["id"], "all", {"city": "Hamburg", "age": None})
    assert (command.without, command.state) == ([], b""), "events are left out by whoever can read the log"
    for body in ({"traits": {}}, {"traits": {"\n": 1}}, {"without": ["m"] * 65}, {"without": [1]}):
        assert served.ask(path, body).status == 400, body
    before = asked(served)
    assert served.ask("/v1/profiles/user_id/never-seen/correct", {"without": ["m1"]}).status == 404
    assert asked(served) == before


def test_an_identifier_is_split_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str, str, str]] = []

    def split(_settings: Any, key: str, identifier: str, *, by: str, reason: str = "") -> Apart | None:
        said.append((key, identifier, by, reason))
        if identifier == key:
            raise SettingError("name the identifier that is not theirs")
        if "away" in identifier:
            raise ClusterError("does a worker run?")
        return None if "stranger" in identifier else Apart(
            person=key, request="r", identifier=identifier, other=identifier, along=[key], events=[3, 1],
            approximate=["orders"], since="2025",
        )  # fmt: skip

    monkeypatch.setattr(splitting, "split", split)
    path = "/v1/profiles/user_id/bob/split"
    found = served.ask(path, {"identifier": "email:Ann@Example.COM", "reason": "mistyped"}).json
    assert said == [("main/user_id:bob", "main/email:ann@example.com", "all", "mistyped")]
    assert (found["events"], found["approximate"], found["other"]) == ([3, 1], ["orders"], "main/email:ann@example.com")
    wrong = dict.fromkeys(("user_id:bob", "nothing:x", "email", "eu/email:a@x.org"), 400)
    for identifier, status in (wrong | {"email:stranger@x.org": 404, "device:away": 503}).items():
        assert served.ask(path, {"identifier": identifier}).status == status, identifier
    clerk = served.client("privacy", name="clerk")
    hidden = clerk(path, {"identifier": "email:ann@example.com"}).body
    assert b"~" in hidden
    assert b"ann@" not in hidden
    assert b"bob" not in hidden
    assert served.client("profiles", name="reader")(path, {"identifier": "email:ann@example.com"}).status == 403
    told = served.ask("/v1/audit?what=split").json["entries"]
    assert told[-1]["about"] == {"reason": "mistyped"}


def test_who_may_not_see_an_identifier_splits_it_off_by_its_pseudonym(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    def split(_settings: Any, key: str, identifier: str, **_: str) -> Apart:
        said.append((key, identifier))
        return Apart(person=key, request="r", identifier=identifier, other=identifier, events=[3, 1])

    monkeypatch.setattr(splitting, "split", split)
    clerk = served.client("privacy", "profiles", name="clerk")
    (shown,) = clerk("/v1/profiles/user_id/ann").json["identifiers"]
    assert shown.startswith("email:~")
    answer = clerk("/v1/profiles/user_id/ann/split", {"identifier": shown})
    assert said == [("main/user_id:ann", "main/email:ann@example.com")]
    assert answer.json["other"] == f"main/{shown}"
    assert b"ann@" not in answer.body
    assert clerk("/v1/profiles/user_id/bob/split", {"identifier": shown}).status == 400, "it is nothing of theirs"
    assert len(said) == 1


def test_an_erasure_is_asked_for_and_what_is_held_is_told(served: Served) -> None:
    request = served.ask("/v1/profiles/email/Gus@Example.COM/erase", {"reason": "letter"}).json
    command = commands.decode(asked(served)[b"main/email:gus@example.com"])
    assert isinstance(command, Erase)
    assert (command.id, command.by, command.reason, command.people) == (request["id"], "all", "letter", [])
    assert served.ask(f"/v1/erasures/{request['id']}").status == 404, "no worker runs here"
    held = served.ask("/v1/profiles/user_id/bob/export").json
    assert held["profile"]["key"] == "main/user_id:bob"
    assert "main/user_id:bob" in held["identifiers"]
    assert {row["record"]["profile"] for row in held["changes"]} == {"main/user_id:bob"}
    assert served.ask("/v1/profiles/user_id/nobody-at-all/export").status == 404
    _, text = TokenFile(served.settings.api_tokens).add("clerk", ["privacy"], ["main"])
    ask = Client(served.address, text)
    wait_for(lambda: ask("/v1/erasures/x").status == 404, what="the new token")
    assert ask("/v1/profiles/user_id/bob/export").status == 403, "without the scope personal"


def test_what_is_withdrawn_is_offered_no_longer(served: Served) -> None:
    def offers() -> list[str]:
        return [offer["trigger"] for offer in served.ask("/v1/profiles/user_id/fay/now").json.get("offers", [])]

    served.log.orders("fay")
    wait_for(lambda: offers() == ["thanks"], what="an offer")
    key = "main/user_id:fay"
    data = CancelData(profile=key, trigger="thanks", reason="consent")
    cancel = Cancel(id="c1", subject=key, time="2025-05-01T10:00:00.000Z", seq=1 << 50, data=data)
    served.log.commit([Output("triggers", key.encode(), outputs.encode(cancel))])
    wait_for(lambda: offers() == [], what="no offer")
    latest = served.ask("/v1/profiles/user_id/fay/timeline").json["records"][0]
    assert latest["type"] == "rtcdp.cancel"
