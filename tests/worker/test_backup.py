"""A deployment as a file, as another deployment, and with its changelog made anew."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from rtcdp.errors import ClusterError, SettingError
from rtcdp.position import POSITION_KEY
from rtcdp.settings.config import Settings
from rtcdp.transport.restore import restore as read_changelog
from rtcdp.worker.offline.backup import backup
from rtcdp.worker.offline.backup_file import Definition, Entry, Header, Raw, Stored, read_file, write_file
from rtcdp.worker.offline.rebuild import rebuild
from rtcdp.worker.offline.restoring import restore
from worker.conftest import Deploy, wait_for

ENTRIES: list[Entry] = [
    Header(1, "shop", 2),
    Definition("current", b"{}"),
    Stored(1, b"main/user_id:a", b"\x00\xff"),
    Raw("events", None, None, [("h", None), ("g", b"x")], 5),
]


def test_file_gives_back_what_was_put_into_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.rtcdp"
    assert str(write_file(path, iter(ENTRIES))).startswith("1 profiles, 0 records of the log not folded, 1 events")
    assert list(read_file(path)) == ENTRIES
    assert [one.name for one in tmp_path.iterdir()] == ["shop.rtcdp"]


@pytest.mark.parametrize("damage", ["half", "no end", "other", "empty"])
def test_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "shop.rtcdp"
    write_file(path, iter(ENTRIES))
    data = path.read_bytes()
    cut = gzip.compress(gzip.decompress(data)[:-8])
    path.write_bytes({"half": data[: len(data) // 2], "no end": cut, "other": b"something else", "empty": b""}[damage])
    with pytest.raises(SettingError, match=r"shop\.rtcdp is"):
        list(read_file(path))


def test_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be written"):
        write_file(tmp_path / "none" / "shop.rtcdp", iter(ENTRIES))


def profiles(settings: Settings) -> dict[bytes, bytes]:
    state: dict[bytes, bytes] = {}
    for number in range(settings.partitions):
        read_changelog(settings.kafka(), settings.changelog, number, state)
    del state[POSITION_KEY]
    return state


@pytest.mark.faults
def test_deployment_is_rebuilt_and_goes_on_elsewhere(deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, other = deploy(), deploy()
    event = {"type": "track", "event": "Order Completed"}
    worker = shop.worker().ready()
    shop.send(*({**event, "userId": f"u{number % 20}", "messageId": f"m{number}"} for number in range(200)))
    wait_for(lambda: worker.metric('rtcdp_events_in_total{agent="profile"}') >= 200, what="200 events folded")
    monkeypatch.setattr("rtcdp.worker.offline.deployment.SESSION_S", 0.0)
    with pytest.raises(ClusterError, match=r"1 workers of .* are running"):
        rebuild(shop.settings)
    monkeypatch.undo()
    assert worker.end() == 0
    shop.send({**event, "userId": "u3", "messageId": "late"})  # nobody has taken this one in
    before = profiles(shop.settings)
    assert len(before) == 20

    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap})
    admin.delete_topics([shop.settings.changelog])[shop.settings.changelog].result(10)
    wait_for(lambda: shop.settings.changelog not in admin.list_topics(timeout=5).topics, what="the changelog gone")
    summary = rebuild(shop.settings)
    assert (summary.profiles, summary.outputs) == (20, 0)
    assert profiles(shop.settings) == before

    path = tmp_path / "shop.rtcdp"
    assert str(backup(shop.settings, path)).endswith("1 events not yet taken in")
    restore(other.settings, path)
    with pytest.raises(ClusterError, match="is not empty"):
        restore(other.settings, path)
    assert profiles(other.settings) == before
    with pytest.raises(ClusterError, match="goes on from a backup"):
        rebuild(other.settings)
    moved = other.worker().ready()
    wait_for(lambda: moved.metric('rtcdp_events_in_total{agent="profile"}') >= 1, what="the late event folded")
    assert not [one for one in other.records(other.settings.profile_changes) if one["name"] == "buyers"], "they are since long"
    assert moved.end() == 0
