"""The HTTP API over a real Kafka and Redis."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from rtcdp.errors import SettingError, Unfit
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.monitoring.metrics import now_ms
from rtcdp.outputs import Origin
from rtcdp.serving.api.tokens import TokenFile
from rtcdp.times import timestamps
from tests.serving.api.conftest import Client, Served
from tests.worker.conftest import wait_for


def test_a_profile_by_any_of_its_identifiers(served: Served) -> None:
    ask = served.ask
    ann = ask("/v1/profiles/user_id/ann").json
    assert ann["key"] == "main/user_id:ann"
    assert ann["traits"] == {"email": "Ann@Example.com", "name": "安"}
    assert set(ann["segments"]) == {"buyers", "loyal"}
    assert ann["features"]["orders"] == 3
    by_mail = ask("/v1/profiles/email/ANN%40example.com").json
    assert by_mail["key"] in {"main/user_id:ann", "main/user_id:cat"}
    assert ask("/v1/profiles/user_id/nobody").status == 404
    assert ask("/v1/profiles/user_id/a%2Fb").status == 404
    assert ask("/v1/profiles/nonsense/ann").json["detail"].startswith("there is no namespace 'nonsense'; there are user_id")
    assert ask("/v1/profiles/user_id/%FF").status == 400
    assert ask("/v1/profiles/user_id/ann?tenant=eu").status == 404


def test_what_holds_now_in_one_call(served: Served) -> None:
    now = served.ask("/v1/profiles/user_id/ann/now").json
    assert now["segments"] == ["buyers", "loyal"]
    assert now["tags"] == {"level": "gold"}
    assert now["stage"] == "regular"
    assert [offer["trigger"] for offer in now["offers"]] == ["thanks"]
    assert now["offers"][0]["payload"] == {"orders": 2}
    cat = served.ask("/v1/profiles/user_id/cat/now").json
    assert (cat["segments"], cat["stage"], cat["offers"]) == ([], "new", [])


def test_why_and_until_when(served: Served) -> None:
    why = served.ask("/v1/profiles/user_id/bob/why/loyal").json
    assert why["value"] is False
    assert why["tree"]["text"] == "orders >= 3"
    decided = served.ask("/v1/profiles/user_id/ann/why/thanks").json
    assert [one["gate"] for one in decided["decisions"]].count("sent") == 2
    assert served.ask("/v1/profiles/user_id/bob/why/nothing").status == 404
    assert served.ask("/v1/profiles/user_id/bob/why/loyal?at=tomorrow").status == 400


def test_the_timeline_is_newest_first(served: Served) -> None:
    records = served.ask("/v1/profiles/user_id/ann/timeline?limit=3").json["records"]
    assert len(records) == 3
    assert [one["seq"] for one in records] == sorted((one["seq"] for one in records), reverse=True)


def test_segments_and_stages_with_sizes(served: Served) -> None:
    found = served.ask("/v1/segments").json
    assert found["segments"] == [
        {"name": "buyers", "size": 2, "condition": "orders >= 1", "description": "Bought something"},
        {"name": "loyal", "size": 1, "condition": "orders >= 3", "description": ""},
    ]
    assert found["stages"] == [{"name": "regular", "size": 1}, {"name": "new", "size": 2}]
    assert served.ask("/v1/segments/buyers/overlap").json["shared"] == {"loyal": 1}
    assert served.ask("/v1/segments?tenant=eu").json["segments"][0]["size"] == 0


def test_members_page_by_page_and_everybody(served: Served) -> None:
    ask = served.ask
    first = ask("/v1/segments/buyers/members?limit=1").json
    assert (first["size"], [one["profile"] for one in first["members"]]) == (2, ["main/user_id:ann"])
    second = ask(f"/v1/segments/buyers/members?limit=1&cursor={first['next']}&views=true").json
    assert second["members"][0]["view"]["features"]["orders"] == 1
    assert ask(f"/v1/segments/buyers/members?limit=1&cursor={second['next']}").json["members"] == []
    lines = ask("/v1/segments/buyers/members?format=ndjson").body.splitlines()
    assert [json.loads(line)["profile"] for line in lines] == ["main/user_id:ann", "main/user_id:bob"]
    reply = ask("/v1/segments/buyers/members?format=csv&columns=traits.name,tags.level,features.orders")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(reply.body.decode()))) == [
        ["profile", "entered", "traits.name", "tags.level", "features.orders"],
        ["main/user_id:ann", "2025-05-01T10:00:00.000Z", "安", "gold", "3"],
        ["main/user_id:bob", "2025-05-01T10:00:00.000Z", "", "new", "1"],
    ]
    assert ask("/v1/segments/buyers/members?cursor=x").status == 400
    assert ask("/v1/segments/nobody/members").status == 404


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_is_text_in_a_csv(text: str) -> None:
    from rtcdp.serving.api.members import _line

    assert next(csv.reader(io.StringIO(_line([text, "a,b"]).decode(), newline=""))) == [f"'{text}", "a,b"]


def test_a_cursor_of_somebody_who_has_left_goes_on_behind_him(served: Served) -> None:
    """Ties are many: a switch of definitions lets everybody enter at the same instant."""
    import asyncio

    view = served.server.view

    async def walk() -> list[list[str]]:
        from rtcdp.serving.api.view import View, connect

        mine = View(connect(served.settings.redis), view.keys)
        name = mine.keys.segment("main", "walked")
        await mine._client.zadd(name, {f"main/user_id:{n:03d}": 5 for n in range(100)} | {"main/user_id:last": 6})
        behind = [(5, "049"), (5, "0495"), (5, "zzz"), (4, "x"), (6, "last")]
        found = [await mine.members("main", "walked", (at, f"main/user_id:{user}"), 2) for at, user in behind]
        pages = [[key.rpartition(":")[2] for key, _ in page] for page in found]
        await mine._client.delete(name)
        await mine.close()
        return pages

    assert asyncio.run(walk()) == [["050", "051"], ["050", "051"], ["last"], ["000", "001"], []]


def test_figures_over_time(served: Served) -> None:
    log = served.log
    today = timestamps.render(now_ms() - 60_000)
    log.send({"type": "track", "event": "Order Completed", "userId": "dan", "timestamp": today})
    wait_for(lambda: served.ask("/v1/segments").json["segments"][0]["size"] == 3, what="dan")
    wait_for(lambda: served.ask("/v1/flows").json["counts"].get("entered|buyers"), what="his entry")
    sizes = served.ask("/v1/segments/buyers/sizes").json
    assert sizes["step_s"] == 300
    assert [sizes["sizes"][place]["size"] for place in (0, -1)] == [2, 3]
    assert sum(one["entered"] for one in sizes["sizes"]) == 1
    coarse = served.ask(f"/v1/segments/buyers/sizes?from={timestamps.render(now_ms() - 20 * 86_400_000)}").json
    assert coarse["step_s"] == 3600
    trigger = served.ask("/v1/triggers").json["triggers"][0]
    assert (trigger["name"], trigger["sent"], trigger["not_sent"]) == ("thanks", 1, {})
    flows = served.ask("/v1/flows").json
    assert len(flows["at"]) == len(flows["counts"]["sent|thanks"])
    for wrong in ("from=x", "until=2001-01-01T00:00:00Z", f"from={today}&until=2001-01-01T00:00:00Z"):
        assert served.ask(f"/v1/flows?{wrong}").status == 400, wrong
    log.commit([], gone=("main/user_id:dan",))
    wait_for(lambda: served.ask("/v1/segments").json["segments"][0]["size"] == 2, what="the end of dan")


def events(answer: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, kind and data of the events of a stream."""
    fields: dict[str, str] = {}
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif fields.get("data"):
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


