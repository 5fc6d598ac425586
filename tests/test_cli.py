"""The command line: exit codes, one clear line for what goes wrong, JSON for machines."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from rtcdp.cli import app, main
from rtcdp.queries.inspection import full_key, partition_of

EXAMPLES = Path(__file__).parents[1] / "examples"
NOBODY = "127.0.0.1:1"


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Rtcdp(Protocol):
    """Runs a command line."""

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Done:
        """As the console script would, in this process."""


@pytest.fixture
def rtcdp(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Rtcdp:
    for name in list(os.environ):
        if name.startswith("RTCDP_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["rtcdp", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Done(code, *capsysbinary.readouterr())

    return run


def _everything(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """A command and all below it, by their words."""
    yield name
    for word, below in getattr(command, "commands", {}).items():
        yield from _everything(below, (*name, word))


@pytest.mark.parametrize("command", [*_everything(typer.main.get_command(app))])
def test_every_command_explains_itself_with_an_example(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert "Example" in result.output or "Commands" in result.output or not command


def test_every_command_is_listed_under_a_heading() -> None:
    everything = typer.main.get_command(app)
    assert isinstance(everything, TyperGroup)
    listed = everything.list_commands(typer.Context(everything))
    assert sorted(listed) == sorted(everything.commands)


def test_the_version_is_that_of_the_package(rtcdp: Rtcdp) -> None:
    assert rtcdp("--version") == Done(0, f"rtcdp {version('rtcdp')}\n".encode(), b"")


def test_help_does_not_load_what_it_does_not_need() -> None:
    program = "import sys, rtcdp.cli; print([m for m in ('faust', 'confluent_kafka', 'msgspec') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_tells_well_from_wrong(rtcdp: Rtcdp, tmp_path: Path) -> None:
    well = rtcdp("check", str(EXAMPLES / "shop"), "--json")
    assert well.returncode == 0, well.stdout
    assert orjson.loads(well.stdout)["ok"]

    (tmp_path / "rules.yaml").write_text("segments:\n  buyers: orders >= 1\n")
    wrong = rtcdp("check", str(tmp_path))
    assert wrong.returncode == 1
    assert b"rules.yaml:2:11" in wrong.stdout
    assert b"Traceback" not in wrong.stderr


@pytest.mark.parametrize("folder", ["shop", "ecom"])
def test_the_examples_are_free_of_doubts(rtcdp: Rtcdp, folder: str) -> None:
    report = orjson.loads(rtcdp("check", str(EXAMPLES / folder), "--json").stdout)
    assert report["errors"] == []
    assert report["warnings"] == []


def test_replay_reads_standard_input(rtcdp: Rtcdp) -> None:
    event = {"type": "track", "event": "Signed Up", "userId": "u1", "messageId": "m", "timestamp": "2025-01-01T00:00:00Z"}
    done = rtcdp("replay", "-", "--definitions", str(EXAMPLES / "shop"), stdin=orjson.dumps(event))
    assert done.returncode == 0, done.stderr
    outputs = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert {output.get("name") for output in outputs} >= {"new_visitors", "active"}
    assert [output["data"]["trigger"] for output in outputs if "data" in output] == ["welcome"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replay", "nowhere.jsonl", "-d", str(EXAMPLES / "shop")), b"nowhere.jsonl"),
        (("replay", "-", "-d", str(EXAMPLES / "shop"), "--until", "soon"), b"--until"),
        (("tick", "--until", "soon", "-b", NOBODY), b"until"),
        (("profile", "u1", "-b", NOBODY), b"profile key"),
        (("why", "u1", "buyers", "-b", NOBODY), b"profile key"),
        (("why", "user_id:u1", "buyers", "--at", "soon", "-b", NOBODY), b"at: 'soon' is no time"),
        (("replay", "-"), b"--definitions"),
        (("dlq", "replay", "-b", NOBODY), b"--all"),
        (("dlq", "replay", "-b", NOBODY, "--all", "--reason", "violation"), b"--all"),
        (("unknown",), b"unknown"),
    ],
)
def test_what_cannot_run_is_one_clear_line_and_two(rtcdp: Rtcdp, arguments: tuple[str, ...], message: bytes) -> None:
    done = rtcdp(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert b"Traceback" not in done.stderr


def test_wrong_definitions_stop_a_replay(rtcdp: Rtcdp, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("segments: {a: nothing > 1}\n")
    done = rtcdp("replay", "-", "-d", str(tmp_path))
    assert done.returncode == 2
    assert b"rules.yaml:1:" in done.stderr


def test_a_worker_without_a_kafka_says_so() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RTCDP_")}
    command = [sys.executable, "-m", "rtcdp.cli", "worker"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert b"bootstrap" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    event = {"type": "track", "event": "Signed Up", "userId": "u", "messageId": "m", "timestamp": "2025-01-01T00:00:00Z"}
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(orjson.dumps({**event, "userId": f"u{n}", "messageId": str(n)}) + b"\n" for n in range(2_000)))
    command = f"{sys.executable} -m rtcdp.cli replay {path} -d {EXAMPLES / 'shop'} | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_keys_are_completed_and_placed_as_java_places_them() -> None:
    assert full_key("user_id:u1") == "main/user_id:u1"
    assert full_key("shop2/user_id:u1") == "shop2/user_id:u1"
    # What Kafka's own DefaultPartitioner gives for these keys.
    assert [partition_of(key, 1_000) for key in (b"21", b"foobar", b"a-little-bit-long-string")] == [
        (-973_932_308 & 0x7FFFFFFF) % 1_000,
        (-790_332_482 & 0x7FFFFFFF) % 1_000,
        (-985_981_536 & 0x7FFFFFFF) % 1_000,
    ]


def test_the_generated_functions_can_be_read(rtcdp: Rtcdp) -> None:
    shop = str(EXAMPLES / "shop")
    event = rtcdp("check", shop, "--show-code", "Product Viewed")
    assert event.returncode == 0
    assert b"def apply(profile, event, outbox):" in event.stdout
    assert b"# dear_views_7d" in event.stdout
    other = rtcdp("check", shop, "--show-code", "an event that no definition names").stdout
    assert b"def apply(" in other
    assert b"# dear_views_7d" not in other
    assert b"'entered', 'buyers'" in rtcdp("check", shop, "--show-code", "buyers").stdout
