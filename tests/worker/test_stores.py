"""What both stores must do alike, and what only the kept one does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtcdp.errors import SettingError
from rtcdp.sealing.master import FileMaster, make_key_file
from rtcdp.sealing.sealer import Sealer, open_root
from rtcdp.sealing.stores import SqliteKeys
from rtcdp.worker.profiles import stores
from rtcdp.worker.profiles.sealed_store import SealedStore
from rtcdp.worker.profiles.stores import MemoryStore, RocksStore, Store

Open = Callable[[], Store]


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    make_key_file(tmp_path / "key")
    keys = SqliteKeys(tmp_path / "keys.db")
    return Sealer(keys, open_root(keys, FileMaster(tmp_path / "key"), create=True), 1)


@pytest.fixture(params=["memory", "rocksdb", "sealed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "0", "id/0")
    if request.param == "sealed":
        made = SealedStore(made, request.getfixturevalue("sealer"))
    yield made
    made.close()


@pytest.mark.parametrize("written", [False, True])
def test_it_is_a_mapping_of_bytes(store: Store, *, written: bool) -> None:
    entries = store.entries
    for number in range(100):
        entries[b"key%d" % number] = b"%d" % number
    if written:
        store.adopted()
    entries[b"key7"] = b"changed"
    del entries[b"key8"]
    assert entries.pop(b"key9") == b"9"
    assert entries.pop(b"none", None) is None
    with pytest.raises(KeyError):
        entries[b"key8"]
    with pytest.raises(KeyError):
        del entries[b"key8"]
    assert entries.get(b"key8") is None
    assert entries.get(b"key7") == b"changed"
    assert len(entries) == 98
    assert dict(entries.items()) == {b"key%d" % n: b"changed" if n == 7 else b"%d" % n for n in range(100) if n not in (8, 9)}
    assert sorted(entries) == sorted(key for key, _ in entries.items())
    entries[b"key8"] = b"again"
    assert len(entries) == 99


def reopened(store: RocksStore, folder: Path, changelog: str = "id/0") -> RocksStore:
    store.close()
    return RocksStore(folder, changelog)


def test_what_was_adopted_is_there_after_a_restart_with_its_offset(tmp_path: Path) -> None:
    store = RocksStore(tmp_path, "id/0")
    assert store.behind is None
    store[b"a"], store[b"b"] = b"1", b"2"
    store.restored(50)
    store[b"a"] = b"3"
    del store[b"b"]
    store.adopted(40)
    store[b"c"] = b"folded and not committed"
    store = reopened(store, tmp_path)
    assert (dict(store.items()), store.behind, len(store)) == ({b"a": b"3"}, 40, 1)
    store.close()


def test_what_no_batch_has_confirmed_is_read_again_from_the_beginning(tmp_path: Path) -> None:
    store = RocksStore(tmp_path, "id/0")
    store[b"a"] = b"1"
    store.restored(50)
    store = reopened(store, tmp_path)
    assert (dict(store.items()), store.behind) == ({}, None)
    store.close()


def test_another_changelog_and_an_old_store_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path, "id/0")
    store[b"a"] = b"1"
    store.adopted(10)
    store = reopened(store, tmp_path, "other/0")
    assert (dict(store.items()), store.behind) == ({}, None)
    store[b"a"] = b"1"
    store.adopted(10)
    store = reopened(store, tmp_path, "other/0")
    assert store.behind == 10
    now = time.time()
    monkeypatch.setattr(stores, "time", lambda: now + stores.KEPT_S + 1)
    store = reopened(store, tmp_path, "other/0")
    assert store.behind is None
    store.close()


def test_folder_of_another_process_is_refused(tmp_path: Path) -> None:
    store = RocksStore(tmp_path, "id/0")
    with pytest.raises(SettingError, match="cannot be opened"):
        RocksStore(tmp_path, "id/0")
    store.close()


def test_large_restore_is_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "WRITE_BYTES", 1_000)
    store = RocksStore(tmp_path, "id/0")
    for number in range(1_000):
        store[b"%d" % number] = bytes(100)
    assert len(store._dirty) < 20
    assert len(store) == 1_000
    store.close()


def test_a_sealed_store_has_nothing_in_the_clear_and_loses_who_is_erased(tmp_path: Path, sealer: Sealer) -> None:
    def opened() -> SealedStore:
        return SealedStore(RocksStore(tmp_path / "0", "id/0"), sealer)

    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in sorted((tmp_path / "0").iterdir()) if path.is_file())

    anna, bob = b"main/user_id:anna-canary", b"main/user_id:bob-canary"
    store = opened()
    store.entries.update({anna: b"canary of anna", bob: b"canary of bob", b"~erased/00": b"a mark"})
    store.adopted(7)
    store.close()
    assert b"canary" not in on_disk()
    assert b"a mark" in on_disk(), "the control: what is not about people is read there"

    name = sealer.name(anna).name
    sealer.retire([name])
    (ring,) = sealer.store.find([name])
    sealer.destroy([(name, one) for one in ring.retired], 1)
    store = opened()
    assert store.behind == 7
    assert dict(store.entries) == {bob: b"canary of bob", b"~erased/00": b"a mark"}
    assert store.entries.whose([name, sealer.name(bob).name, b"nobody"]) == [bob]
    assert anna not in store.entries
    store.entries[anna] = b"another life"
    assert store.entries[anna] == b"another life"
    store.close()
