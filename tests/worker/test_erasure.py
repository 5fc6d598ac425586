"""Erasing a person in a running deployment: proved by looking for what was theirs, wherever it could be."""

from __future__ import annotations

import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from rtcdp.control import commands
from rtcdp.control.commands import new_id
from rtcdp.privacy import erasure
from rtcdp.privacy.export import export
from rtcdp.queries.inspection import profile_at
from rtcdp.records import Consent
from rtcdp.sealing.opening import sealer_of
from rtcdp.worker.offline.backup import backup
from rtcdp.worker.offline.rebuild import rebuild
from rtcdp.worker.offline.restoring import restore
from worker.conftest import Deploy, Deployment, wait_for
from worker.test_encryption import CANARY, encrypted, in_kafka, told

PERSON = f"user_id:{CANARY}-u"


def order(user: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": user, **fields}


def everybody_else(shop: Deployment) -> dict[str, Any]:
    found = {}
    for number in range(5):
        view = profile_at(shop.settings, f"user_id:u{number}")
        assert view is not None
        found[f"u{number}"] = (view.features["orders"], view.traits, "buyers" in view.segments)
    return found


def erased(shop: Deployment, seconds: float = 60.0) -> erasure.Receipt:
    began = time.monotonic()
    request = new_id()
    partitions = erasure.erase(shop.settings, f"anonymous_id:{CANARY}-a", erasure.command_of(request, by="dpo"))
    found = erasure.wait(shop.settings, request, partitions, seconds)
    assert found is not None
    assert found.complete, found
    assert time.monotonic() - began < seconds
    assert len(found.marks) >= 2
    return found


@pytest.mark.parametrize("sealed", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_export_has_all_that_is_held(deploy: Deploy, tmp_path: Path, *, sealed: bool) -> None:
    shop = deploy(**(encrypted(tmp_path / "keys") if sealed else {}))
    shop.worker().ready()
    told(shop)
    wrong = {"type": "track", "anonymousId": f"{CANARY}-a"}
    shop.send({**wrong, "messageId": "wrong"}, {**wrong, "messageId": "others", "anonymousId": f"{CANARY}-other"})
    wait_for(lambda: len(shop.read(shop.settings.events_dlq)) == 2, what="the dead letters")
    consent = Consent(id="c1", answers={"@email": False}, reason="asked")
    commands.send(shop.settings, f"main/anonymous_id:{CANARY}-a".encode(), consent)
    found = export(shop.settings, f"anonymous_id:{CANARY}-a")
    assert found is not None
    assert found["profile"]["traits"] == {"email": f"{CANARY}@example.com"}
    assert f"main/{PERSON}" in found["identifiers"]
    recorded = {row["record"].get("id") for row in found["log"] if row["record"]["kind"] == "event"}
    assert recorded == {"m1", "m2", "m3"}
    assert {row["record"]["kind"] for row in found["log"]} >= {"event", "link", "merge"}
    assert {row["record"]["name"] for row in found["changes"]} >= {"buyers", "here"}
    assert [row["record"]["id"] for row in found["commands"]] == ["c1"]
    assert [b64decode(row["record"]["original"]).count(b'"wrong"') for row in found["letters"]] == [1], "nobody else's"
    assert export(shop.settings, "user_id:nobody") is None


def test_an_erased_person_is_gone_without_encryption_too(deploy: Deploy) -> None:
    shop = deploy()
    worker = shop.worker().ready()
    told(shop)
    before = everybody_else(shop)
    found = erased(shop)
    assert not found.encrypted
    assert {one.topic for one in found.remains} >= {shop.source, shop.settings.profile_events}
    assert export(shop.settings, PERSON) is None
    assert export(shop.settings, f"anonymous_id:{CANARY}-a") is None
    shop.send(order(f"{CANARY}-u", timestamp="2020-01-01T00:00:00Z", messageId="old"))
    shop.send(order("u9", messageId="after"))
    wait_for(lambda: profile_at(shop.settings, "user_id:u9").features["orders"] >= 2, what="what came after")
    assert export(shop.settings, PERSON) is None
    assert worker.end() == 0
    shop.worker().ready()
    shop.send(order(f"{CANARY}-u", timestamp="2020-01-01T00:00:00Z", messageId="older"), order(f"{CANARY}-u", messageId="new"))
    view = wait_for(lambda: profile_at(shop.settings, PERSON), what="the new life")
    assert view.features["orders"] == 1
    assert not view.traits
    assert everybody_else(shop) == before


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_erasure_with_encryption_leaves_nothing_within_a_minute(deploy: Deploy, tmp_path: Path) -> None:
    shop = deploy(**encrypted(tmp_path / "keys"))
    worker = shop.worker().ready()
    told(shop)
    before = everybody_else(shop)
    sealed = [(message.key(), message.value()) for message in shop.read(shop.settings.profile_events)]
    found = erased(shop)
    assert found.encrypted
    assert all(mark.destroyed for mark in found.marks)
    assert export(shop.settings, PERSON) is None
    assert in_kafka(shop) == []
    assert CANARY not in worker.log.read_text("utf-8")
    keys = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    assert CANARY.encode() not in keys

    names = {bytes.fromhex(mark.name) for mark in found.marks}
    theirs = [record for record in sealed if record[0] in names]
    assert theirs, "the control: there were records of the person"
    sealer = sealer_of(shop.settings, 2)
    assert sealer is not None
    assert sealer.open_all(theirs) == [None] * len(theirs), "old records cannot be read any more"

    shop.send(order(f"{CANARY}-u", messageId="new"))
    view = wait_for(lambda: profile_at(shop.settings, PERSON), what="the new life")
    assert view.features["orders"] == 1
    assert worker.end() == 0

    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    admin.delete_topics([shop.settings.changelog])[shop.settings.changelog].result(10)
    wait_for(lambda: shop.settings.changelog not in admin.list_topics(timeout=5).topics, what="the changelog gone")
    rebuild(shop.settings)
    again = profile_at(shop.settings, PERSON)
    assert again is not None
    assert again.features["orders"] == 1, "a replay from the beginning resurrects nobody"
    assert profile_at(shop.settings, f"anonymous_id:{CANARY}-a") is None
    assert everybody_else(shop) == before
    shop.worker().ready()
    shop.send(order(f"{CANARY}-u", timestamp="2020-01-01T00:00:00Z", messageId="late"), order(f"{CANARY}-u", messageId="n2"))
    wait_for(lambda: profile_at(shop.settings, PERSON).features["orders"] == 2, what="the second order of the new life")


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_backup_from_before_brings_nobody_back(deploy: Deploy, tmp_path: Path, *, sealed: bool) -> None:
    flags = encrypted(tmp_path / "keys") if sealed else {}
    shop, other, careless = deploy(**flags), deploy(**flags), deploy(**flags)
    worker = shop.worker().ready()
    told(shop)
    assert worker.end() == 0
    path, told_of = tmp_path / "before.rtcdp", tmp_path / "receipt.json"
    backup(shop.settings, path)
    before = everybody_else(shop)
    shop.worker().ready()
    told_of.write_bytes(msgspec.json.encode(erased(shop)))
    restore(other.settings, path, () if sealed else (told_of,))
    other.worker().ready()
    other.send(order(f"{CANARY}-u", timestamp="2020-01-01T00:00:00Z", messageId="old"), order("u9", messageId="after"))
    wait_for(lambda: orders(other, "user_id:u9") == 2, what="what came after")
    assert export(other.settings, PERSON) is None
    assert export(other.settings, f"anonymous_id:{CANARY}-a") is None
    assert everybody_else(other) == before
    if not sealed:
        restore(careless.settings, path)
        assert export(careless.settings, PERSON) is not None, "the control: without the receipt the backup has the person"


def orders(shop: Deployment, key: str) -> int:
    found = profile_at(shop.settings, key)
    return 0 if found is None else found.features["orders"]
