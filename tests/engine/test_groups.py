"""A group's traits belong to the group: a profile keeps them under `groups.<id>`, by the time of the call."""

from __future__ import annotations

import json
from pathlib import Path

from rtcdp.rules.loading.folder import load
from rtcdp.simulate.replay import Replay


def call(second: int, **fields: object) -> bytes:
    stamp = f"2025-01-01T00:00:{second:02d}Z"
    return json.dumps({"userId": "u", "messageId": f"m{second}", "timestamp": stamp, **fields}).encode()


def test_a_segment_reads_the_traits_of_a_group(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("segments:\n  enterprise: traits.groups.acme.plan == 'enterprise'\n", encoding="utf-8")
    events = [
        call(1, type="group", groupId="acme", traits={"plan": "enterprise"}),
        call(2, type="group", groupId="other", traits={"plan": "free"}),
        call(3, type="group", groupId="acme", traits={"plan": "free"}),
    ]
    run = Replay(load(tmp_path))
    changes = [json.loads(output.value) for event in events for output in run.feed(event)]
    found = [(change["kind"], change["name"], change["message_id"]) for change in changes]
    assert found == [("entered", "enterprise", "m1"), ("exited", "enterprise", "m3")]
