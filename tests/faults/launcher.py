"""Starts workers as children of a process that has everything imported, so that a restart costs no import.

Orders are JSON lines on standard input; answers on standard output: `{"pid": ...}`, later `{"pid": ..., "code": ...}`
(negative: the signal that ended it). At the end of standard input all of them are killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import rtcdp.delivery.main
import rtcdp.projector.main
import rtcdp.serving.api.main
import rtcdp.worker.main
from faults.controls import OFF
from faults.points import Plan, after_awaited, install
from rtcdp.worker.profiles import partition

PR_SET_PDEATHSIG = 1
PROCESSES = {
    "worker": rtcdp.worker.main.run,
    "project": rtcdp.projector.main.run,
    "deliver": rtcdp.delivery.main.run,
    "serve": rtcdp.serving.api.main.run,
}


def become(order: dict[str, Any]) -> NoReturn:
    """Be that worker."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        from rtcdp.settings.config import Settings

        settings = Settings.load(order["settings"])
        partition.MARK_S = 0.5  # as if a worker had worked for as long as it lives here
        for name in order["off"]:
            OFF[name]()
        if order["process"] == "worker":
            tell(Path(order["taken_over"]))
            install(Plan(Path(order["points"]), **order["plan"]), settings.own_topics())
        code = PROCESSES[order["process"]](settings)
    except BaseException:  # noqa: BLE001 # whatever it is, it is this process's end, not the launcher's
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tell(path: Path) -> None:
    """Have a line written to a file at every takeover of partitions."""
    from rtcdp.transport.consumer import Consumer

    def taken(*_: Any) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"taken over by {os.getpid()}\n")

    after_awaited(Consumer, "perform_seek", taken)


def say(**answer: int) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def main() -> None:
    children: set[int] = set()
    rest = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    become(json.loads(line))
                children.add(pid)
                say(pid=pid)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            say(pid=pid, code=os.waitstatus_to_exitcode(status))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
