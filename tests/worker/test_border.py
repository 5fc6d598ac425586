"""While the key store is away, work waits and the process is not ready; nothing is taken for erased."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rtcdp.monitoring.health import Health
from rtcdp.records import Erase, encode
from rtcdp.sealing.master import FileMaster, make_key_file
from rtcdp.sealing.sealer import Sealer, open_root
from rtcdp.sealing.stores import Keyring, KeysAway, SqliteKeys
from rtcdp.worker import border as borders
from rtcdp.worker.border import Border, Stopping

ANNA = b"main/user_id:anna"
NOTHING = (b"~switch", b"{}")


class Unsteady(SqliteKeys):
    """A store that does not answer for so many times."""

    away = 0

    def find(self, names: Any) -> list[Keyring]:
        if self.away:
            self.away -= 1
            raise KeysAway("away")
        return super().find(names)


@pytest.fixture
def store(tmp_path: Path) -> Unsteady:
    return Unsteady(tmp_path / "keys.db")


@pytest.fixture
def sealer(store: Unsteady, tmp_path: Path) -> Sealer:
    make_key_file(tmp_path / "key")
    return Sealer(store, open_root(store, FileMaster(tmp_path / "key"), create=True), 4)


def test_work_waits_for_the_store(store: Unsteady, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borders, "AGAIN_S", 0.01)
    health = Health(60.0)
    border = Border(sealer, health, NOTHING)
    store.away = 3
    seen: list[bool] = []

    def stopping() -> bool:
        seen.append(bool(health.unready()))
        return False

    async def run() -> list[Any]:
        (made,) = await border.sealed_log([(None, ANNA, b"{}")], stopping)
        assert made[0] == sealer.name(ANNA).partition
        sealer.forget([made[1]])
        store.away = 1
        return await border.opened([(7, *made[1:]), (8, b"~tick", b"{}"), (9, None, b"{}")], stopping)

    assert asyncio.run(run()) == [(7, ANNA, b"{}"), (8, b"~tick", b"{}"), (9, None, b"{}")]
    assert seen == [True] * 4
    assert not health.unready()


def test_waiting_ends_when_the_partition_is_let_go(store: Unsteady, sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borders, "AGAIN_S", 0.01)
    border = Border(sealer, Health(60.0), NOTHING)
    store.away = 1_000
    with pytest.raises(Stopping):
        asyncio.run(border.prepare([ANNA], lambda: store.away < 990))
    with pytest.raises(Stopping):
        border.wait(lambda: store.find([b"x"]), lambda: store.away < 980)


def test_what_no_key_opens_leaves_only_its_erasures(sealer: Sealer) -> None:
    border = Border(sealer, Health(60.0), NOTHING)
    asked = encode(Erase(id="e1", received=5_000, by="dpo", reason="anna@example.com wrote", people=[ANNA.decode()]))

    async def run() -> tuple[Any, Any, bytes]:
        sealed = await border.sealed_log([(None, ANNA, b"{}"), (None, ANNA, asked)], lambda: False)
        records = [(number, key, value) for number, (_, key, value) in enumerate(sealed)]
        before = await border.opened(records, lambda: False)
        name = sealed[0][1]
        sealer.retire([name])
        (ring,) = sealer.store.find([name])
        sealer.destroy([(name, key_id) for key_id in ring.retired], 9_000)
        return before, await border.opened(records, lambda: False), name

    before, after, name = asyncio.run(run())
    assert before == [(0, ANNA, b"{}"), (1, ANNA, asked)]
    assert after == [(0, *NOTHING), (1, b"~erased/" + name.hex().encode(), encode(Erase(id="e1", received=5_000)))]
