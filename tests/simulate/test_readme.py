"""The example in the README gives what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from rtcdp.rules.loading.folder import load
from rtcdp.simulate.replay import Replay, parse_until

README = Path(__file__).parents[2] / "README.md"


def test_the_example_gives_what_it_says(tmp_path: Path) -> None:
    text = README.read_text("utf-8")
    (rules,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    event, promised = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (until,) = re.findall(r"rtcdp replay .* --until (\S+)", text)
    (tmp_path / "shop.yaml").write_text(rules)
    engine = Replay(load(tmp_path))
    outputs = [output for line in event.splitlines() for output in engine.feed(line.encode())]
    outputs += engine.run_until(engine.now + parse_until(until)[0])
    assert [orjson.loads(output.value) for output in outputs] == [orjson.loads(line) for line in promised.splitlines()]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text("utf-8")):
        assert (README.parent / target).exists(), target
