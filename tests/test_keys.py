"""Keys as people write them: a command about somebody must reach them, however they are written."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from rtcdp.cli import app
from rtcdp.control import audit
from rtcdp.errors import SettingError
from rtcdp.privacy import erasure, export, splitting
from rtcdp.queries import inspection, keys
from rtcdp.queries.keys import key_of
from rtcdp.settings.config import Settings

FORMS = [
    ("email: Ann@Example.COM", "main/email:ann@example.com"),
    ("email:ann@example.com", "main/email:ann@example.com"),
    ("brand2/phone:+49 170 / 123-456", "brand2/phone:+49170123456"),
    ("user_id: 100% ", "main/user_id:100%25"),
    ("user_id:100%25", "main/user_id:100%25"),
    ("user_id:赵", "main/user_id:赵"),
    ("gone:X y", "main/gone:X y"),
]


@pytest.fixture(autouse=True)
def _no_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "in_force", lambda _: None)


@pytest.mark.parametrize(("written", "meant"), FORMS)
def test_a_key_is_meant_however_it_is_written(written: str, meant: str) -> None:
    assert key_of(Settings(), written) == meant
    assert key_of(Settings(), meant) == meant


@pytest.mark.parametrize("written", ["ann", "email:ann", "user_id:", "no tenant/user_id:u", "main/Not a namespace:u"])
def test_what_can_be_nobodys_key_is_said_to_be(written: str) -> None:
    with pytest.raises(SettingError):
        key_of(Settings(), written)


@pytest.mark.parametrize(
    ("module", "name", "command"),
    [
        (erasure, "erase", ["privacy", "erase", "KEY"]),
        (export, "export", ["privacy", "export", "KEY"]),
        (splitting, "split", ["identity", "split", "user_id:u", "KEY"]),
        (inspection, "people_of", ["identity", "show", "KEY"]),
        (inspection, "profile_at", ["profile", "KEY"]),
    ],
)
def test_every_command_about_a_person_asks_for_whom_is_meant(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, command: list[str]
) -> None:
    asked: list[Any] = []

    def ask(*given: Any, **_: Any) -> None:
        asked.extend(given)
        raise SettingError("far enough")

    monkeypatch.setattr(module, name, ask)
    monkeypatch.setattr(audit, "note", lambda *_, **__: None)
    CliRunner().invoke(app, [one.replace("KEY", "email: Ann@Example.COM") for one in command])
    assert "main/email:ann@example.com" in asked
