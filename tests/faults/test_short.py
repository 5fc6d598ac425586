"""A short form of the rows 1, 4 and 8, each with its control; `make test-faults` plays these and all rows, and for long.

The everyday run plays the first alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from faults import crashes, data
from faults.stage import Result, Stage, red

pytestmark = pytest.mark.timeout(120)  # the first test waits for all rows
EVERYDAY = "kills"
ROWS: Mapping[str, Callable[[Stage], Result]] = {
    "kills": crashes.short_row1,
    "sleeper": crashes.short_row4,
    "poison": data.short_row8,
}
CONTROLS: Mapping[str, Callable[[Stage, Result], None]] = {
    "kills": crashes.kill_control,
    "sleeper": crashes.sleeper_control,
    "poison": data.poison_control,
}


def each_row() -> list[object]:
    """Names of rows; all but the everyday one are left to `make test-faults`."""
    return [name if name == EVERYDAY else pytest.param(name, marks=pytest.mark.faults) for name in ROWS]


@pytest.fixture(scope="module")
def played(
    kafka: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Result | bool]]]:
    """All that were asked for beside each other: each mostly waits."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    stage = Stage(kafka, tmp_path_factory.mktemp("faults"), seed=1)
    with ThreadPoolExecutor(2 * len(asked)) as pool:
        futures: dict[str, Future[Result | bool]] = {}
        for name in asked:
            futures[name] = pool.submit(ROWS[name], stage)
            futures[f"{name}-control"] = pool.submit(lambda play=CONTROLS[name]: red(lambda result: play(stage, result)))
        yield futures
    stage.close()


@pytest.mark.parametrize("name", each_row())
def test_nothing_is_lost_and_nothing_comes_twice(played: dict[str, Future[Result | bool]], name: str) -> None:
    result = played[name].result()
    assert isinstance(result, Result)
    assert result.passed, result.failures
    assert result.faults


@pytest.mark.parametrize("name", each_row())
def test_without_its_protection_it_goes_wrong(played: dict[str, Future[Result | bool]], name: str) -> None:
    assert played[f"{name}-control"].result() is True
