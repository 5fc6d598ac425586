"""The back-test: what it finds is what a replay publishes; two versions beside each other; files and topics."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from confluent_kafka import Producer
from rich.console import Console

from rtcdp.errors import SettingError
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.loading.folder import load
from rtcdp.settings.config import Settings
from rtcdp.simulate.backtest import history, run
from rtcdp.simulate.backtest_view import show
from rtcdp.simulate.comparing import compare
from rtcdp.simulate.demo import shop_definitions
from rtcdp.simulate.history import History, Row
from rtcdp.simulate.measuring import Side, measure
from rtcdp.simulate.oracle import memberships
from rtcdp.simulate.replay import replay
from rtcdp.simulate.shop import Shop
from rtcdp.simulate.sources import LogRecord, write_record

DAY = 86_400_000
FOLDER = shop_definitions()


@pytest.fixture(scope="module")
def past() -> tuple[list[bytes], int]:
    """Raw events of the shop, and the time of the last."""
    shop = Shop(seed=7)
    values = [value for _, value in shop.records(1_500) if value is not None and b"\n" not in value]
    return values, shop.now


@pytest.fixture(scope="module")
def rows(past: tuple[list[bytes], int]) -> list[Row]:
    definitions = load(FOLDER)
    ingestor = Ingestor(definitions.tracking, definitions.identity, Source("t", time="event"))
    found = [ingestor.ingest(value, "t/0", offset, past[1] + DAY) for offset, value in enumerate(past[0])]
    return [(one.key, one.value) for one in found if isinstance(one, Accepted)]


@pytest.fixture(scope="module")
def file(past: tuple[list[bytes], int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("past") / "events.jsonl"
    path.write_bytes(b"\n".join(past[0]))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with one segment wider, one gone, one new, and a shorter wait."""
    folder = tmp_path_factory.mktemp("other")
    for path in FOLDER.glob("*.yaml"):
        if path.name != "scenarios.yaml":
            (folder / path.name).write_text(path.read_text("utf-8"), "utf-8")
    segments = (folder / "segments.yaml").read_text("utf-8")
    segments = segments.replace("views_7d >= 10", "views_7d >= 5").replace("  likely_bots:", "  robots:")
    (folder / "segments.yaml").write_text(segments, "utf-8")
    triggers = (folder / "triggers.yaml").read_text("utf-8")
    (folder / "triggers.yaml").write_text(triggers.replace("after: 1h", "after: 1s").replace("likely_bots", "robots"), "utf-8")
    return folder


def test_it_finds_what_a_replay_publishes(past: tuple[list[bytes], int], rows: list[Row]) -> None:
    definitions, end = load(FOLDER), past[1] + 20 * DAY
    outputs = list(replay(past[0], definitions, end, appended=past[1] + DAY))
    inside = defaultdict(set)
    for profile, segment in memberships(outputs):
        inside[segment].add(profile)
    side = measure(compile_definitions(definitions), rows, (end, False))
    assert {name: {side.keys[place] for place in places} for name, places in side.members.items() if places} == inside
    bodies = [orjson.loads(output.value) for output in outputs if output.topic == "profile-changes"]
    side.moves = {name: moves for name, moves in side.moves.items() if "identity" not in moves}
    assert sum(body["kind"] == "identity" for body in bodies) > 10, "control: identifiers became one person"
    assert {name: sum(moves.values()) for name, moves in side.moves.items()} == dict(
        Counter(
            body.get("new", "") if body["kind"] == "stage" else body["name"]
            for body in bodies
            if body["kind"] not in ("not_sent", "identity")
        )
    )
    ever = {(body["name"], body["profile"]) for body in bodies if body["kind"] == "entered"}
    assert {name: count for name, count in side.ever.items() if count} == dict(Counter(name for name, _ in ever))
    reasons = Counter((body["name"], body["reason"]) for body in bodies if body["kind"] == "not_sent")
    assert {(name, reason): count for name, held in side.held.items() for reason, count in held.items()} == dict(reasons)
    sent = Counter(orjson.loads(output.value)["data"]["trigger"] for output in outputs if output.topic == "triggers")
    assert {name: sum(days.values()) for name, days in side.fires.items() if days} == dict(sent)
    assert sum(sent.values()) > 20, "control: there was something to find"


