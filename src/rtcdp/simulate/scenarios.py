"""`rtcdp test DIR`: runs the scenarios beside the definitions through ingest and engine, and says what differs and why."""

from __future__ import annotations

import io
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import watchfiles
from rich.console import Console
from rich.markup import escape

from rtcdp import profile as profiles
from rtcdp.errors import DefinitionErrors
from rtcdp.explanation.explaining import TRIGGER, explain
from rtcdp.folding.engine import Engine
from rtcdp.ingestion.identity import profile_key
from rtcdp.outputs import Cancel
from rtcdp.profile import Profile
from rtcdp.queries.why import show
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.compiling.functions import same
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import read_folder
from rtcdp.rules.loading.scenarios import Expectation, Place, Scenario, Step, uncovered
from rtcdp.simulate.replay import CHANGES, DEAD, TRIGGERS, Replay
from rtcdp.times.timestamps import rfc3339

WIDTH = 110
LOOK_MS = 100


@dataclass(frozen=True)
class Difference:
    """Something that is not as expected.

    place:   file, line, column of the step.
    at:      when, RFC 3339.
    message: what was expected and what is.
    why:     the explanation, as `rtcdp why` prints it; empty where there is none.
    """

    place: Place
    at: str
    message: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended. seconds: how long it took."""

    scenario: Scenario
    differences: list[Difference]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


@dataclass(frozen=True)
class Result:
    """What running the scenarios of a folder gave.

    uncovered: definitions that no scenario shows at work; of all scenarios, also where only some were run.
    """

    folder: Path
    outcomes: list[Outcome]
    uncovered: list[str]

    @property
    def failed(self) -> list[Outcome]:
        """Those with differences."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "ok": not self.failed,
            "scenarios": [
                {
                    "name": outcome.scenario.name,
                    "place": _place(self.folder, outcome.scenario.place),
                    "passed": outcome.passed,
                    "seconds": round(outcome.seconds, 6),
                    "differences": [
                        {"place": _place(self.folder, one.place), "at": one.at, "message": one.message, "why": one.why}
                        for one in outcome.differences
                    ],
                }
                for outcome in self.outcomes
            ],
            "uncovered": self.uncovered,
        }


def run_folder(folder: Path, only: str = "") -> Result:
    """Run the scenarios of a folder whose names contain `only`. Raises DefinitionErrors."""
    loaded = read_folder(folder)
    if loaded.definitions is None:
        raise DefinitionErrors(loaded.errors)
    compiled = compile_definitions(loaded.definitions)
    wanted = [scenario for name, scenario in loaded.scenarios.items() if only.casefold() in name.casefold()]
    outcomes = [run(compiled, scenario) for scenario in wanted]
    return Result(folder, outcomes, uncovered(loaded.definitions, loaded.scenarios.values()))


def run(compiled: Compiled, scenario: Scenario) -> Outcome:
    """Run one scenario."""
    began = time.perf_counter()
    differences = list(_Run(compiled, scenario).differences())
    return Outcome(scenario, differences, time.perf_counter() - began)


@dataclass
class _Seen:
    """What a profile's outputs have said so far; `sent` and `not_sent` since something was expected of it last."""

    segments: set[str] = field(default_factory=set)
    tags: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    not_sent: list[Mapping[str, Any]] = field(default_factory=list)

    def take(self, topic: str, body: Mapping[str, Any]) -> None:
        if topic == TRIGGERS:
            if body["type"] != Cancel.TYPE:  # what was sent was sent
                self.sent.append(body["data"])
            return
        name, kind = body["name"], body["kind"]
        if kind == "entered":
            self.segments.add(name)
        elif kind == "exited":
            self.segments.discard(name)
        elif kind == "tag":
            self.tags[name] = body.get("new")
        elif kind == "stage":
            self.stage = body.get("new") or ""
        elif kind == "not_sent":
            self.not_sent.append(body)