def test_the_stream_is_live_and_resumable(served: Served) -> None:
    ask = served.ask
    with urllib.request.urlopen(ask.request("/v1/stream"), timeout=20) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.readline() == b": follow\n"
        served.log.orders("eve")
        seen = list(islice(events(answer), 4))
    assert {data.get("profile") or data["subject"] for _, _, data in seen} == {"main/user_id:eve"}
    assert {kind for _, kind, _ in seen} == {"entered", "tag", "stage", "trigger"}
    served.log.orders("fay")
    with urllib.request.urlopen(ask.request("/v1/stream", Last_Event_ID=seen[1][0]), timeout=20) as answer:
        missed = list(islice(events(answer), 6))
    ids = [data["id"] for _, _, data in seen]
    assert [data["id"] for _, _, data in missed if data["id"] in ids] == ids[2:]
    query = "?kinds=entered&names=buyers&profile=user_id:gus"
    with urllib.request.urlopen(ask.request(f"/v1/stream{query}", Last_Event_ID=seen[0][0]), timeout=20) as answer:
        assert answer.readline() == b": follow\n"
        served.log.orders("gus")
        event = next(events(answer))
    assert (event[1], event[2]["profile"], event[2]["name"]) == ("entered", "main/user_id:gus", "buyers")
    assert ask("/v1/stream", Last_Event_ID="nonsense").status == 400
    assert ask("/v1/stream", Last_Event_ID="1-2").status == 400
    served.log.commit([], gone=tuple(f"main/user_id:{user}" for user in ("eve", "fay", "gus")))
    wait_for(lambda: served.ask("/v1/segments").json["segments"][0]["size"] == 2, what="the end of them")


