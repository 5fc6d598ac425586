"""Published counts: noise as wide as promised, the same for everybody, and a budget that no restart forgets."""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rtcdp.errors import ClusterError, SettingError
from rtcdp.serving.api.noise import Noise
from rtcdp.serving.api.releases import DAY_MS, HOUR_MS, Exact, Ledger, Release, Releases
from rtcdp.settings.config import Settings
from tests.serving.api.conftest import Served

EXACT = Exact("v", {"buyers": 1_000, "loyal": 3}, {"new": 500})
NOON = 20_000 * DAY_MS + 12 * HOUR_MS


def test_noise_is_as_wide_as_epsilon_wants() -> None:
    """Laplace noise of scale b is off by b on average, and within the promised bound in 95 of 100 cases."""
    noise = Noise(0.5)
    assert noise.scale(3) == 6.0
    off = [count - 1_000 for count in noise.added([1_000] * 4_000, 3)]
    assert abs(statistics.fmean(off)) < 1
    assert 5.3 < statistics.fmean(map(abs, off)) < 6.7
    within = sum(abs(one) <= noise.off_by(3) for one in off) / len(off)
    assert 0.93 < within < 0.97
    assert noise.added([], 1) == []
    assert min(noise.added([0] * 200, 3)) == 0, "nobody reads of -3 people"


def test_without_opendp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(SettingError, match=r"rtcdp\[dp\]"):
        Noise(1.0)


@pytest.fixture
def settings(kafka: str, topic: Callable[..., str]) -> Settings:
    name = topic(1, {"message.timestamp.type": "LogAppendTime"}, "releases")
    return Settings(bootstrap=kafka, releases=name, counts_epsilon=0.5, counts_budget=1.0, counts_budget_days=30)


def never() -> Exact:
    raise AssertionError("no release is due")


def test_a_release_is_the_same_for_its_period_and_after_restarts(settings: Settings) -> None:
    first, spent, more = Releases(settings, lambda: NOON).current("main", lambda: EXACT)
    assert (spent, more) == (0.5, True)
    again = Releases(settings, lambda: NOON + HOUR_MS).current("main", never)
    assert again == (first, 0.5, True)
    assert first is not None
    assert first.segments != EXACT.segments or first.stages != EXACT.stages, "one in millions has no noise at all"
    other, spent, _ = Releases(settings, lambda: NOON).current("eu", lambda: EXACT)
    assert (other is not None and other.tenant, spent) == ("eu", 0.5), "a budget of its own"


def test_a_spent_budget_ends_releases_until_time_has_passed(settings: Settings) -> None:
    for day in range(2):
        made, _, _ = Releases(settings, lambda day=day: NOON + day * DAY_MS).current("main", lambda: EXACT)
        assert made is not None
        last = made
    assert Releases(settings, lambda: NOON + 2 * DAY_MS).current("main", never) == (last, 1.0, False)
    late, spent, _ = Releases(settings, lambda: NOON + 30 * DAY_MS).current("main", lambda: EXACT)
    assert late is not None
    assert (late.at, spent) == (NOON + 30 * DAY_MS, 1.0), "the first day's is 30 days old"


def test_of_two_servers_at_the_same_time_one_makes_the_release(settings: Settings) -> None:
    both = threading.Barrier(2)
    seen: list[Any] = []

    def counted() -> Exact:
        both.wait(10)
        return EXACT

    def ask() -> None:
        seen.append(Releases(settings, lambda: NOON).current("main", counted))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen[0] == seen[1]
    assert seen[0][1] == 0.5


def test_a_ledger_that_cannot_be_read_publishes_nothing(settings: Settings) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(settings.releases, b"{", b"main/1", 0)
    producer.flush(10)
    with pytest.raises(ClusterError, match="no release"):
        Releases(settings, lambda: NOON).current("main", lambda: EXACT)


def test_over_http(still: Served, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    ask = still.client("counts", name="newspaper")
    assert ask("/v1/counts").status == 409, "it is off unless told"
    publishing = next(one for one in still.server.operations if one.name == "counts").handler.__self__
    mine = still.settings.model_copy(
        update={name: getattr(settings, name) for name in ("releases", "counts_epsilon", "counts_budget", "counts_budget_days")}
    )
    monkeypatch.setattr(publishing, "_settings", mine)
    monkeypatch.setattr(publishing, "_releases", Releases(mine))
    found = ask("/v1/counts").json
    assert ask("/v1/counts").json == found
    assert found["budget"] == {"epsilon": 1.0, "spent": 0.5, "days": 30}
    assert set(found["segments"]) == {"buyers", "loyal"}
    assert 15 < found["off_by"] < 20, "scale 6: two segments and a stage"
    assert all(count is None or count >= 10 for count in found["segments"].values())
    for path in ("/v1/segments", "/v1/profiles/user_id/ann", "/v1/flows", "/v1/stream", "/v1/audit"):
        assert ask(path).status == 403, path


def test_the_ledger_keeps_the_first_of_a_period(settings: Settings) -> None:
    ledger = Ledger(settings)
    one = Release(tenant="main", period=7, at=1, epsilon=1, changed=1, version="v", segments={"a": 1}, stages={})
    for size in (1, 2):
        ledger.write(Release(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "segments": {"a": size}}))
    assert ledger.releases() == {("main", 7): one}
