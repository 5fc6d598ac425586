"""`rtcdp backtest DIR --against OLD_DIR EVENTS`: the live evaluator over the past, under one or two sets of definitions.

Two versions are measured in two processes.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rtcdp.errors import SettingError
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import definitions_from_normal, load
from rtcdp.settings.config import Settings
from rtcdp.simulate.comparing import Backtest, compare
from rtcdp.simulate.history import TOPIC, History
from rtcdp.simulate.measuring import Side, measure
from rtcdp.simulate.replay import parse_until
from rtcdp.times import timestamps


def history(
    settings: Settings, events: str, *, is_log: bool, mapping: str | None, since: str | None, until: str | None
) -> History:
    """The past that a command line names. Records of the topic `profile-events` are known for what they are.

    Raises SettingError.
    """
    if not events.startswith(TOPIC):
        if since or until:
            raise SettingError("--from, --to: these choose a range of a topic; a file is read whole")
        return History(events, is_log, mapping, settings=settings)
    if mapping:
        raise SettingError("--map: a topic needs no mapping")
    is_log = is_log or events.removeprefix(TOPIC) == settings.profile_events
    return History(events, is_log, None, settings.kafka(), _instant("from", since), _instant("to", until), settings)


def _instant(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    ms = timestamps.parse(text)
    if ms is None:
        raise SettingError(f"--{option}: {text!r} is no time (RFC 3339)")
    return ms


def run(folder: Path, against: Path | None, history: History, until: str | None = None) -> Backtest:
    """Measure one folder, or two side by side.

    until: as for `rtcdp replay`: RFC 3339, or `+30d` after the last event.

    Raises DefinitionErrors, SettingError, ClusterError.
    """
    if history.events == "-":
        raise SettingError("backtest: the past is read more than once and cannot come from standard input")
    end = parse_until(until) if until else None
    new = load(folder)
    if against is None:
        return compare(measure(compile_definitions(new), history.rows(new), end), None)
    old = load(against)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        sides = [pool.submit(_measure_apart, definitions.normal, history, end) for definitions in (new, old)]
        return compare(sides[0].result(), sides[1].result())


def _measure_apart(normal: str, history: History, until: tuple[int, bool] | None) -> Side:
    """Measure in a process of its own; definitions travel as their normal form."""
    definitions: Definitions = definitions_from_normal(normal)
    return measure(compile_definitions(definitions), history.rows(definitions), until)
