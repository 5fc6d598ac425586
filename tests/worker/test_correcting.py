"""What is wrong about a person is put right through a whole worker on a real Kafka."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from rtcdp.cli import app
from rtcdp.errors import SettingError
from rtcdp.privacy.correcting import traits_of
from rtcdp.queries import inspection
from tests.worker.conftest import Deploy, Deployment, wait_for


def correct(shop: Deployment, *words: str) -> Any:
    settings = shop.settings
    names = ("bootstrap", "app", "commands", "audit", "definitions_topic", "profile_events", "profile_changes", "state_dir")
    environment = {f"RTCDP_{name.upper()}": str(getattr(settings, name)) for name in names}
    return CliRunner().invoke(app, ["privacy", "correct", *words], env=environment)


def test_traits_and_events_are_put_right(deploy: Deploy) -> None:
    shop = deploy()
    shop.worker().ready()
    for number in range(3):
        shop.send({"type": "track", "event": "Order Completed", "anonymousId": "a1", "messageId": f"m{number}"})
    shop.send({"type": "identify", "userId": "u1", "anonymousId": "a1", "traits": {"city": "Bonn"}, "messageId": "i1"})

    def orders() -> object:
        found = inspection.profile_at(shop.settings, "anonymous_id:a1")
        return found.features.get("orders") if found is not None and found.key == "main/user_id:u1" else None

    wait_for(lambda: orders() == 3, what="three orders of one person")
    done = correct(shop, "anonymous_id:a1", "--set", "city=Hamburg", "--without", "m1", "--reason", "a till's test", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["person"], told["traits"], told["without"]) == ("main/user_id:u1", ["city"], ["m1"])
    assert told["approximate"] == []
    assert orders() == 2
    found = inspection.profile_at(shop.settings, "user_id:u1")
    assert found is not None
    assert found.traits["city"] == "Hamburg"
    assert list(found.identifiers) == ["anonymous_id:a1"]

    wrong = correct(shop, "user_id:u1", "--without", "m9")
    assert wrong.exit_code == 2 or isinstance(wrong.exception, SettingError)
    assert correct(shop, "user_id:nobody", "--without", "m1").exit_code == 1


def test_traits_are_json_or_text() -> None:
    assert traits_of(["age=42", "city=Bad Homburg", "tags=[1]", "note="], ["birthday"]) == {
        "birthday": None, "age": 42, "city": "Bad Homburg", "tags": [1], "note": "",
    }  # fmt: skip
    with pytest.raises(SettingError, match="NAME=VALUE"):
        traits_of(["age"], [])
