"""The audit log: every read of a person and every change, by whom; and nothing that names who was read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from rtcdp.cli import app
from rtcdp.control import audit
from rtcdp.control.audit import Asked, Entry
from rtcdp.dlq import messages
from rtcdp.serving.api import auditing
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import ROLES, TokenFile
from tests.serving.api.conftest import Client, Served
from tests.worker.conftest import wait_for


def written(still: Served, **asked: Any) -> list[Entry]:
    return audit.entries(still.settings, Asked(**asked))[0]


@pytest.fixture(scope="module")
def shop(still: Served) -> Client:
    return still.client(*ROLES["read"], name="audited")


def test_every_read_of_a_person_is_there_before_the_answer(still: Served, shop: Client) -> None:
    paths = {"profile": "", "now": "/now", "timeline": "/timeline", "why": "/why/loyal"}
    for path in paths.values():
        assert shop(f"/v1/profiles/user_id/ann{path}").status == 200
    assert shop("/v1/segments/buyers/members").status == 200
    assert shop("/v1/segments/buyers/members?format=ndjson").status == 200
    wait_for(lambda: written(still, who="audited", what="now"), what="what need not be there at once")
    found = written(still, who="audited", profile="main/user_id:ann")
    assert sorted(entry.what for entry in found) == ["members", "members", "now", "profile", "timeline", "why"]
    assert {(entry.who.name, entry.tenant, entry.outcome) for entry in found} == {("audited", "main", "done")}
    assert [entry.about for entry in found if entry.what == "why"] == [{"name": "loyal"}]
    assert written(still, who="audited", profile="main/user_id:cat") == [], "nobody asked for her"


def test_whoever_asks_with_another_identifier_has_read_the_same_person(still: Served, shop: Client) -> None:
    key = shop("/v1/profiles/email/ann%40example.com").json["key"]
    assert written(still, who="audited", profile=key)[0].what == "profile"


def test_nothing_in_the_log_names_who_was_read(still: Served, shop: Client) -> None:
    shop("/v1/profiles/user_id/ann")
    log = b"".join(message.value() or b"" for message in messages(still.settings, still.settings.audit))
    assert b"~" in log
    assert b"user_id:ann" not in log
    assert b"xample.com" not in log


def test_what_a_token_is_not_for_is_there_too(still: Served, shop: Client) -> None:
    assert shop("/v1/audit").status == 403
    assert shop("/v1/profiles/user_id/ann?tenant=eu").status == 403
    refused = [entry for entry in written(still, who="audited") if entry.outcome == "refused"]
    assert [entry.what for entry in refused] == ["profile", "audit"]


def test_tokens_that_come_and_go_are_noticed_whoever_changed_the_file(still: Served) -> None:
    file = TokenFile(still.settings.api_tokens)
    token, _ = file.add("passing", ["counts"], ["main"])
    wait_for(lambda: any(entry.about.get("name") == "passing" for entry in written(still, what="tokens.added")), what="it")
    file.revoke(token.id)
    ended = wait_for(lambda: [one for one in written(still, what="tokens.ended") if one.about["token"] == token.id], what="it")
    assert ended[0].who.kind == "process"


def test_the_log_is_read_by_whom_it_is_for(still: Served, shop: Client) -> None:
    shop("/v1/profiles/user_id/ann")
    officer = still.client("audit", tenants=["main"], name="officer")
    found = officer("/v1/audit?profile=user_id:ann&what=profile&who=audited").json
    assert {entry["what"] for entry in found["entries"]} == {"profile"}
    assert found["entries"][0]["subjects"][0].startswith("main/user_id:~")
    assert officer("/v1/audit?limit=1").json["more"] is True
    assert written(still, who="officer", profile="main/user_id:ann")[0].what == "audit", "that is written down too"
    other = still.client("audit", tenants=["eu"])
    assert other("/v1/audit?who=audited").json["entries"] == []
    assert officer("/v1/audit?from=x").status == 400


def test_without_the_log_nothing_is_told(still: Served, shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from rtcdp.serving.collector.refusals import Refusal

    async def away(records: object, headers: object) -> None:
        await asyncio.sleep(0)
        raise Refusal("broker_away", "away")

    monkeypatch.setattr(still.server.auditor._sender, "send", away)
    reply = shop("/v1/profiles/user_id/ann")
    assert (reply.status, "the audit log cannot be written" in reply.json["detail"]) == (503, True)
    assert shop("/v1/segments").status == 200, "it is about nobody"
    with pytest.raises(Problem):
        asyncio.run(still.server.auditor.watch([]))


def test_what_pages_wait_for_does_not_wait_until_an_entry_is_lost(
    still: Served, shop: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtcdp.serving.collector.refusals import Refusal

    lost = asyncio.Event()

    async def away(records: object, headers: object) -> None:
        await asyncio.sleep(0)
        lost.set()
        raise Refusal("broker_away", "away")

    sender = still.server.auditor._sender
    path = "/v1/profiles/user_id/ann/now"
    assert shop("/v1/profiles/user_id/ann").status == 200, "entries arrive"
    with monkeypatch.context() as patch:
        patch.setattr(sender, "send", away)
        assert shop(path).status == 200, "its entry was on the way"
        wait_for(lost.is_set, what="the loss")
        assert shop(path).status == 503
    assert shop(path).status == 200
    assert still.server.auditor._well
    monkeypatch.setattr(sender, "send", away)
    strict = still.settings.model_copy(update={"audit_wait": True})
    monkeypatch.setattr(still.server.auditor, "_settings", strict)
    assert shop(path).status == 503
    monkeypatch.setattr(still.server.auditor, "_well", True)


def test_entries_of_what_pages_wait_for_travel_together(still: Served, shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, sent = still.server.auditor._sender, []
    send = sender.send

    async def noted(records: Any, headers: Any) -> None:
        if mine := [one for one in records if b'"what":"now"' in one.value]:
            sent.append(len(mine))
        await send(records, headers)

    monkeypatch.setattr(sender, "send", noted)
    monkeypatch.setattr(auditing, "GATHER_S", 0.5)
    for _ in range(5):
        assert shop("/v1/profiles/user_id/bob/now").status == 200
    wait_for(lambda: sum(sent) == 5, what="the entries")
    assert len(sent) <= 3
    monkeypatch.setattr(auditing, "MOST_GATHERED", 0)
    assert shop("/v1/profiles/user_id/bob/now").status == 200
    assert sent[-1] == 1, "where too many wait, an answer waits for its own"


def test_the_command_lists_what_commands_do(still: Served, tmp_path: Any) -> None:
    settings = still.settings
    config = tmp_path / "rtcdp.toml"
    names = {name: getattr(settings, name) for name in ("bootstrap", "app", "definitions_topic", "audit", "deliveries_dlq")}
    config.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in names.items()), "utf-8")
    more = ["--config", str(config)]

    def rtcdp(*arguments: str) -> str:
        done = CliRunner(env={"RTCDP_PSEUDONYM_KEY": str(settings.pseudonym_file)}).invoke(app, [*arguments, *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "main/user_id:bob" in rtcdp("profile", "user_id:bob")
    listed = rtcdp("audit", "list", "--profile", "user_id:bob", "--what", "profile").splitlines()
    assert listed[0].split("\t")[1].startswith("person ")
    assert "user_id:bob" not in listed[0]
    rtcdp("deliveries", "list", "--destination", "crm")
    told = json.loads(rtcdp("audit", "list", "--what", "dead_deliveries", "--json"))["entries"][0]
    assert told["about"] == {"destination": "crm"}
    (token,) = (json.loads(rtcdp("tokens", "add", "x", "--role", "publish", "--tokens", str(tmp_path / "t.json"), "--json")),)
    assert token["scopes"] == ["counts"]
    newest = json.loads(rtcdp("audit", "list", "--what", "tokens.add", "--json"))["entries"][0]
    assert newest["about"] == {"name": "x", "scopes": "counts"}


def test_an_export_ends_where_its_entries_do(still: Served, shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page: what could not be written down is not told."""
    from http.client import IncompleteRead

    from rtcdp.serving.api import members

    path = "/v1/segments/buyers/members?format=ndjson"
    monkeypatch.setattr(members, "EXPORTED", 1)
    assert len(shop(path).body.splitlines()) == 2
    told: list[str] = []
    done = still.server.auditor.done

    async def second_fails(what: str, call: Any, profiles: Any = None, **more: Any) -> None:
        if profiles and told:
            raise Problem(503, "away")
        told.extend(profiles or ())
        await done(what, call, profiles, **more)

    monkeypatch.setattr(still.server.auditor, "done", second_fails)
    with pytest.raises(IncompleteRead) as cut:
        shop(path)
    assert cut.value.partial.count(b"\n") == 1
