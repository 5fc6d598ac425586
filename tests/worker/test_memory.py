"""Memory goes back to the system once it is free."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
from rtcdp.worker.memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)

begun = resident()
blocks = [bytes(2_000) for _ in range(60_000)]
kept = blocks[::500]  # in between: what is free cannot be cut off at the end
del blocks
held = resident() - begun
give_back()
print(held, resident() - begun)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked for it")
def test_free_memory_goes_back() -> None:
    held, left = map(float, subprocess.check_output([sys.executable, "-c", PROGRAM], text=True).split())
    assert held > 80, "or nothing is shown"
    assert left < 30
