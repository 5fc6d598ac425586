"""The whole worker as a process on a real Kafka: events in, changes out, an orderly end, bad starts."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from rtcdp.control.commands import send, tick
from rtcdp.records import Consent
from rtcdp.servers import preflight
from rtcdp.worker.main import run
from tests.worker.conftest import Deploy, Deployment, wait_for


def event(user: int, name: str = "Page Seen", **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, "userId": f"u{user}", "messageId": f"m-{user}-{name}", **fields}


def test_events_become_changes_and_dead_letters(deploy: Deploy) -> None:
    shop = deploy()
    worker = shop.worker().ready()
    shop.send(*(event(user, "Order Completed") for user in range(20)), b"{not json", None)
    wait_for(lambda: worker.metric('rtcdp_records_out_total{to="profile_changes"}') >= 40, what="forty changes")
    changes = shop.records(shop.settings.profile_changes)
    assert {change["profile"] for change in changes if change["name"] == "buyers"} == {f"main/user_id:u{n}" for n in range(20)}

    letters = wait_for(lambda: len(found := shop.records(shop.settings.events_dlq)) == 2 and found, what="two dead letters")
    by_reason = {letter["reason"]: letter for letter in letters}
    assert set(by_reason) == {"malformed_json", "null_value"}
    letter = by_reason["malformed_json"]
    assert base64.b64decode(letter["original"]) == b"{not json"
    assert letter["origin"]["topic"] == shop.source
    assert letter["stage"] == "ingest"

    # `here` is over 2 s after the last event: nothing arrives, the watermark alone tells.
    def left() -> int:
        return sum(1 for change in shop.records(shop.settings.profile_changes) if change["kind"] == "exited")

    wait_for(lambda: left() == 20, 25.0, "twenty exits by time")

    started = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - started < 10
    odd = [line for line in worker.log.read_text("utf-8").splitlines() if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2} ", line)]
    assert odd == [], "only the log writes to the log"


def ingested_over_a_restart(shop: Deployment, without: str = "") -> list[str]:
    """The users of the events in the log, after a restart in the middle, sorted."""
    shop.worker().ready()
    shop.send(*(event(user) for user in range(50)))
    log = shop.settings.profile_events
    wait_for(lambda: len([m for m in shop.read(log) if m.key() and not m.key().startswith(b"~")]) == 50)
    assert shop.workers[0].end() == 0
    shop.send(*(event(user) for user in range(50, 60)))
    shop.worker(without).ready()
    wait_for(lambda: shop.workers[1].metric('rtcdp_events_in_total{agent="profile"}') >= 10)
    records = [record for record in shop.records(log) if record["kind"] == "event"]
    assert shop.workers[1].end() == 0
    return sorted(record["user_id"] for record in records)


@pytest.mark.faults
def test_a_restart_goes_on_where_it_was(deploy: Deploy) -> None:
    assert ingested_over_a_restart(deploy(instance="one")) == sorted(f"u{user}" for user in range(60))


@pytest.mark.faults
def test_without_progress_a_restart_shows(deploy: Deploy) -> None:
    assert len(ingested_over_a_restart(deploy(instance="one"), "progress")) > 60


def test_an_explicit_tick_comes_after_what_was_there(deploy: Deploy) -> None:
    shop = deploy(sources="placeholder:event")
    shop.settings = shop.settings.model_copy(
        update={"sources": (shop.settings.sources[0].model_copy(update={"topic": shop.source}),)}
    )
    worker = shop.worker().ready()
    at = "2024-05-01T00:00:00Z"
    shop.send(*(event(user, timestamp=at) for user in range(200)))
    tick(shop.settings, "2024-05-02T00:00:00Z")
    wait_for(lambda: worker.metric('rtcdp_records_out_total{to="profile_changes"}') >= 400, what="entries and exits")
    for partition in range(shop.settings.partitions):
        kinds = [m.key() for m in shop.read(shop.settings.profile_events) if m.partition() == partition]
        explicit = kinds.index(b"~tick")
        assert not [key for key in kinds[explicit:] if key != b"~tick"], "events behind the tick"
    changes = shop.records(shop.settings.profile_changes)
    assert {change["at"] for change in changes if change["kind"] == "exited"} == {"2024-05-01T00:00:02.000Z"}
    assert worker.end() == 0


def start_in_vain(shop: Deployment, capsys: pytest.CaptureFixture[str], **flags: Any) -> str:
    """What a worker says that cannot start: one line on standard error, exit code 2."""
    given = {"definitions": shop.definitions, "state_dir": shop.folder, **flags}
    capsys.readouterr()
    assert run(shop.settings.model_copy(update=given)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    return line


def topics_of(shop: Deployment) -> set[str]:
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    return {name for name in admin.list_topics(timeout=10).topics if name.startswith(shop.name)}


def test_a_command_about_a_person_is_done(deploy: Deploy) -> None:
    shop = deploy()
    shop.worker().ready()
    shop.send(event(1, "Order Completed"))
    key = b"main/user_id:u1"
    send(shop.settings, key, Consent(id="r1", by="ops", reason="asked by phone", answers={"marketing": False}))
    send(shop.settings, b"nobody", Consent(id="r2", answers={"marketing": False}))

    def done() -> list[dict[str, Any]]:
        return [change for change in shop.records(shop.settings.profile_changes) if change["kind"] == "consent"]

    (change,) = wait_for(done, what="the command")
    assert (change["profile"], change["name"], change["new"]) == (key.decode(), "marketing", False)
    assert (change["cause"], change["message_id"]) == ("command", "r1")
    (letter,) = wait_for(lambda: shop.records(shop.settings.events_dlq), what="the dead letter")
    assert letter["reason"] == "bad_key"


def test_a_start_without_a_broker(deploy: Deploy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "CONNECT_S", 1.5)
    said = start_in_vain(deploy(bootstrap="127.0.0.1:1"), capsys)
    assert said.startswith("rtcdp: no Kafka answers at 127.0.0.1:1 (bootstrap): ")


def test_a_start_with_a_typo(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    shop = deploy()
    (shop.definitions / "shop.yaml").write_text("features:\n  orders: {count: A}\nsegments:\n  a: ordrs >= 1\n", "utf-8")
    said = start_in_vain(shop, capsys)
    assert said.startswith("shop.yaml:4:6: unknown name 'ordrs': ")
    assert said.endswith("(did you mean 'orders'?)")
    assert topics_of(shop) == set(), "nothing was made"


def test_a_start_on_a_topic_with_other_partitions(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    shop = deploy()
    settings = shop.settings
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    topics = [
        NewTopic(settings.profile_events, 3, 1),
        NewTopic(settings.changelog, 2, 1, config={"cleanup.policy": "compact"}),
    ]
    for future in admin.create_topics(topics).values():
        future.result(30)
    said = start_in_vain(shop, capsys)
    assert settings.profile_events in said
    assert settings.changelog in said
    assert "must be equal" in said
    partitions = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=10).topics.items()}
    assert (partitions[settings.profile_events], partitions[settings.changelog]) == (3, 2)
    assert settings.definitions_topic not in partitions or shop.read(settings.definitions_topic) == []
