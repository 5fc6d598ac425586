"""Who may not see personal fields: neither in a profile, nor in a page of members, nor in what happens."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from rtcdp.errors import SettingError
from rtcdp.ingestion.identity import NAMESPACES
from rtcdp.rules.loading.folder import load
from rtcdp.rules.personal import MASK, Personal, personal_of
from rtcdp.sealing.pseudonyms import Pseudonyms
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.tokens import ROLES, scopes_of
from tests.serving.api.conftest import Client, Served
from tests.worker.conftest import wait_for

MARKED = """
tracking:
  events:
    Order Completed: {properties: {note: {type: text, pii: true}, total: number}}
  traits:
    nickname: {type: text, pii: true}
    car.plate: {type: text, pii: true}
    city: text
features:
  note: {last: properties.note, of: Order Completed}
  total: {sum: properties.total, of: Order Completed}
  by_note: {count: Order Completed, by: properties.note, top: 5}
  greeting: {value: "coalesce(note, 'none')"}
tags:
  hello: {value: greeting}
  place: {value: traits.city}
  mail: {value: lower(traits.email)}
segments:
  noted: note == 'secret'
triggers:
  thanks:
    on: Order Completed
    payload: {total: total, text: properties.note, hello: hello, city: traits.city, car: traits.car.plate}
