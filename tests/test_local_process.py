"""A server that is started here never outlives this process, however it ends; and what tells most about a failure."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rtcdp.servers.local_process import telling_line

PROGRAM = """
import sys, time
from pathlib import Path
from rtcdp.servers import local_process
folder = Path(sys.argv[1])
folder.mkdir()
if sys.argv[2]:
    local_process._GUARD = sys.argv[2]
process = local_process.LocalProcess(["sleep", "600"], folder / "server.log", folder)
print(process.pid, flush=True)
time.sleep(600)
"""


def killed(folder: Path, guard: str = "") -> psutil.Process:
    """A server whose starter got kill -9. guard: a script in place of the one that watches the starter."""
    command = [sys.executable, "-c", PROGRAM, str(folder), guard]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
    return server


def test_a_server_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    server = killed(tmp_path / "server")
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()
    deadline = time.monotonic() + 10
    while (tmp_path / "server").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not (tmp_path / "server").exists(), "its directory goes too"


def test_without_its_guard_it_does(tmp_path: Path) -> None:
    server = killed(tmp_path / "server", guard="true")
    try:
        psutil.wait_procs([server], timeout=0.5)
        assert server.is_running()
        assert (tmp_path / "server").exists()
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("text", "line"), [("a\nERROR disk full\nbye\n", "ERROR disk full"), ("a\nb\n", "b"), ("", "it said nothing")]
)
def test_telling_line_prefers_an_error(text: str, line: str) -> None:
    assert telling_line(text) == line
