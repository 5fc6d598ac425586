"""A tag that is a time is a time in outputs: RFC 3339, as every other."""

from __future__ import annotations

import json
from pathlib import Path

from rtcdp.rules.loading.folder import load
from rtcdp.simulate.replay import Replay


def test_a_time_in_a_tag_is_text_in_outputs(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "features:\n  last_order: {last_time: Order}\ntags:\n  ordered_at: {value: last_order}\n", encoding="utf-8"
    )
    run = Replay(load(tmp_path))
    stamps = ["2025-01-01T00:00:01.250Z", "2025-01-02T00:00:00.000Z"]
    changes = [
        json.loads(output.value)
        for place, stamp in enumerate(stamps)
        for output in run.feed(
            json.dumps({"userId": "u", "event": "Order", "messageId": f"m{place}", "timestamp": stamp}).encode()
        )
    ]
    assert [(change.get("old"), change["new"]) for change in changes] == [(None, stamps[0]), (stamps[0], stamps[1])]
