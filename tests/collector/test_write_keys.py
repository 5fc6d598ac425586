"""Write keys: hashed, two per source, changed whole, and the commands over them."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rtcdp.cli import app
from rtcdp.errors import SettingError
from rtcdp.serving.collector.write_keys import KeyFile, KeyRing


def test_the_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    made, text = file.add("web", "events")
    assert text not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    ring = KeyRing(file.path, ["events"])
    assert ring.find(text.encode()) == made
    assert ring.find(made.hash.encode()) is None
    assert ring.find(b"") is None


def test_a_source_has_two_keys_so_that_one_can_be_replaced(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    first, old = file.add("web", "events")
    _, new = file.add("web", "events")
    with pytest.raises(SettingError, match=first.id):
        file.add("web", "events")
    file.revoke(first.id)
    ring = KeyRing(file.path, ["events"])
    assert ring.find(old.encode()) is None
    assert ring.find(new.encode()) is not None
    file.add("web", "events")
    with pytest.raises(SettingError, match="no active key"):
        file.revoke(first.id)


def test_a_known_key_can_be_taken_over_but_never_comes_back(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    made, text = file.add("web", "events", known="an-old-key-of-another-system")
    assert text == "an-old-key-of-another-system"
    file.revoke(made.id)
    with pytest.raises(SettingError, match="known already"):
        file.add("web", "events", known=text)


@pytest.mark.parametrize("known", ["short", "with space in it and long", "with:colon-and-long-enough", "lang-genug-aber-ü" * 2])
def test_a_key_that_cannot_be_sent_or_could_be_guessed_is_not_taken(tmp_path: Path, known: str) -> None:
    with pytest.raises(SettingError, match="key"):
        KeyFile(tmp_path / "keys.json").add("web", "events", known=known + ("\n" if " " in known else ""))


@pytest.mark.parametrize("source", ["", "a b", "../x", "ü", "x" * 65])
def test_a_source_has_a_plain_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(SettingError, match="source"):
        KeyFile(tmp_path / "keys.json").add(source, "events")


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    threads = [threading.Thread(target=file.add, args=(f"s{number}", "events")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.source for key in file.read()} == {f"s{number}" for number in range(16)}


@pytest.mark.parametrize("text", [b"{", b"{}", b'{"keys": [{"id": 1}]}', b"\xff"])
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text)
    with pytest.raises(SettingError, match="collector_keys"):
        KeyRing(path, ["events"])


def test_a_key_of_a_topic_that_is_no_source_is_refused(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.add("web", "elsewhere")
    with pytest.raises(SettingError, match="elsewhere"):
        KeyRing(file.path, ["events"])


def test_a_ring_follows_its_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    ring = KeyRing(file.path, ["events"])
    assert len(ring) == 0
    _, text = file.add("web", "events")
    assert ring.reload()
    assert not ring.reload()
    assert ring.find(text.encode())


def test_the_commands_make_list_and_end_keys(tmp_path: Path) -> None:
    keys = ["--keys", str(tmp_path / "keys.json")]

    def rtcdp(*arguments: str, stdin: str = "") -> str:
        done = CliRunner().invoke(app, ["collector", "keys", *arguments, *keys], input=stdin, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    made = json.loads(rtcdp("add", "web", "--json"))
    assert KeyRing(tmp_path / "keys.json", ["events"]).find(made["key"].encode())
    assert rtcdp("add", "crm", "--server", "--rate", "7", "--known", stdin="an-old-key-of-another-system\n").splitlines() == [
        "an-old-key-of-another-system"
    ]
    listed = json.loads(rtcdp("list", "--json"))
    assert [(key["source"], key["tenant"], key["server"], key["rate"]) for key in listed] == [
        ("web", "main", False, 5_000),
        ("crm", "main", True, 7),
    ]
    assert "revoked" in rtcdp("revoke", made["id"])
    first, second = rtcdp("list").splitlines()
    assert not first.endswith("active")
    assert second.endswith("active")
    assert made["key"] not in rtcdp("list")