def test_two_versions_beside_each_other(file: Path, other: Path) -> None:
    found = run(other, FOLDER, History(str(file)))
    assert found.old is not None
    assert found.new.version == load(other).version
    assert found.old.version == load(FOLDER).version
    wider = found.segments["window_shoppers"]
    assert wider.enter
    assert wider.leave == 0
    assert wider.new == (wider.old or 0) + wider.enter
    assert wider.overlap == pytest.approx((wider.old or 0) / wider.new)
    assert len(wider.entering) == min(5, wider.enter)
    assert found.segments["buyers"].overlap == 1.0
    assert (found.segments["likely_bots"].new, found.segments["robots"].old) == (None, None)
    cart = found.triggers["abandoned_cart"]
    assert cart.old
    assert cart.new
    assert cart.old != cart.new
    assert found.triggers["welcome"].old == found.triggers["welcome"].new
    assert found.new.bytes_p50 <= found.new.bytes_p99 <= found.new.bytes_max
    text = printed(found)
    assert "window_shoppers" in text
    assert "abandoned_cart" in text
    assert "█" in text
    assert msgspec.json.encode(found)


def printed(found: Any) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=160))
    return out.getvalue()


def test_one_version_alone(file: Path) -> None:
    found = run(FOLDER, None, History(str(file)), until="+30d")
    assert found.old is None
    assert found.segments["buyers"].old is None
    assert found.segments["buyers"].new
    text = printed(found)
    assert "members" in text
    assert "overlap" not in text


def test_it_says_what_the_past_is_too_short_for_and_what_a_switch_leaves_behind(tmp_path: Path) -> None:
    def folder(name: str, days: int, most: int) -> Path:
        path = tmp_path / name
        path.mkdir()
        features = f"features:\n  a: {{count: A, within: 3d}}\n  b: {{count: B, within: {days}d}}\n  c: {{count: C}}\n"
        (path / "all.yaml").write_text(f"{features}segments:\n  s: a >= {most} and b >= 1\n  t: c >= 1\n")
        return path

    past = tmp_path / "past.jsonl"
    events = [{"type": "track", "event": "A", "userId": "u", "timestamp": f"2026-03-0{day}T00:00:00Z"} for day in (1, 5)]
    past.write_bytes(b"\n".join(map(orjson.dumps, events)))
    found = run(folder("new", 2, 5), folder("old", 1, 2), History(str(past)))
    assert (found.warming, found.short) == ({"a": "3d", "b": "2d"}, {}), "a counts further, b is another feature"
    found = run(folder("fewer", 20, 1), tmp_path / "old", History(str(past)))
    assert (found.warming, found.short) == ({"b": "20d"}, {"b": "20d"})
    assert "the past is shorter than the window of b (20d)" in printed(found)


def test_profiles_that_only_one_version_knows() -> None:
    """Other identity rules give other keys: members are told apart by them."""
    from array import array

    old = Side("old", keys=["a", "b", "c"], members={"s": array("I", [0, 1])})
    new = Side("new", keys=["b", "d"], members={"s": array("I", [0, 1])})
    found = compare(new, old).segments["s"]
    assert (found.old, found.new, found.enter, found.leave, found.entering) == (2, 2, 1, 1, ["d"])
    assert found.overlap == pytest.approx(1 / 3)


def test_a_range_of_a_topic(kafka: str, topic: Callable[..., str], rows: list[Row], tmp_path: Path) -> None:
    name = topic(2)
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
    start = 1_700_000_000_000
    for place, (key, value) in enumerate(rows):
        producer.produce(name, value, key, timestamp=start + place)
    producer.produce(name, b'{"kind":"tick","time":1,"wake":1}', b"~tick", timestamp=start)
    producer.flush()
    settings = Settings(bootstrap=kafka, profile_events=name)
    compiled = compile_definitions(load(FOLDER))
    whole = measure(
        compiled, history(settings, f"topic:{name}", is_log=False, mapping=None, since=None, until=None).rows(load(FOLDER))
    )
    assert whole.events == len(rows)
    lines = [write_record(LogRecord(0, place, key.decode(), value.decode())) for place, (key, value) in enumerate(rows)]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    same = measure(compiled, History(str(tmp_path / "log.jsonl"), is_log=True).rows(load(FOLDER)))
    assert {n: len(places) for n, places in whole.members.items()} == {n: len(places) for n, places in same.members.items()}
    assert whole.fires == same.fires
    part = History(f"topic:{name}", is_log=True, kafka=settings.kafka(), since=start + 100, until=start + 300)
    assert measure(compiled, part.rows(load(FOLDER))).events == 200


def test_bad_requests_are_one_sentence(tmp_path: Path) -> None:
    settings = Settings()
    with pytest.raises(SettingError, match="--from"):
        history(settings, "file", is_log=False, mapping=None, since="2026-01-01", until=None)
    with pytest.raises(SettingError, match="'soon' is no time"):
        history(Settings(bootstrap="b:1"), "topic:t", is_log=False, mapping=None, since="soon", until=None)
    with pytest.raises(SettingError, match="standard input"):
        run(FOLDER, None, History("-"))
    with pytest.raises(SettingError, match="cannot be read"):
        run(FOLDER, None, History(str(tmp_path / "none")))