class _Run:
    """One scenario being run."""

    def __init__(self, compiled: Compiled, scenario: Scenario) -> None:
        self._compiled = compiled
        self._definitions: Definitions = compiled.definitions
        self._scenario = scenario
        latest = max((step.at for step in scenario.steps), default=0)
        self._replay = Replay(compiled.definitions, appended=latest, compiled=compiled)
        self._engine = Engine(compiled)
        self._seen: dict[str, _Seen] = {}
        self._refused: list[Mapping[str, Any]] = []

    def differences(self) -> Iterator[Difference]:
        """Go through the steps; yields what is not as expected."""
        for step in self._scenario.steps:
            self._refused = []
            if step.event is not None:
                self._take(self._replay.feed(orjson.dumps(dict(step.event))))
            self._take(self._replay.run_until(step.at))
            expect = step.expect or Expectation()
            messages = self._check_refused(expect)
            if step.expect is not None:
                seen = self._seen.setdefault(self._key(step), _Seen())
                messages = [*messages, *self._check(step, expect, seen)]
                seen.sent, seen.not_sent = [], []
            for message, name in messages:
                yield Difference(step.place, rfc3339(step.at), message, self._why(step, name) if name else "")

    def _take(self, outputs: Iterator[Any]) -> None:
        for output in outputs:
            body = orjson.loads(output.value)
            if output.topic == DEAD:
                self._refused.append(body)
            else:
                key = body["profile"] if output.topic == CHANGES else body["subject"]
                self._seen.setdefault(key, _Seen()).take(output.topic, body)

    def _key(self, step: Step) -> str:
        namespace = "user_id" if step.who[0] == "userId" else "anonymous_id"
        return profile_key("main", namespace, step.who[1]).decode()

    def _check_refused(self, expect: Expectation) -> list[tuple[str, str]]:
        """A refused event is a difference where none was expected."""
        reasons = [letter["reason"] for letter in self._refused]
        if expect.refused and expect.refused not in reasons:
            return [(f"expected the event to be refused ({expect.refused}), but {_listed(reasons, 'it was accepted')}", "")]
        if expect.refused:
            return []
        return [(f"the event was refused ({one['reason']}): {one['detail']}", "") for one in self._refused]

    def _check(self, step: Step, expect: Expectation, seen: _Seen) -> Iterator[tuple[str, str]]:
        """What differs, each with the name of the definition that explains it."""
        for name in expect.inside:
            if name not in seen.segments:
                yield f"expected in {name}, but is not", name
        for name in expect.outside:
            if name in seen.segments:
                yield f"expected not in {name}, but is", name
        for name, value in expect.tags.items():
            found = seen.tags.get(name)
            if not _equal(found, value):
                yield f"expected tag {name} {_value(value)}, but it {_is(found)}", name
        for name, value in expect.features.items():
            found = self._feature(step, name)
            if not _equal(found, value):
                yield f"expected feature {name} {_value(value)}, but it {_is(found)}", name
        if expect.stage and expect.stage != seen.stage:
            yield f"expected stage {expect.stage}, but it is {seen.stage or 'none'}", ""
        yield from self._check_sent(expect, seen)

    def _check_sent(self, expect: Expectation, seen: _Seen) -> Iterator[tuple[str, str]]:
        sent = [data["trigger"] for data in seen.sent]
        if expect.silent and sent:
            yield f"expected nothing to be sent, but {_listed(sent)} was", ""
        for name, wanted in expect.sent.items():
            payloads = [data.get("payload", {}) for data in seen.sent if data["trigger"] == name]
            if not payloads:
                yield f"expected {name} to be sent, but it was not{self._reasons(seen, name)}", TRIGGER + name
            elif not any(all(_equal(payload.get(key), value) for key, value in wanted.items()) for payload in payloads):
                yield f"expected {name} to be sent with {_json(wanted)}, but it was with {_json(payloads[-1])}", ""
        for name, reason in expect.not_sent.items():
            reasons = [body["reason"] for body in seen.not_sent if body["name"] == name]
            if name in sent:
                times = [data["decided"] for data in seen.sent if data["trigger"] == name]
                yield f"expected {name} not to be sent, but it was at {', '.join(times)}", ""
            elif reason and reason not in reasons:
                yield f"expected {name} not to be sent ({reason}), but {_listed(reasons, 'there was no such decision')}", ""

    @staticmethod
    def _reasons(seen: _Seen, name: str) -> str:
        reasons = [body["reason"] for body in seen.not_sent if body["name"] == name]
        return f" ({', '.join(reasons)})" if reasons else ""

    def _profile(self, step: Step) -> Profile:
        key = self._key(step)
        stored = self._replay.state.get(key.encode())
        return Profile(key) if stored is None else profiles.decode(key, stored)

    def _feature(self, step: Step, name: str) -> Any:
        return explain(self._profile(step), self._engine, name, at=step.at).value

    def _why(self, step: Step, name: str) -> str:
        out = io.StringIO()
        console = Console(file=out, width=WIDTH, highlight=False, color_system=None)
        show(explain(self._profile(step), self._engine, name, at=step.at), console)
        return out.getvalue().rstrip()


