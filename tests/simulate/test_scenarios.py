"""`rtcdp test`: what passes, what differs and how it is told; every definition of the examples is shown at work."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from rtcdp.errors import DefinitionErrors
from rtcdp.simulate.scenarios import Result, junit, print_result, run_folder, watch

ROOT = Path(__file__).parents[2]
NO_DEFINITIONS = {"destinations"}  # of deliveries
EXAMPLES = sorted(p for p in (ROOT / "examples").iterdir() if list(p.glob("*.yaml")) and p.name not in NO_DEFINITIONS)
PAGE = (ROOT / "docs" / "scenarios.md").read_text("utf-8")

DEFINITIONS = """
features:
  orders: {count: Order Completed}
  views_1h: {count: Product Viewed, within: 1h}
  spend: {sum: properties.revenue, of: Order Completed}
  unseen: {count: Never}
tags: {band: {value: "'high' if spend > 100 else 'low'", when: orders >= 1}}
segments: {buyers: orders >= 1, busy: views_1h >= 2}
lifecycle: {stages: [{loyal: orders >= 2}, {new: "true"}]}
triggers:
  thanks: {on: Order Completed, cap: {times: 1, per: 1d}, payload: {spend: spend, id: properties.id}}
  nudge: {on: Product Viewed, after: 1h, unless: Order Completed}
tracking: {events: {Order Completed: {violation: dead-letter, properties: {revenue: {type: number, required: true}}}}}
scenarios:
"""
Run = Callable[[str], Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def make(steps: str) -> Result:
        text = DEFINITIONS + "  one:\n" + "".join(f"    - {line.strip()}\n" for line in steps.strip().splitlines())
        (tmp_path / "all.yaml").write_text(text, "utf-8")
        return run_folder(tmp_path)

    return make


def messages(result: Result) -> list[str]:
    return [one.message for outcome in result.outcomes for one in outcome.differences]


BUY = "{event: Order Completed, properties: {revenue: 60, id: o1}"


def test_what_is_as_expected_passes(run: Run) -> None:
    result = run(f"""
        {BUY}, expect: {{in: buyers, not_in: busy, tags: {{band: low}}, sent: {{thanks: {{spend: 60}}}}}}}}
        {BUY}, expect: {{tags: {{band: high}}, features: {{orders: 2}}, not_sent: {{thanks: cap}}}}}}
        {{at: +1d, expect: {{sent: []}}}}
        {BUY}, expect: {{sent: thanks}}}}
    """)
    assert messages(result) == []
    assert result.uncovered == [
        "feature unseen",
        "feature views_1h",
        "segment busy",
        "stage loyal",
        "stage new",
        "trigger nudge",
    ]


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ("in: busy", "expected in busy, but is not"),
        ("not_in: buyers", "expected not in buyers, but is"),
        ("tags: {band: high}", 'expected tag band = "high", but it is "low"'),
        ("tags: {band: null}", 'expected tag band without a value, but it is "low"'),
        ("features: {orders: 2}", "expected feature orders = 2, but it is 1"),
        ("features: {spend: true}", "expected feature spend = true, but it is 60"),
        ("sent: nudge", "expected nudge to be sent, but it was not"),
        ("sent: []", "expected nothing to be sent, but thanks was"),
        ("sent: {thanks: {id: o2}}", 'expected thanks to be sent with {"id":"o2"}, but it was with {"id":"o1","spend":60}'),
        ("not_sent: thanks", "expected thanks not to be sent, but it was at 2026-03-02T09:00:00.000Z"),
        ("not_sent: {nudge: cap}", "expected nudge not to be sent (cap), but there was no such decision"),
        ("stage: loyal", "expected stage loyal, but it is new"),
        ("refused: violation", "expected the event to be refused (violation), but it was accepted"),
    ],
)
def test_what_differs_is_told(run: Run, expect: str, told: str) -> None:
    result = run(f"{BUY}, expect: {{{expect}}}}}")
    assert messages(result) == [told]
    (difference,) = result.outcomes[0].differences
    assert difference.place[1] == DEFINITIONS.count("\n") + 2
    if " busy" in told or "nudge to be" in told:
        assert "views_1h >= 2" in difference.why or "nothing waits" in difference.why


def test_a_refused_event_fails_where_it_is_not_expected(run: Run) -> None:
    refused = "{event: Order Completed, properties: {id: o1}"
    assert messages(run(f"{refused}, expect: {{refused: violation, not_in: buyers}}}}")) == []
    (told,) = messages(run(refused + "}"))
    assert told.startswith("the event was refused (violation)")


def test_late_and_repeated_messages_and_other_people(run: Run) -> None:
    view = "{event: Product Viewed"
    result = run(f"""
        {view}, occurred: -59m, message_id: m1}}
        {view}, message_id: m1, expect: {{not_in: busy}}}}
        {view}, expect: {{in: busy}}}}
        {view}, user: ann, expect: {{not_in: busy}}}}
        {view}, anonymous: device, times: 2, expect: {{in: busy, sent: []}}}}
        {{at: +1m, expect: {{not_in: busy}}}}
    """)
    assert messages(result) == []


def test_the_report_for_people_and_for_ci(run: Run) -> None:
    result = run(f"{BUY}, expect: {{in: busy}}}}")
    console = Console(width=200, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        print_result(result, console)
    text = captured.get()
    assert "✘ one" in text
    assert "views_1h must reach 2 (now 0): 2 more Product Viewed" in text
    assert "1 scenario: 1 failed" in text
    case = ET.fromstring(junit(result)).find("./testsuite/testcase")
    assert case is not None
    assert case.get("name") == "one"
    assert case.find("failure") is not None
    assert result.as_json()["ok"] is False


def test_wrong_definitions_are_no_result(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("segments: {a: b}")
    with pytest.raises(DefinitionErrors):
        run_folder(tmp_path)


def test_watching_runs_again_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("features: {a: {count: A}}\nscenarios: {one: [{event: A, expect: {features: {a: 2}}}]}")
    shown: list[str] = []
    again = threading.Event()

    class Screen(Console):
        def print(self, *objects: object, **_: object) -> None:
            shown.append(" ".join(map(str, objects)))
            if "watching" in shown[-1]:
                if again.is_set():
                    raise KeyboardInterrupt
                text = "features: {a: {count: A}}\nscenarios: {one: [{event: A, expect: {features: {a: 1}}}]}"
                file.write_text(text)
            if "all passed" in shown[-1]:
                again.set()

    def until_interrupted() -> None:
        with suppress(KeyboardInterrupt):
            watch(tmp_path, "", Screen())

    watching = threading.Thread(target=until_interrupted, daemon=True)
    watching.start()
    assert again.wait(20)
    watching.join(20)
    assert not watching.is_alive()
    assert any("1 failed" in line for line in shown), "before the change"


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_every_definition_of_the_examples_is_shown_at_work(folder: Path) -> None:
    result = run_folder(folder)
    assert [(outcome.scenario.name, one.message) for outcome in result.failed for one in outcome.differences] == []
    assert result.uncovered == []


def test_the_page_is_true(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "all.yaml").write_text(example, "utf-8")
    result = run_folder(tmp_path)
    assert len(result.outcomes) == 3
    assert messages(result) == []
    (tmp_path / "all.yaml").write_text(example.replace("> 30d", "> 31d"), "utf-8")
    changed = run_folder(tmp_path)
    assert messages(changed) == ["expected in lapsed, but is not"]
    assert changed.outcomes[2].differences[0].why.splitlines()[1] in PAGE
