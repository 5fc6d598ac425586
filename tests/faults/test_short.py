"""A short form of the rows 1, 4 and 8, each with its control; `make test-faults` plays all rows, and for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from faults import crashes, data
from faults.stage import Result, Stage, red

pytestmark = pytest.mark.timeout(120)  # the first test waits for all rows
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


@pytest.fixture(scope="module")
def played(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Result | bool]]]:
    """All of them beside each other: each mostly waits."""
    stage = Stage(kafka, tmp_path_factory.mktemp("faults"), seed=1)
    with ThreadPoolExecutor(3) as pool:
        futures: dict[str, Future[Result | bool]] = {}
        for name, row in ROWS.items():
            futures[name] = pool.submit(row, stage)
        for name, control in CONTROLS.items():
            futures[f"{name}-control"] = pool.submit(lambda play=control: red(lambda result: play(stage, result)))
        yield futures
    stage.close()


@pytest.mark.parametrize("name", ROWS)
def test_nothing_is_lost_and_nothing_comes_twice(played: dict[str, Future[Result | bool]], name: str) -> None:
    result = played[name].result()
    assert isinstance(result, Result)
    assert result.passed, result.failures
    assert result.faults


@pytest.mark.parametrize("name", CONTROLS)
def test_without_its_protection_it_goes_wrong(played: dict[str, Future[Result | bool]], name: str) -> None:
    assert played[f"{name}-control"].result() is True
