"""The log: one line per record, only known fields, no text of strangers' exceptions."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from rtcdp.errors import Stalled
from rtcdp.monitoring.logs import LONGEST, SPARED_S, JsonFormatter, LineFormatter, Sparing, sentence

CANARY = "canary-7f3a"


def record(message: str, *args: object, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    info = None
    if error is not None:
        try:
            raise error  # noqa: TRY301 - to have a traceback
        except BaseException:  # noqa: BLE001 - whatever it is
            info = sys.exc_info()
    made = logging.LogRecord("rtcdp.x", logging.WARNING, "x.py", 1, message, args, info)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize("form", [LineFormatter(), JsonFormatter()])
def test_only_known_fields_are_written(form: logging.Formatter) -> None:
    text = form.format(record("a record cannot be read", topic="events", offset=7, value=CANARY, body={"x": CANARY}))
    assert "events" in text
    assert "7" in text
    assert CANARY not in text


@pytest.mark.parametrize("form", [LineFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    "error", [ValueError(CANARY), KeyError(CANARY), UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY)]
)
def test_the_text_of_a_strangers_exception_is_not_written(form: logging.Formatter, error: BaseException) -> None:
    text = form.format(record("it failed", error=error))
    assert type(error).__name__ in text
    assert "test_logs.py" in text, "where it was raised"
    assert CANARY not in text
    assert "\n" not in text


def test_the_text_of_our_own_is_written() -> None:
    assert "the loop stands still" in LineFormatter().format(record("it failed", error=Stalled("the loop stands still")))
    assert sentence(OSError(28, "No space left on device")) == "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize("form", [LineFormatter(), JsonFormatter()])
def test_nothing_can_forge_a_line(form: logging.Formatter) -> None:
    text = form.format(record("cannot be read: %s", "x\n2026-01-01 INFO rtcdp: all well\x1b[2J\u2028\r"))
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_json_is_json_and_bounded() -> None:
    found = json.loads(JsonFormatter({"app": "shop"}).format(record("x" * 9_000, partition=3)))
    assert (found["app"], found["partition"], found["level"], found["logger"]) == ("shop", 3, "warning", "rtcdp.x")
    assert len(found["message"]) == LONGEST + 3
    assert set(found) == {"at", "level", "logger", "message", "app", "partition"}


def test_what_libraries_repeat_is_written_once_in_a_while() -> None:
    sparing = Sparing()

    def said(name: str, node: int, at: float) -> str | None:
        one = logging.LogRecord(name, logging.ERROR, "x.py", 1, "no connection to node %s", (node,), None)
        one.created = at
        return one.getMessage() if sparing.filter(one) else None

    assert said("aiokafka.client", 1, 100.0) == "no connection to node 1"
    assert [said("aiokafka.client", node, 100.0 + node / 10) for node in range(3)] == [None] * 3
    assert said("aiokafka.conn", 1, 101.0) == "no connection to node 1", "another logger"
    assert said("rtcdp.worker", 1, 100.0) == said("rtcdp.worker", 1, 100.1) == "no connection to node 1", (
        "ours are never spared"
    )
    assert said("aiokafka.client", 7, 100.0 + SPARED_S) == "no connection to node 7 (3 more of these were not written)"
    assert said("aiokafka.client", 7, 100.0 + 2 * SPARED_S) == "no connection to node 7"
