"""The engine without Kafka."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from rtcdp import records
from rtcdp.errors import ClusterError, SettingError
from rtcdp.ingestion.ingestor import Accepted
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.sealing.master import make_key_file
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import sealed
from rtcdp.settings.config import Settings
from rtcdp.simulate.demo import shop_definitions
from rtcdp.simulate.history import History
from rtcdp.simulate.oracle import Output, compare
from rtcdp.simulate.replay import Replay, ReplayOptions, in_order, parse_until, replay, replay_log, run
from rtcdp.simulate.shop import DAY_MS, Shop
from rtcdp.simulate.sources import LogRecord, write_record

RULES = """
features:
  orders: {count: Order Completed}
  last_order: {last_time: Order Completed}
segments:
  buyers: orders >= 1
  lapsed: orders >= 1 and since(last_order) > 30d
triggers:
  thanks: {on: Order Completed}
  win_back: {on: {entered: lapsed}}
"""
ORDER = b'{"type":"track","event":"Order Completed","userId":"u1","messageId":"m1","timestamp":"2025-01-01T00:00:00Z"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


@pytest.fixture(scope="module")
def shop_rules() -> Definitions:
    return load(shop_definitions())


def bodies(outputs: Iterator[Output]) -> list[dict[str, Any]]:
    return [orjson.loads(output.value) for output in outputs]


def test_an_event_and_time_after_it(folder: Path) -> None:
    found = bodies(replay([ORDER], load(folder), until=1_740_000_000_000))
    names = [body.get("name") or body["data"]["trigger"] for body in found]
    assert names == ["buyers", "thanks", "lapsed", "win_back"]
    assert found[2]["at"] == "2025-01-31T00:00:00.001Z"
    assert found[2]["cause"] == "time"


def test_without_until_time_stands_still_after_the_last_event(folder: Path) -> None:
    assert len(bodies(replay([ORDER], load(folder)))) == 2


def test_what_cannot_be_used_is_a_dead_letter_and_harms_nothing(folder: Path) -> None:
    outputs = list(replay([b"{", None, ORDER], load(folder)))
    assert [output.topic for output in outputs] == ["events-dlq", "events-dlq", "profile-changes", "triggers"]
    assert orjson.loads(outputs[1].value)["origin"]["offset"] == 1


def test_ticks_in_between_change_nothing(shop_rules: Definitions) -> None:
    """Outputs are at exact instants, whenever somebody looks."""
    shop = Shop(9, flaws=0.05)
    values = [(value, shop.now) for _, value in shop.records(3_000)]
    until = shop.now + 40 * DAY_MS
    often, seldom = Replay(shop_rules), list(replay((value for value, _ in values), shop_rules, until))
    outputs: list[Output] = []
    for number, (value, now) in enumerate(values):
        outputs += often.feed(value)
        if number % 50 == 0:
            outputs += often.run_until(now)
    outputs += often.run_until(until)
    differences = compare(seldom, outputs)
    assert differences.lost == 0, differences
    assert len(seldom) > 3_000


def test_outputs_of_a_profile_come_in_order_of_seq(shop_rules: Definitions) -> None:
    shop = Shop(10)
    last: dict[bytes, int] = {}
    for output in replay((value for _, value in shop.records(3_000)), shop_rules, shop.now + DAY_MS):
        if output.topic != "events-dlq":
            seq = orjson.loads(output.value)["seq"]
            assert seq > last.get(output.key, 0)
            last[output.key] = seq


def test_the_log_that_a_replay_folded_gives_the_same_again(shop_rules: Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[LogRecord] = []
    engine = Replay(shop_rules)
    fold = engine._log.fold

    def recording(number: int, offset: int, key: bytes, value: bytes) -> Iterator[Output]:
        log.append(LogRecord(number, offset, key.decode(), value.decode()))
        return fold(number, offset, key, value)

    monkeypatch.setattr(engine._log, "fold", recording)
    shop = Shop(11, flaws=0)
    outputs = [output for _, value in shop.records(1_000) for output in engine.feed(value)]
    outputs += engine.run_until(shop.now + 40 * DAY_MS)
    assert list(replay_log(log, shop_rules)) == outputs
    assert log[-1].key == "~tick"


def test_a_log_under_unknown_definitions_is_refused(folder: Path) -> None:
    switch = records.encode(records.Switch(number=1, version="feedbeef00000000", time=5))
    with pytest.raises(SettingError, match="feedbeef00000000"):
        list(replay_log([LogRecord(0, 0, "~switch", switch.decode())], load(folder)))


def test_a_log_may_switch_between_the_versions_given(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "rules.yaml").write_text("features: {orders: {count: Order Completed}}\nsegments: {customers: orders >= 1}\n")
    first, second = load(folder), load(other)
    switch = records.encode(records.Switch(number=1, version=second.version, time=1_735_689_600_000))
    event = records.Event(
        received=1_735_689_600_000, occurred=1_735_689_600_000, source="s/0", offset=0, id="m", event="Order Completed"
    )
    log = [
        LogRecord(0, 0, "main/user_id:u", records.encode(event).decode()),
        LogRecord(0, 1, "~switch", switch.decode()),
        LogRecord(0, 2, "~tick", records.encode(records.Tick(time=1_735_689_601_000, wake=10)).decode()),
    ]
    found = [(body.get("name"), body.get("cause")) for body in bodies(replay_log(log, first, second))]
    assert ("customers", "definitions") in found


def test_the_command_reads_and_prints(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(ORDER + b"\n")
    out = io.BytesIO()
    summary = run(ReplayOptions(str(path), (folder,), "+31d"), out)
    lines = out.getvalue().splitlines()
    assert [orjson.loads(line).get("name") for line in lines] == ["buyers", None, "lapsed", None]
    assert summary == "2 profile changes, 2 triggers, 0 dead letters"


def test_a_csv_file_needs_a_mapping(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n")
    with pytest.raises(SettingError, match="--map"):
        run(ReplayOptions(str(path), (folder,)), io.BytesIO())


def test_times_to_run_to() -> None:
    assert parse_until("2025-01-01T00:00:00Z") == (1_735_689_600_000, False)
    assert parse_until("+36h") == (36 * 3_600_000, True)
    with pytest.raises(SettingError, match="soon"):
        parse_until("soon")


def test_in_order_keeps_letters_last() -> None:
    from rtcdp.folding.fold import Fold

    fold = Fold(changes=[(b"k", b'{"seq":3}')], triggers=[(b"k", b'{"seq":2}')], letters=[(b"o", b"{}")])
    assert [output.value for output in in_order(fold)] == [b'{"seq":2}', b'{"seq":3}', b"{}"]


def test_a_sealed_log_is_opened_and_who_was_erased_is_left_out(shop_rules: Definitions, tmp_path: Path) -> None:
    make_key_file(tmp_path / "key")
    settings = Settings(encryption="sqlite", keys_file=tmp_path / "keys.db", master_key_file=tmp_path / "key")
    sealer = sealer_of(settings, 1, create=True)
    assert sealer is not None
    engine = Replay(shop_rules)
    clear: list[tuple[bytes, bytes]] = []
    shop = Shop(12, flaws=0)
    for _, value in shop.records(400):
        found = engine._ingestor.ingest(value, "replay/0", len(clear), shop.now)
        assert isinstance(found, Accepted)
        clear.append((found.key, found.value))
    kept = [LogRecord.of(0, place, *one) for place, one in enumerate(sealed(clear, sealer))]
    assert all(record.base64 for record in kept)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(write_record(record) for record in kept))

    def replayed(settings: Settings) -> tuple[list[bytes], str]:
        out = io.BytesIO()
        options = ReplayOptions(str(path), (shop_definitions(),), profile_events=True, settings=settings)
        told = run(options, out)
        return out.getvalue().splitlines(), told

    whole = [output.value for output in replay_log([LogRecord.of(0, n, *one) for n, one in enumerate(clear)], shop_rules)]
    assert replayed(settings)[0] == whole
    with pytest.raises(ClusterError, match="give its settings"):
        replayed(Settings())

    gone = Counter(key for key, _ in clear).most_common(1)[0][0]
    name = sealer.name(gone).name
    sealer.retire([name])
    (ring,) = sealer.store.find([name])
    sealer.destroy([(name, one) for one in ring.retired], 1)
    lines, told = replayed(settings)
    left = [record for record in enumerate(clear) if record[1][0] != gone]
    assert lines == [output.value for output in replay_log([LogRecord.of(0, n, *one) for n, one in left], shop_rules)]
    assert len(lines) < len(whole)
    assert told.endswith(f"; {len(clear) - len(left)} records of people who were erased are left out")
    assert [one for _, one in History(str(path), is_log=True, settings=settings).rows(shop_rules)] == [
        one[1] for _, one in left
    ]