"""


@pytest.fixture(scope="module")
def personal(tmp_path_factory: pytest.TempPathFactory) -> Personal:
    folder = tmp_path_factory.mktemp("marked")
    (folder / "d.yaml").write_text(MARKED, "utf-8")
    return personal_of(load(folder), NAMESPACES)


def test_what_is_made_of_personal_values_is_personal(personal: Personal) -> None:
    assert personal.names == {"note", "by_note", "greeting", "hello", "mail"}
    assert personal.payloads == {"thanks": {"text", "hello", "car"}}


def test_traits_are_masked_where_they_are_marked_and_nowhere_else(personal: Personal) -> None:
    traits = {"nickname": "Bo", "email": "a@b.c", "city": "上海", "car": {"plate": "B-1", "doors": 4}, "vip": True}
    assert personal.masked_traits(traits) == {
        "nickname": MASK,
        "email": MASK,
        "city": "上海",
        "car": {"plate": MASK, "doors": 4},
        "vip": True,
    }
    assert personal.masked_traits({"car": ["B-1"]}) == {"car": MASK}, "where there should be an object, all of it"


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [("traits.car.plate == 'x'", True), ("total >= 3 and hello == 'x'", True), ("traits.city == 'x'", False), ("total", False)],
)
def test_texts_that_name_something_personal_are_found(personal: Personal, text: str, *, mentioned: bool) -> None:
    assert personal.mentions(text) is mentioned


def test_a_payload_of_a_trigger_that_is_not_known_is_masked_whole(personal: Personal) -> None:
    assert personal.masked_payload("thanks", {"total": 1, "text": "x"}) == {"total": 1, "text": MASK}
    assert personal.masked_payload("gone", {"total": 1}) == {"total": MASK}


def test_pseudonyms_are_the_same_under_one_key_and_others_under_another(tmp_path: Path) -> None:
    one, same = Pseudonyms.from_file(tmp_path / "new" / "key"), Pseudonyms.from_file(tmp_path / "new" / "key")
    assert (tmp_path / "new" / "key").stat().st_mode & 0o077 == 0
    assert one.of_profile("main/user_id:安") == same.of_profile("main/user_id:安")
    assert one.of_profile("main/user_id:a:b").startswith("main/user_id:~")
    other = Pseudonyms.from_file(tmp_path / "other")
    assert one.of("x") != other.of("x")
    assert same.opened(one.sealed(b"x")) == b"x"
    for wrong in (b"", b"x" * 40, other.sealed(b"x")):
        with pytest.raises(ValueError, match="sealed"):
            one.opened(wrong)
    (tmp_path / "short").write_text("abcd")
    with pytest.raises(SettingError, match="pseudonym_key"):
        Pseudonyms.from_file(tmp_path / "short")


def test_an_erasure_is_told_without_the_identifiers(tmp_path: Path) -> None:
    catalogue: Any = None  # it is not asked
    masker = Masker(catalogue, Pseudonyms.from_file(tmp_path / "key"))
    people = ["main/email:ann@example.com", "main/user_id:ann"]
    record = {"id": "x", "kind": "erased", "profile": people[1], "name": "erased", "new": people}
    told = asyncio.run(masker.record(json.dumps(record).encode()))
    assert b"ann" not in told
    assert json.loads(told)["new"] == [masker.key(key) for key in people]


def test_a_role_is_some_scopes() -> None:
    assert scopes_of(["read-masked"], ["audit"]) == [*ROLES["read-masked"], "audit"]
    assert "personal" not in scopes_of(["read-masked", "write-definitions", "operate"], [])
    with pytest.raises(SettingError, match="rtcdp collector keys add"):
        scopes_of(["collect"], [])
    with pytest.raises(SettingError, match="role: king"):
        scopes_of(["king"], [])


@pytest.fixture(scope="module")
def masked(still: Served) -> Client:
    return still.client(*ROLES["read-masked"])


def test_a_profile_without_personal_fields(still: Served, masked: Client) -> None:
    ann = masked("/v1/profiles/user_id/ann").json
    assert ann["traits"] == {"email": MASK, "name": MASK}
    assert ann["features"] == {"orders": 3}
    assert ann["key"].startswith("main/user_id:~")
    now = masked("/v1/profiles/email/ann%40example.com/now").json
    assert now["profile"].startswith("main/user_id:~")
    offers = masked("/v1/profiles/user_id/ann/now").json["offers"]
    assert [offer["payload"] for offer in offers] == [{"orders": 2}]
    why = masked("/v1/profiles/user_id/ann/why/loyal").json
    assert (why["profile"], why["value"]) == (ann["key"], True)


def test_no_answer_holds_an_identifier(still: Served, masked: Client) -> None:
    """The control: with personal fields all of them do."""
    paths = ["", "/now", "/timeline", "/why/loyal", "/why/thanks"]
    for path in paths:
        asked = f"/v1/profiles/user_id/ann{path}"
        assert b"user_id:ann" in still.ask(asked).body, path
        body = masked(asked).body
        assert b"user_id:ann" not in body, path
        assert b"xample.com" not in body, path


_PERSON = "/v1/profiles/user_id/ann"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{_PERSON}/consent", {"answers": {"@email": False}}),
        (f"{_PERSON}/correct", {"traits": {"city": "Bonn"}}),
        (f"{_PERSON}/erase", {}),
        (f"{_PERSON}/export", None),
        ("/v1/erasures/r1", None),
        ("/v1/audit", None),
        ("/v1/counts", None),
    ],
)
def test_who_reads_masked_can_neither_ask_for_a_person_nor_see_who_did(masked: Client, path: str, body: Any) -> None:
    answer = masked(path) if body is None else masked(path, body)
    assert answer.status == 403
    assert "is not for" in answer.json["detail"]


def test_the_stream_is_masked(still: Served, masked: Client) -> None:
    with (
        urllib.request.urlopen(still.ask.request("/v1/stream"), timeout=20) as clear,
        urllib.request.urlopen(masked.request("/v1/stream"), timeout=20) as answer,
    ):
        assert [one.readline() for one in (clear, answer)] == [b": follow\n"] * 2
        still.log.orders("mia")
        told = [b"".join(islice((line for line in one if line.startswith(b"data:")), 4)) for one in (clear, answer)]
    assert [b"mia" in text for text in told] == [True, False]
    assert b"main/user_id:~" in told[1]
    still.log.commit([], gone=("main/user_id:mia",))
    wait_for(lambda: still.ask("/v1/segments").json["segments"][0]["size"] == 2, what="the end of mia")


def test_members_of_a_small_segment_are_withheld(still: Served, masked: Client) -> None:
    sizes = [one["size"] for one in masked("/v1/segments").json["segments"]]
    assert sizes == [None, None]
    for path in ("members", "members?format=csv", "overlap"):
        refused = masked(f"/v1/segments/buyers/{path}")
        assert refused.status == 403
        assert "fewer than 10 members" in refused.json["detail"]
    counts = masked("/v1/flows").json["counts"]
    assert set(itertools.chain(*counts.values())) <= {None}
    sent = masked("/v1/triggers").json["triggers"][0]
    assert (sent["sent"], set(sent["not_sent"].values())) in ((None, set()), (None, {None}))
    assert still.ask("/v1/segments").json["segments"][0]["size"] == 2


def test_members_of_a_large_segment_are_pseudonyms(still: Served, masked: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = next(one for one in still.server.operations if one.name == "segments").handler.__self__._groups
    monkeypatch.setattr(groups, "least", 2)
    first = masked("/v1/segments/buyers/members?limit=1&views=true").json
    assert first["members"][0]["profile"].startswith("main/user_id:~")
    assert first["members"][0]["view"]["key"] == first["members"][0]["profile"]
    second = masked(f"/v1/segments/buyers/members?limit=1&cursor={first['next']}").json
    assert second["members"][0]["profile"] != first["members"][0]["profile"]
    assert masked("/v1/segments/buyers/members?cursor=x").status == 400
    clear = still.ask("/v1/segments/buyers/members?limit=1").json["next"]
    assert masked(f"/v1/segments/buyers/members?limit=1&cursor={clear}").status == 400, "it names somebody"
    reply = masked("/v1/segments/buyers/members?format=csv&columns=traits.email,tags.level")
    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    assert [row[2:] for row in rows[1:]] == [[MASK, "gold"], ["", "new"]]
    lines = masked("/v1/segments/buyers/members?format=ndjson").body.splitlines()
    assert all(json.loads(line)["profile"].startswith("main/user_id:~") for line in lines)


def test_every_question_about_a_person_is_masked_and_audited(still: Served, masked: Client) -> None:
    """Whatever is added: what a masked token may ask names nobody, and no question about somebody stays unaudited."""
    asked = [one for one in still.server.operations if one.method == "GET" and one.path.startswith("/v1/profiles/")]
    assert len(asked) >= 5
    for operation in asked:
        assert operation.audited, operation.name
        path = operation.path.format(namespace="user_id", value="ann", name="loyal", id="x", message_id="x")
        reply = masked(path)
        assert reply.status in {200, 403, 404}, (operation.name, reply.body)
        assert b"user_id:ann" not in reply.body, operation.name
        assert b"xample.com" not in reply.body, operation.name
