"""The demo: what a stranger runs first."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import orjson
import pytest
from rich.console import Console

from rtcdp.cli import main
from rtcdp.simulate import demo
from rtcdp.simulate.board import Board, Gauges, _quantile
from rtcdp.simulate.oracle import Output
from rtcdp.simulate.screen import draw, save_picture, sparkline

CHANGE = b'{"id":"1","kind":"%s","profile":"main/user_id:u","name":"buyers","cause":"event"}'
TRIGGER = (
    b'{"id":"2","data":{"trigger":"welcome","profile":"main/user_id:u9","cause":"event","payload":{"name":"\xe6\x9d\x8e"}}}'
)


@pytest.mark.timeout(120)
def test_a_whole_demo_loses_nothing() -> None:
    command = [sys.executable, "-m", "rtcdp.cli", "demo", "--events", "3000", "--rate", "0", "--json"]
    # A stray setting must not reach the demo's worker.
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "RTCDP_APP": "stray"})
    assert done.returncode == 0, done.stderr.decode()
    report = orjson.loads(done.stdout)
    assert report["lost"] == report["missing"] == report["extra"] == report["different"] == 0
    assert report["events_in"] == 3_000
    assert report["events_dead"] > 10
    assert report["profiles"] > 100
    assert report["changes"] > 2_000
    assert report["triggers"] > 100
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["events_per_s"] > 0


@pytest.mark.timeout(120)
def test_the_console_stays_open_until_ctrl_c() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rtcdp.cli", "demo", "--events", "200", "--rate", "0"]
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while b"Ctrl-C ends the demo" not in shown:
                shown += os.read(ours, 65_536)  # raises at the end
            address = re.search(rb"Look around in the console: (http://[^\s#]+)#token=", shown)
            assert address is not None
            with urlopen(address[1].decode(), timeout=10) as answer:
                assert b"<title>rtcdp</title>" in answer.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(ours)


def test_lost_outputs_are_exit_code_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = demo.Report(10, 0, 1, 1, 0, {"p50": 1.0, "p99": 2.0}, 5.0, lost=2, missing=1, extra=1, different=0)
    monkeypatch.setattr(demo, "run", lambda options: report)
    monkeypatch.setattr(sys, "argv", ["rtcdp", "demo", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert orjson.loads(capsys.readouterr().out)["lost"] == 2


def filled() -> Board:
    board = Board(total=100, sent=40, shop_time=1_735_689_600_000, gauges=Gauges(40, 7, 3.25, 11.0))
    for output in (
        Output("profile-changes", b"k", CHANGE % b"entered"),
        Output("profile-changes", b"k", CHANGE % b"entered"),
        Output("profile-changes", b"k", CHANGE % b"exited"),
        Output("triggers", b"k", TRIGGER),
        Output("events-dlq", b"o", b"{}"),
    ):
        board.take(output)
    return board


def test_the_board_follows_the_outputs() -> None:
    board = filled()
    assert board.inside["buyers"] == 1
    assert board.counts == {"profile-changes": 3, "triggers": 1, "events-dlq": 1}
    assert board.last_event_at > 0


def test_the_screen_shows_what_is_on_the_board() -> None:
    console = Console(file=io.StringIO(), width=108)
    with console.capture() as shown:
        console.print(draw(filled()))
    for text in ("buyers", "welcome", "u9", "李", "p50 3.2 ms", "p99 11.0 ms", "Wednesday 01 January 2025", "of 100"):
        assert text in shown.get()


def test_the_screen_can_be_saved(tmp_path: Path) -> None:
    save_picture(filled(), tmp_path / "demo.svg")
    picture = (tmp_path / "demo.svg").read_text("utf-8")
    assert "buyers" in picture
    places = {text: float(x) for x, text in re.findall(r'<text[^>]* x="([0-9.]+)"[^>]*>([^<]+)</text>', picture)}
    cell = places["u9"] - places["welcome"]
    assert cell == pytest.approx(9 * 12.2), "a key stands two cells behind its trigger, whatever the font"


def test_bars_have_the_height_of_their_values() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "


def test_quantiles_are_interpolated_within_a_bucket() -> None:
    buckets = {0.01: 50.0, 0.02: 100.0, float("inf"): 100.0}
    assert _quantile(buckets, 0.5) == pytest.approx(0.01)
    assert _quantile(buckets, 0.75) == pytest.approx(0.015)
    assert _quantile({}, 0.5) == 0.0
