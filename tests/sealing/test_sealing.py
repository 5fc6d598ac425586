"""Sealing: what can be read with the keys and not without, what a store that loses or destroys keys means."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from rtcdp.control import commands
from rtcdp.errors import ClusterError, SettingError
from rtcdp.records import Correct, Erase
from rtcdp.sealing.master import CommandMaster, FileMaster, make_key_file
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.redis_keys import RedisKeys
from rtcdp.sealing.sealer import ERASED, ID_BYTES, Sealer, open_root, rotate
from rtcdp.sealing.stores import KeysAway, KeyStore, SqliteKeys
from rtcdp.settings.config import Settings

ANNA, BERTA = b"main/user_id:anna", "main/email:bärta@example.com".encode()


@pytest.fixture
def master(tmp_path: Path) -> FileMaster:
    make_key_file(tmp_path / "master.key")
    return FileMaster(tmp_path / "master.key")


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyStore]:
    if request.param == "sqlite":
        keys: KeyStore = SqliteKeys(tmp_path / "keys.db")
    else:
        address: str = request.getfixturevalue("redis_url")
        client = redis.Redis.from_url(address)
        keys = RedisKeys(client, f"test-{uuid4()}")
    yield keys
    keys.close()


@pytest.fixture
def sealer(store: KeyStore, master: FileMaster) -> Sealer:
    return Sealer(store, open_root(store, master, create=True), 4)


def again(sealer: Sealer, master: FileMaster) -> Sealer:
    """As another process with the same store has it."""
    return Sealer(sealer.store, open_root(sealer.store, master, create=False), 4)


def sealed(sealer: Sealer, key: bytes, value: bytes) -> tuple[bytes, bytes]:
    sealer.prepare([key])
    return sealer.seal(key, value)


def test_only_the_keys_open_what_was_sealed(sealer: Sealer, master: FileMaster) -> None:
    records = [sealed(sealer, key, value) for key, value in ((ANNA, b'{"a":1}'), (BERTA, b"{}"), (ANNA, b""))]
    assert records[0][0] == records[2][0] != records[1][0]
    assert all(ANNA[10:] not in part and b"example" not in part for record in records for part in record)
    for one in (sealer, again(sealer, master)):
        assert one.open_all(records) == [(ANNA, b'{"a":1}'), (BERTA, b"{}"), (ANNA, b"")]
        assert one.name(ANNA).name == records[0][0]


def test_the_same_value_is_never_sealed_twice_alike(sealer: Sealer) -> None:
    assert sealed(sealer, ANNA, b"x") != sealed(sealer, ANNA, b"x")


def test_what_is_not_sealed_stays_as_it_is(sealer: Sealer) -> None:
    assert sealer.open_all([(b"~tick", b"{}"), (ANNA, b"{}"), (ANNA, None), (None, b"{}")]) == [
        (b"~tick", b"{}"),
        (ANNA, b"{}"),
        None,
        None,
    ]


def test_an_erased_person_is_gone_and_a_later_life_is_not(sealer: Sealer, master: FileMaster) -> None:
    other = again(sealer, master)
    before, half = sealed(sealer, ANNA, b"before"), sealer.seal_half(ANNA, b"whole", b"rest")
    assert other.open_all([half]) == [(ANNA, b"whole")]
    name, key_id = before[0], before[1][2 : 2 + ID_BYTES]
    sealer.retire([name])
    later = sealed(sealer, ANNA, b"later")
    assert later[1][2 : 2 + ID_BYTES] != key_id
    assert sealer.open_all([before, later]) == [(ANNA, b"before"), (ANNA, b"later")], "retired keys still read"
    assert other.open_all([later]) == [(ANNA, b"later")], "a new key is asked for, though the old ones are held"
    for _ in range(2):  # it may be done again
        sealer.destroy([(name, key_id)], 1_000)
    for one in (sealer, again(sealer, master)):
        assert one.open_all([before, later, half]) == [None, (ANNA, b"later"), (ERASED + name.hex().encode(), b"rest")]


def test_a_store_that_has_lost_a_key_is_no_erasure(sealer: Sealer, master: FileMaster, tmp_path: Path) -> None:
    record = sealed(sealer, ANNA, b"x")
    empty = SqliteKeys(tmp_path / "other.db")
    stranger = Sealer(empty, open_root(empty, master, create=True), 4)
    with pytest.raises(ClusterError, match="has lost keys"):
        stranger.open_all([record])


def test_a_record_that_was_changed_or_moved_is_refused(sealer: Sealer) -> None:
    name, value = sealed(sealer, ANNA, b"x")
    other, _ = sealed(sealer, BERTA, b"x")
    for record in ((name, value[:-1] + bytes([value[-1] ^ 1])), (other, value)):
        with pytest.raises(ClusterError):
            sealer.open_all([record])


def test_two_processes_agree_on_the_key_of_a_new_person(sealer: Sealer, master: FileMaster) -> None:
    other = again(sealer, master)
    one, two = sealed(sealer, ANNA, b"1"), sealed(other, ANNA, b"2")
    assert one[1][: 2 + ID_BYTES] == two[1][: 2 + ID_BYTES]


def test_another_master_key_can_take_over(sealer: Sealer, master: FileMaster, tmp_path: Path) -> None:
    record = sealed(sealer, ANNA, b"x")
    make_key_file(tmp_path / "new.key")
    new = FileMaster(tmp_path / "new.key")
    rotate(sealer.store, master, new)
    assert again(sealer, new).open_all([record]) == [(ANNA, b"x")]
    with pytest.raises(SettingError, match="is not the key"):
        again(sealer, master)


def test_a_master_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    make_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(SettingError, match="chmod 600"):
        FileMaster(path)
    with pytest.raises(SettingError, match="cannot be made"):
        make_key_file(path)


@pytest.mark.parametrize("content", ["", "short", "!" * 44])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SettingError, match="holds no key"):
        FileMaster(path)


def test_a_key_management_service_wraps_and_unwraps(tmp_path: Path) -> None:
    script = tmp_path / "kms.py"
    script.write_text("import sys\nassert sys.argv[1] in ('wrap', 'unwrap')\nsys.stdout.write(sys.stdin.read()[::-1])\n")
    reverse = CommandMaster(f"{sys.executable} {script}")
    secret = os.urandom(30)  # base64 without padding, so that its reverse is base64 as well
    assert reverse.wrap(secret) != secret
    assert reverse.unwrap(reverse.wrap(secret)) == secret
    with pytest.raises(SettingError, match="exit code 1"):
        CommandMaster(f"{sys.executable} -c 'raise SystemExit(1)'").wrap(secret)
    with pytest.raises(SettingError, match="cannot be run"):
        CommandMaster("/nothing/here").wrap(secret)


def test_what_was_destroyed_is_not_in_the_file(tmp_path: Path, master: FileMaster) -> None:
    store = SqliteKeys(tmp_path / "keys.db")
    sealer = Sealer(store, open_root(store, master, create=True), 4)
    name, value = sealed(sealer, ANNA, b"x")
    ring = store.find([name])[0]
    assert ring.current is not None
    wrapped = ring.current[1]

    def files() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.glob("keys.db*"))

    assert wrapped in files(), "the control: it was there"
    sealer.retire([name])
    sealer.destroy([(name, value[2 : 2 + ID_BYTES])], 1)
    assert wrapped not in files()


def test_a_store_that_does_not_answer_is_waited_for(master: FileMaster) -> None:
    store = RedisKeys(redis.Redis(port=1, socket_connect_timeout=0.2), "test")
    with pytest.raises(KeysAway):
        store.find([b"x"])


def test_a_redis_that_could_lose_keys_is_refused(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    before = client.config_get("appendonly")["appendonly"]
    client.config_set("appendonly", "no")
    try:
        with pytest.raises(SettingError, match="appendonly yes"):
            RedisKeys(client, "test").check()
    finally:
        client.config_set("appendonly", before)


def test_settings_that_do_not_suffice(tmp_path: Path) -> None:
    def refused(match: str, **flags: object) -> None:
        settings = Settings.load({"bootstrap": "x:1", "state_dir": str(tmp_path), **flags})
        with pytest.raises(SettingError, match=match):
            sealer_of(settings, 1, create=True)

    refused("master_key_file", encryption="sqlite")
    refused("keys_redis", encryption="redis")
    make_key_file(tmp_path / "k")
    refused("only one", encryption="sqlite", master_key_file=tmp_path / "k", master_key_command="x")
    assert sealer_of(Settings.load({"bootstrap": "x:1"}), 1) is None
    settings = Settings.load(
        {"bootstrap": "x:1", "state_dir": str(tmp_path / "s"), "encryption": "sqlite", "master_key_file": tmp_path / "k"}
    )
    with pytest.raises(SettingError, match="there is no"):
        sealer_of(settings, 1)
    first, second = (sealer_of(settings, 1, create=True) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id == second.id


def test_what_is_held_is_bounded_and_made_again(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcdp.sealing.held.MOST", 10)
    people = [b"main/user_id:%d" % number for number in range(25)]
    records = [sealed(sealer, key, key) for key in people]
    assert len(sealer._held.rings) <= 10
    assert len(sealer._held.sealing) <= 10
    for _ in range(2):
        for key, record in zip(people, records, strict=True):
            assert sealer.open_all([record]) == [(key, key)]
    assert len(sealer._held.opening) <= 10


def test_whoever_is_forgotten_is_held_in_no_form(sealer: Sealer) -> None:
    record = sealed(sealer, ANNA, b"x")
    assert sealer.open_all([record, record]) == [(ANNA, b"x")] * 2
    assert sealer._held.sealing
    assert sealer._held.opening
    sealer.forget([record[0]])
    assert [sealer._held.rings, sealer._held.sealing, sealer._held.opening] == [{}, {}, {}]


def test_no_nonce_comes_twice(sealer: Sealer) -> None:
    sealer.prepare([ANNA])
    records = [record for _ in range(20) for record in sealer.seal_all([(ANNA, b"")] * 500)]
    assert len({value[2 + ID_BYTES : 2 + ID_BYTES + 12] for _, value in records}) == len(records)


def test_a_command_is_read_by_nobody_once_its_person_is_erased(sealer: Sealer) -> None:
    asked = Correct(id="c1", traits={"city": "Bonn"})
    records = [commands.sealed(ANNA, one, sealer) for one in (asked, Erase(id="e1"))]
    assert len({key for key, _ in records}) == 1, "in the order in which they were sent"
    assert all(b"anna" not in part and b"Bonn" not in part for record in records for part in record)
    clear = (BERTA, commands.encode(asked))
    assert commands.opened([*records, clear, (None, None)], sealer) == [
        (ANNA, commands.encode(asked)), (ANNA, commands.encode(Erase(id="e1"))), clear, (None, None),
    ]  # fmt: skip
    name = sealer.name(ANNA).name
    sealer.retire([name])
    (ring,) = sealer.store.find([name])
    sealer.destroy([(name, one) for one in ring.retired], 1_000)
    assert commands.opened(records, sealer) == [None, (ANNA, commands.encode(Erase(id="e1")))]
    with pytest.raises(ClusterError, match="give its settings"):
        commands.opened(records, None)
