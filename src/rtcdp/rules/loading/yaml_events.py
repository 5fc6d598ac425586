"""YAML text to the events of a parser, one as another is asked for: a bound stops it in time, whatever the text.

`exact` is ruamel's parser of YAML 1.2; it says what a text means, and what is wrong with it. It is written in Python.
`quick` is libyaml, thirty times as fast, but of YAML 1.1: it is asked only for texts in which both mean the same
(`is_common`; tests run one against the other), and where it finds fault, `exact` is asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml import events as exact_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from yaml import YAMLError as QuickError
from yaml import events

try:
    from yaml.cyaml import CParser
except ImportError:  # built without libyaml
    CParser = None

# What the two parsers do not see alike.
_UNCOMMON = re.compile(
    "[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"  # other line ends, tabs, marks
    r"|^%|^---[^\n]|^[ ]*[|>]"  # directives; a document that begins in the line of its mark, or is one block of text
    r"|(?:^|[\s\[{,:-])\?(?:\s|$)"  # keys marked as such
    r"|(?:^|[\s\[{,:?-])[&*][^\s,\]}]*[^\w\s,\]}-]"  # names of anchors with other characters
    r"|[|>][-+\d]*(?:#|[ ]*(?:#.*)?\n[ ]+\n)",  # blocks of text that begin with a comment, or with blanks
    re.MULTILINE,
)


class NotYaml(Exception):
    """The text is no YAML. index: the character at which that was seen."""

    def __init__(self, message: str, index: int) -> None:
        self.message, self.index = message, index
        super().__init__(message)


def is_common(text: str) -> bool:
    """Whether `quick` may be asked."""
    return CParser is not None and _UNCOMMON.search(text) is None


def quick(text: str) -> Iterator[events.Event]:
    """Events of a common text. Raises NotYaml without a reason worth telling."""
    parser = CParser(text)
    try:
        while (event := parser.get_event()) is not None:
            yield event
    except QuickError as error:
        raise NotYaml(str(error), 0) from None
    finally:
        parser.dispose()


def exact(text: str) -> Iterator[events.Event]:
    """Events of any text. Raises NotYaml."""
    index = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            index = event.end_mark.index
            yield _alike(event)
    except MarkedYAMLError as error:
        if error.context_mark is not None and (fault := _never_closed(text, error)):
            raise NotYaml(fault, error.context_mark.index) from None
        mark = error.problem_mark or error.context_mark
        context = f" {error.context}" if error.context else ""
        message = f"this is not YAML: {error.problem or 'it cannot be read'}{context}"
        raise NotYaml(message, mark.index if mark else index) from None
    except YAMLError as error:
        raise NotYaml("this is not YAML: a character is not allowed", getattr(error, "position", index)) from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        # what ruamel lets through on some malformed texts, for example an escape beyond Unicode
        raise NotYaml("this is not YAML", index) from None


def _never_closed(text: str, error: MarkedYAMLError) -> str:
    """What is said of a bracket or quotes that the end of the text leaves open; empty where it is something else."""
    begins = text[error.context_mark.index : error.context_mark.index + 1]
    if begins in ("{", "[") and "<stream end>" in str(error.problem):
        return f"this is not YAML: '{begins}' is never closed {error.context}"
    if begins in ("'", '"') and "end of stream" in str(error.problem):
        return "this is not YAML: the quotes of a text are never closed"
    return ""


def _alike(event: exact_events.Event) -> events.Event:
    """An event of `exact` as `quick` has it."""
    marks = {"start_mark": event.start_mark, "end_mark": event.end_mark}
    tag = getattr(event, "tag", None) if getattr(event, "ctag", None) is not None else None
    match event:
        case exact_events.ScalarEvent():
            return events.ScalarEvent(event.anchor, tag, event.implicit, event.value, style=event.style, **marks)
        case exact_events.AliasEvent():
            return events.AliasEvent(event.anchor, **marks)
        case exact_events.MappingStartEvent():
            return events.MappingStartEvent(event.anchor, tag, event.implicit, **marks)
        case exact_events.SequenceStartEvent():
            return events.SequenceStartEvent(event.anchor, tag, event.implicit, **marks)
        case exact_events.MappingEndEvent():
            return events.MappingEndEvent(**marks)
        case exact_events.SequenceEndEvent():
            return events.SequenceEndEvent(**marks)
        case exact_events.DocumentStartEvent():
            return events.DocumentStartEvent(**marks)
    return events.Event(**marks)
