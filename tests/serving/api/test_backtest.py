"""A draft tested on the newest part of the log: what is counted, what is told to whom, and where it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from rtcdp.errors import ClusterError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.simulate import recent
from rtcdp.simulate.recent import Backtests, Busy, Job, TooLong
from tests.serving.api.conftest import DEFINITIONS, Served, logged
from tests.worker.conftest import wait_for

PATH = "/v1/definitions/backtest"
DRAFT = {"d.yaml": DEFINITIONS.replace("loyal: orders >= 3", "loyal: orders >= 2").replace("times: 2", "times: 1")}
BUYERS = 24
"""Every second one orders twice."""


@pytest.fixture(scope="module")
def past(still: Served) -> Served:
    """Orders in the log, of two tenants."""
    orders = [f"past{number}" for number in range(BUYERS) for _ in range(1 + number % 2)]
    logged(still, *(("main", user) for user in orders), ("eu", "foreign"))
    return still


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process of its own, which takes its time to begin."""
    monkeypatch.setattr(Backtests, "_made", lambda _, job: recent.measured(job))


def named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in found if one["name"] == name)


def test_a_text_beside_what_is_in_force(past: Served) -> None:
    found = past.ask(PATH, {"files": DRAFT, "days": 1})
    assert found.status == 200, found.body
    told = found.json
    assert (told["events"], told["profiles"], told["cut"]) == (BUYERS * 3 // 2, BUYERS, False)
    assert told["old"]["version"] == past.log.definitions.version != told["new"]["version"]
    loyal = named(told["segments"], "loyal")
    assert loyal["members"] == {"old": 0, "new": BUYERS // 2}
    assert (loyal["enter"], loyal["leave"], loyal["overlap"]) == (BUYERS // 2, 0, 0.0)
    assert len(loyal["entering"]) == 5
    thanks = named(told["triggers"], "thanks")
    assert thanks["sent"] == {"old": BUYERS * 3 // 2, "new": BUYERS}
    assert thanks["not_sent"] == {"cap": BUYERS // 2}
    assert sum(day["new"] for day in thanks["days"].values()) == BUYERS
    entry = next(one for one in past.ask("/v1/audit?what=backtest").json["entries"] if one["about"])
    assert entry["about"]["version"] == told["new"]["version"]


@pytest.mark.usefixtures("here")
def test_a_draft_by_its_version_of_another_tenants_events(past: Served) -> None:
    version = past.ask("/v1/drafts", {"files": DRAFT}).json["version"]
    found = past.ask(f"{PATH}?tenant=eu", {"version": version}).json
    assert (found["events"], found["new"]["version"]) == (1, version)
    assert past.ask(f"/v1/drafts/{version}/withdraw", {}).status == 200
    assert past.ask(PATH, {"version": version}).status == 404


@pytest.mark.usefixtures("here")
def test_small_groups_and_people_are_for_who_may_see_them(past: Served) -> None:
    analyst = past.client("definitions:backtest", name="author")
    told = analyst(PATH, {"files": DRAFT}).json
    loyal = named(told["segments"], "loyal")
    assert loyal["members"] == {"old": None, "new": 10}
    assert (loyal["entering"], loyal["overlap"], told["profiles"]) == ([], None, 20)
    assert past.client("definitions", "segments")(PATH, {"files": DRAFT}).status == 403
    assert analyst(f"{PATH}?tenant=eu", {"files": DRAFT}).status == 403


def test_what_cannot_be_tested(past: Served) -> None:
    assert past.ask(PATH, {}).status == 400
    assert past.ask(PATH, {"files": DRAFT, "version": "0" * 16}).status == 400
    wrong = past.ask(PATH, {"files": {"d.yaml": "segments: {a: ordrs >= 1}"}})
    assert wrong.status == 422
    assert "ordrs" in wrong.json["errors"][0]


def job(past: Served, most: int = 1_000) -> Job:
    normal, now = past.log.definitions.normal, now_ms()
    return Job(past.settings, normal, normal, "main", now - 86_400_000, now, most)


def test_of_too_many_the_newest_are_read(past: Served) -> None:
    whole = recent.measured(job(past))
    assert (whole.found.events, whole.cut) == (BUYERS * 3 // 2, False)
    some = recent.measured(job(past, most=5))
    assert some.cut
    assert some.found.events <= 5
    assert some.since > whole.since


def test_one_at_a_time_and_not_for_ever(past: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLong):
        Backtests(0.01).make(job(past))
    backtests = Backtests(60)
    monkeypatch.setattr(recent, "_work", _sleeps)
    ended: list[BaseException] = []

    def make() -> None:
        try:
            backtests.make(job(past))
        except ClusterError as error:
            ended.append(error)

    thread = _started(make)
    wait_for(lambda: backtests._child is not None and backtests._child.pid, what="the child")
    with pytest.raises(Busy):
        backtests.make(job(past))
    backtests.close()
    thread.join(20)
    assert "was ended" in str(ended[0])


def _sleeps(answer: object, job: Job) -> None:
    time.sleep(600)  # the child is killed long before


def _started(work: Callable[[], None]) -> Any:
    thread = Thread(target=work)
    thread.start()
    return thread