def _equal(found: Any, wanted: Any) -> bool:
    """Equal values; nothing equals null."""
    if isinstance(found, list | dict) or isinstance(wanted, list | dict):
        return bool(found == wanted)
    return (found is None and wanted is None) or same(found, wanted)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _value(value: Any) -> str:
    return "without a value" if value is None else f"= {_json(value)}"


def _is(value: Any) -> str:
    return "has none" if value is None else f"is {_json(value)}"


def _listed(texts: list[str], none: str = "") -> str:
    return ", ".join(texts) or none


def _place(folder: Path, place: Place) -> str:
    """`PATH:LINE:COLUMN`, which terminals and editors make a link."""
    return f"{folder / place[0]}:{place[1]}:{place[2]}"


# ---- for people and machines -------------------------------------------------------------------------------------------


def print_result(result: Result, console: Console | None = None) -> None:
    """Each scenario with its differences, then a line that sums up."""
    out = console or Console(highlight=False)
    for outcome in result.outcomes:
        mark = "[green]✔[/]" if outcome.passed else "[bold red]✘[/]"
        place = "" if outcome.passed else f"   [dim]{escape(_place(result.folder, outcome.scenario.place))}[/]"
        out.print(f"{mark} {escape(outcome.scenario.name)}{place}", soft_wrap=True)
        for one in outcome.differences:
            out.print(f"    [dim]{escape(_place(result.folder, one.place))}[/]  {one.at}", soft_wrap=True)
            out.print(f"    [red]{escape(one.message)}[/]", soft_wrap=True)
            for line in one.why.splitlines()[1:]:
                out.print(f"      {escape(line)}", soft_wrap=True)
    count, failed = len(result.outcomes), len(result.failed)
    state = f"[bold red]{failed} failed[/]" if failed else "[green]all passed[/]" if count else "[yellow]nothing was run[/]"
    out.print(f"{count} scenario{'s' * (count != 1)}: {state}")
    if result.uncovered:
        out.print(f"[yellow]not shown at work by any scenario:[/] {escape(', '.join(result.uncovered))}", soft_wrap=True)


def watch(folder: Path, only: str = "", console: Console | None = None) -> None:
    """Run the scenarios now and whenever a file below the folder changes, until interrupted."""
    out = console or Console(highlight=False)
    first = True
    # Watching begins before the first run, so that no change falls between the two.
    for changes in watchfiles.watch(folder, raise_interrupt=False, yield_on_timeout=True, rust_timeout=LOOK_MS):
        if not changes and not first:
            continue
        first = False
        out.clear()
        try:
            print_result(run_folder(folder, only), out)
        except DefinitionErrors as errors:
            out.print(f"[red]{escape(str(errors))}[/]", soft_wrap=True)
        out.print(f"[dim]watching {escape(str(folder))}; Ctrl-C ends it[/]")


def junit(result: Result) -> bytes:
    """The result as JUnit XML, as CI servers read it."""
    seconds = sum(outcome.seconds for outcome in result.outcomes)
    counts = {"tests": str(len(result.outcomes)), "failures": str(len(result.failed)), "time": f"{seconds:.3f}"}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": str(result.folder), "errors": "0", **counts})
    for outcome in result.outcomes:
        file, line, _ = outcome.scenario.place
        case = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": str(result.folder),
                "name": outcome.scenario.name,
                "file": str(result.folder / file),
                "line": str(line),
                "time": f"{outcome.seconds:.3f}",
            },
        )
        if outcome.differences:
            failure = ET.SubElement(case, "failure", {"message": outcome.differences[0].message})
            texts = [f"{_place(result.folder, one.place)} {one.at}\n{one.message}\n{one.why}" for one in outcome.differences]
            failure.text = "\n\n".join(texts)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
