"""What a process writes to its log: sentences of its own, named fields from a fixed list, and nothing of anybody's events.

A message is one line, bounded, without control characters. Of an exception the kind and the places are written; its text only
where rtcdp, the operating system or Kafka wrote it, since others quote what they could not read.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Literal

from confluent_kafka import KafkaException

from rtcdp.errors import RtcdpError

Form = Literal["text", "json"]

FIELDS = frozenset(
    {
        "app", "attempts", "callback", "definitions", "destination", "instance", "offset", "partition", "reason", "records",
        "request", "seconds", "topic", "verdict",
    }
)  # fmt: skip
"""Keys of `extra` that are written; any other is left out."""
LONGEST = 2_000
"""Characters of a message, except the settings at the start: the rest is cut."""
NOISY = ("faust", "mode", "aiokafka", "asyncio")
SPARED_S = 10.0
"""A sentence of these is written once in this time (s): while a broker is away they say the same forty times a second."""
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_OURS = (RtcdpError, OSError, KafkaException)
_BREAKS = {ord(char): f"\\x{ord(char):02x}" for char in map(chr, (*range(32), *range(127, 160)))} | {
    0x2028: "\\u2028", 0x2029: "\\u2029", ord("\n"): "\\n", ord("\t"): " ",
}  # fmt: skip


class LineFormatter(logging.Formatter):
    """One line of text per record, the fields behind it as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        parts = [self.formatTime(record), record.levelname, f"{record.name}:", message(record)]
        parts += [f"{name}={_one_line(str(value))}" for name, value in fields(record).items()]
        return " ".join(parts + ([told(record.exc_info)] if record.exc_info else []))


class JsonFormatter(logging.Formatter):
    """One JSON object per record: `at level logger message`, the fields, and `exception`.

    always: fields of every record, as the name of the process.
    """

    def __init__(self, always: dict[str, str] | None = None) -> None:
        super().__init__()
        self._always = always or {}

    def format(self, record: logging.LogRecord) -> str:
        """The object, on one line."""
        at = self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{record.msecs:03.0f}"
        found: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": message(record)}
        found |= {**self._always, **fields(record)}
        if record.exc_info:
            found["exception"] = told(record.exc_info)
        return json.dumps(found, ensure_ascii=False, default=str)


class Sparing(logging.Filter):
    """Lets a sentence of NOISY through once in SPARED_S, then with how often it was said in between."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; records alike but for their arguments are one sentence."""
        if record.name.partition(".")[0] not in NOISY:
            return True
        sentence = record.name, str(record.msg)
        with self._lock:
            since, spared = self._said.get(sentence, (0.0, 0))
            if record.created < since + SPARED_S:
                self._said[sentence] = since, spared + 1
                return False
            self._said[sentence] = record.created, 0
        if spared:
            record.msg, record.args = f"{_one_line(record.getMessage())} ({spared} more of these were not written)", ()
        return True


def configure(level: str, form: Form = "text", **always: str) -> None:
    """Write the log to stderr, from `level` on; what nobody catches is written the same way.

    always: fields of every record, in JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter({name: value for name, value in always.items() if value}) if form == "json" else LineFormatter()
    )
    handler.addFilter(Sparing())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level in ("debug", "info"):
        for name in NOISY:  # a line per partition and rebalance tells operators nothing
            logging.getLogger(name).setLevel(logging.WARNING if level == "info" else logging.DEBUG)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def message(record: logging.LogRecord) -> str:
    """The record's sentence on one line, cut to LONGEST."""
    text = _one_line(record.getMessage())
    return text if len(text) <= LONGEST or getattr(record, "whole", False) else text[:LONGEST] + "..."


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The record's named fields that may be written."""
    return {name: getattr(record, name) for name in sorted(FIELDS) if name in record.__dict__}


def told(found: tuple[Any, ...]) -> str:
    """An exception: its kind, its text where that holds nothing of an event, and where it was raised, innermost last."""
    _, error, trace = found
    if error is None:
        return ""
    places = [f"{frame.filename.rpartition('/rtcdp/')[2]}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    return f"{sentence(error)} (at {' < '.join(reversed(places[-12:]))})" if places else sentence(error)


def sentence(error: BaseException) -> str:
    """Kind and text of an exception; the kind alone where the text may quote an event."""
    kind = type(error).__name__
    return f"{kind}: {_one_line(str(error))[:LONGEST]}" if isinstance(error, _OURS) else kind


def _one_line(text: str) -> str:
    return text.translate(_BREAKS)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    logging.getLogger("rtcdp").critical("an error that nobody expected", exc_info=(kind, error or kind(), trace))