def test_definitions_are_read_and_checked(served: Served) -> None:
    ask = served.ask
    version = ask("/v1/definitions").json["version"]
    assert version == served.log.definitions.version
    found = ask(f"/v1/definitions/{version}").json
    assert found["current"]
    assert "buyers" in found["definitions"]["segments"]
    assert ask("/v1/definitions/current").json == found
    assert ask("/v1/definitions/0123456789abcdef").status == 404
    good = ask("/v1/definitions/check", {"files": {"a.yaml": "segments: {a: traits.x == 1}"}}).json
    assert (good["ok"], good["errors"]) == (True, [])
    bad = ask("/v1/definitions/check", {"files": {"a.yaml": "segments: {a: ordrs >= 1}"}}).json
    assert (bad["ok"], bad["errors"][0]["line"], bad["version"]) == (False, 1, "")
    for name in ("../a.yaml", "a.txt", ".a.yaml", "a/b.yaml", ""):
        assert ask("/v1/definitions/check", {"files": {name: "segments: {}"}}).status == 400, name
    wrong = ask("/v1/definitions/apply", {"files": {"a.yaml": "segments: {a: ordrs >= 1}"}})
    assert (wrong.status, len(wrong.json["errors"])) == (422, 1)
    assert ask("/v1/definitions").json["version"] == version


def test_dead_letters_are_listed_and_sent_again(served: Served) -> None:
    settings = served.settings
    topic = settings.sources[0].topic
    origin = Origin(topic=topic, partition=0, offset=7)
    letter = dead_letter(Unfit("malformed_json", "no JSON", ""), origin, b"k", b"{", now_ms(), 1_000_000)
    key, value = record(letter)
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(settings.events_dlq, value, key)
    assert producer.flush(20) == 0
    found = served.ask("/v1/dead-letters").json
    assert (found["total"], found["reasons"]) == (1, {"malformed_json": 1})
    assert (found["letters"][0]["detail"], found["letters"][0]["first_origin"]) == ("no JSON", f"{topic}/0/7")
    assert served.ask("/v1/dead-letters?reason=other").json["letters"] == []
    assert served.ask("/v1/dead-letters/replay", {}).status == 400
    assert served.ask("/v1/dead-letters/replay", {"all": True, "dry_run": True}).json == {"sent": 1, "refused": []}
    assert served.ask("/v1/dead-letters/replay", {"reason": "malformed_json"}).json["sent"] == 1


def test_freshness_is_told(served: Served) -> None:
    fresh = wait_for(lambda: (f := served.ask("/v1/freshness").json)["behind_s"] is not None and f, what="freshness")
    assert fresh["complete"] is True
    assert fresh["behind_s"] < 30
    assert len(fresh["partitions"]) == 6


