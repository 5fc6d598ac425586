"""A worker with encryption: what lies in Kafka tells nobody anything, and everything that reads it is as without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from rtcdp.control import commands
from rtcdp.errors import ClusterError
from rtcdp.privacy import erasure
from rtcdp.privacy.correcting import correct
from rtcdp.queries.inspection import people_of, profile_at
from rtcdp.records import Erase
from rtcdp.sealing.master import make_key_file
from rtcdp.settings.config import Settings
from rtcdp.worker.main import assemble
from rtcdp.worker.offline.backup import backup
from rtcdp.worker.offline.rebuild import rebuild
from rtcdp.worker.offline.restoring import restore
from worker.conftest import Deploy, Deployment, wait_for

CANARY = "canary-7f3a"


def encrypted(folder: Path, **flags: Any) -> dict[str, Any]:
    """Settings of a deployment with keys in a folder."""
    folder.mkdir(exist_ok=True)
    if not (folder / "master.key").exists():
        make_key_file(folder / "master.key")
    return {"encryption": "sqlite", "keys_file": folder / "keys.db", "master_key_file": folder / "master.key", **flags}


def in_kafka(shop: Deployment) -> list[str]:
    """Topics of the log and of state in which the canary can be read."""
    found = []
    for topic in (shop.settings.profile_events, shop.settings.changelog, shop.settings.commands):
        messages = shop.read(topic)
        assert messages or topic == shop.settings.commands, "something is there"
        if any(CANARY.encode() in part for message in messages for part in (message.key() or b"", message.value() or b"")):
            found.append(topic)
    return found


def told(shop: Deployment) -> None:
    """One person by two names, and some others."""
    shop.send(
        {"type": "track", "event": "Page Seen", "anonymousId": f"{CANARY}-a", "messageId": "m1"},
        {
            "type": "identify",
            "anonymousId": f"{CANARY}-a",
            "userId": f"{CANARY}-u",
            "traits": {"email": f"{CANARY}@example.com"},
            "messageId": "m2",
        },
        {"type": "track", "event": "Order Completed", "userId": f"{CANARY}-u", "messageId": "m3"},
        *({"type": "track", "event": "Order Completed", "userId": f"u{n}", "messageId": f"n{n}"} for n in range(50)),
    )

    def known() -> bool:
        found = people_of(shop.settings, f"anonymous_id:{CANARY}-a")
        return found is not None and found["person"] == f"main/user_id:{CANARY}-u"

    wait_for(known, what="the person")
    wait_for(lambda: len(shop.records(shop.settings.profile_changes)) >= 103, what="the changes")


def put_right(shop: Deployment) -> None:
    """Commands with what is personal: a trait, a whole state, and an erasure of somebody else."""
    found = correct(shop.settings, f"user_id:{CANARY}-u", {"city": CANARY}, ["m3"], by="dpo")
    assert found is not None
    assert found.without == ["m3"]
    commands.send(shop.settings, f"main/user_id:{CANARY}-v".encode(), Erase(id="e1"))


def test_nothing_of_a_person_can_be_read_in_kafka(deploy: Deploy, tmp_path: Path) -> None:
    shop, plain = deploy(**encrypted(tmp_path / "keys")), deploy()
    for one in (shop, plain):
        one.worker().ready()
        told(one)
        put_right(one)
    assert in_kafka(shop) == []
    assert len(in_kafka(plain)) == 3, "the control: without encryption it is there"

    def state(one: Deployment) -> Any:
        found = profile_at(one.settings, f"user_id:{CANARY}-u")
        assert found is not None
        return found.traits, "buyers" in found.segments, found.identifiers.keys()

    assert state(shop) == state(plain)
    assert state(shop)[0]["city"] == CANARY
    assert erasure.wait(shop.settings, "e1", {0, 1}, 20.0) is not None, "what erases can be read"
    assert not shop.records(shop.settings.events_dlq)
    with pytest.raises(ClusterError, match="is encrypted"):
        profile_at(shop.settings.model_copy(update={"encryption": "off"}), "user_id:u1")


@pytest.mark.faults
def test_a_restart_a_rebuild_and_a_backup_with_encryption(deploy: Deploy, tmp_path: Path) -> None:
    shop = deploy(**encrypted(tmp_path / "keys"))
    worker = shop.worker().ready()
    told(shop)
    assert worker.end() == 0
    before = profile_at(shop.settings, f"user_id:{CANARY}-u")
    assert before is not None

    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    admin.delete_topics([shop.settings.changelog])[shop.settings.changelog].result(10)
    wait_for(lambda: shop.settings.changelog not in admin.list_topics(timeout=5).topics, what="the changelog gone")
    assert rebuild(shop.settings).outputs == 0
    assert profile_at(shop.settings, f"user_id:{CANARY}-u") == before
    assert in_kafka(shop) == []

    path = tmp_path / "shop.rtcdp"
    backup(shop.settings, path)
    other, stranger = deploy(**encrypted(tmp_path / "keys")), deploy(**encrypted(tmp_path / "others"))
    with pytest.raises(ClusterError, match="not the key store"):
        restore(stranger.settings, path)
    restore(other.settings, path)
    moved = profile_at(other.settings, f"user_id:{CANARY}-u")
    assert moved is not None
    assert moved.traits == before.traits
    again = other.worker().ready()
    other.send({"type": "track", "event": "Order Completed", "userId": f"{CANARY}-u", "messageId": "m4"})
    wait_for(lambda: again.metric('rtcdp_events_in_total{agent="profile"}') >= 1, what="the event")
    after = profile_at(other.settings, f"user_id:{CANARY}-u")
    assert after is not None
    assert after.features["orders"] == before.features["orders"] + 1


@pytest.mark.faults
def test_what_began_without_encryption_goes_on_so(deploy: Deploy, tmp_path: Path) -> None:
    plain, shop = deploy(), deploy(**encrypted(tmp_path / "keys"))
    for one in (plain, shop):
        assert one.worker().ready().end() == 0

    def refused(settings: Settings, match: str) -> None:
        with pytest.raises(ClusterError, match=match):
            assemble(settings)

    refused(plain.settings.model_copy(update=encrypted(tmp_path / "new")), "unencrypted")
    refused(shop.settings.model_copy(update={"encryption": "off"}), "is off")


def test_profiles_on_disk_are_sealed_too(deploy: Deploy, tmp_path: Path) -> None:
    shop = deploy(**encrypted(tmp_path / "keys"), store="rocksdb", state_dir=tmp_path / "state")
    for place in range(2):
        worker = shop.worker().ready()
        told(shop) if not place else shop.send(
            {"type": "track", "event": "Order Completed", "anonymousId": f"{CANARY}-a", "messageId": "m4"}
        )
        wait_for(lambda: orders(shop) == 1 + place, what="the orders")  # noqa: B023 # called at once
        assert worker.end() == 0
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def orders(shop: Deployment) -> object:
    found = profile_at(shop.settings, f"user_id:{CANARY}-u")
    return None if found is None else found.features["orders"]