def test_tokens_open_what_they_are_for_and_nothing_else(served: Served) -> None:
    file = TokenFile(served.settings.api_tokens)
    token, text = file.add("shop", ["profiles"], ["main"])
    _, old = file.add("old", ["profiles"], ["main"], "2020-01-01T00:00:00Z")
    ask = Client(served.address, text)
    wait_for(lambda: ask("/v1/profiles/user_id/ann").status == 200, what="the new token")
    assert ask("/v1/segments").status == 403
    assert ask("/v1/definitions/apply", {"files": {"a.yaml": ""}}).status == 403
    assert ask("/v1/profiles/user_id/ann?tenant=eu").status == 403
    assert Client(served.address, old)("/v1/profiles/user_id/ann").status == 401
    assert Client(served.address, "")("/v1/profiles/user_id/ann").status == 401
    assert text not in served.settings.api_tokens.read_text()
    assert served.settings.api_tokens.stat().st_mode & 0o077 == 0
    file.revoke(token.id)
    refused = wait_for(lambda: (r := ask("/v1/profiles/user_id/ann")).status == 401 and r, what="the revocation")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"
    with pytest.raises(SettingError, match="scope: all"):
        file.add("x", ["all"], ["main"])
    with pytest.raises(SettingError, match="no active token"):
        file.revoke(token.id)


def test_requests_that_cannot_be_read(served: Served) -> None:
    ask = served.ask
    assert ask("/v1/nothing").status == 404
    assert ask("/v1/segments", {}).status == 405
    assert ask("/v1/segments", {}).headers["allow"] == "GET"
    assert ask("/v1/segments/buyers/members?limit=0").status == 400
    assert ask("/v1/segments/buyers/members?limit=1&limit=2").status == 400
    assert ask("/v1/segments?what=1").status == 400
    assert ask("/v1/definitions/check", b"{").status == 400
    assert ask("/v1/definitions/check", b"[]").status == 400
    assert ask("/v1/definitions/check", b"{}", Content_Type="text/plain").status == 415
    assert ask("/v1/definitions/check", b" " * (served.settings.api_body_bytes + 1)).status == 413
    assert ask("/v1/definitions/check", b"[" * 100_000).status == 400


def test_redis_away_is_503_and_comes_back(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rtcdp.servers.redis_server import RedisServer

    with RedisServer() as server:
        settings = served.log.settings.model_copy(update={"redis": server.url})
        log = served.log
        log_settings, log.settings = log.settings, settings
        other = Served(log, tmp_path)
        log.settings = log_settings
        try:
            filling = other.ask("/v1/profiles/user_id/ann")
            assert (filling.status, filling.headers["retry-after"]) == (503, "5")
            assert wait_for(other.server.health.unready, what="not ready") == [
                "the serving view is being filled (does `rtcdp project` run?)"
            ]
            server.stop(kill=True)
            assert other.ask("/v1/profiles/user_id/ann").json["detail"] == "Redis does not answer"
            server.start()
            assert other.ask("/v1/profiles/user_id/ann").headers["retry-after"] == "5"
        finally:
            other.close()


def test_sigterm_ends_at_once_whoever_follows_the_stream(still: Served, tmp_path: Path) -> None:
    """A stream has no end of its own: waiting for it would take half of the time that a stop may take, and end in an error."""
    settings, config = still.settings, tmp_path / "rtcdp.toml"
    told: dict[str, Any] = settings.own_topics()
    told |= {name: getattr(settings, name) for name in ("bootstrap", "app", "redis", "releases")}
    told |= {name: str(getattr(settings, name)) for name in ("api_tokens", "pseudonym_key")}
    config.write_text(
        "\n".join(f"{name} = {json.dumps(value)}" for name, value in told.items()) + "\nmetrics_port = -1\n", "utf-8"
    )
    command = [sys.executable, "-m", "rtcdp.cli", "serve", "--config", str(config), "--link", "--port", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        with urllib.request.urlopen(Client(address, token).request("/v1/stream"), timeout=20) as answer:
            assert answer.readline().startswith(b":")
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert b"data:" not in answer.read(), "the stream ended in order"
            assert time.monotonic() - began < 4
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    assert "ERROR" not in (tmp_path / "log").read_text()
