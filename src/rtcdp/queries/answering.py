"""`rtcdp consent`: what a person agrees to, shown and set by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtcdp.control import audit, commands
from rtcdp.errors import SettingError
from rtcdp.queries.inspection import AnswerView, answers_of, definitions_of, stored_at
from rtcdp.queries.keys import in_force, normal_key
from rtcdp.records import Consent
from rtcdp.rules.compiling.purposes import CHANNEL
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.names import did_you_mean
from rtcdp.settings.config import Settings

MOST_ANSWERS = 64
LONGEST_REASON = 500
_NAME = re.compile(r"(?P<purpose>[A-Za-z][A-Za-z0-9_]{0,63})?(?:@(?P<channel>[^@\x00-\x1f\x7f]{1,64}))?")
_WORDS: Mapping[str, bool | None] = {"yes": True, "no": False, "granted": True, "denied": False, "unset": None}


class Standing(msgspec.Struct):
    """What a person agrees to. answers: by purpose, `@channel` or `purpose@channel`."""

    profile: str
    answers: dict[str, AnswerView]


def show(settings: Settings, key: str) -> Standing | None:
    """What a person agrees to, from the changelog; None where nothing is known of them. Raises as `profile_at`."""
    found = stored_at(settings, key)
    if found is None:
        return None
    compiled = definitions_of(settings, found)
    return Standing(found.profile.key, answers_of(found.profile, compiled.consent if compiled else None))


def set_by_hand(
    settings: Settings, key: str, given: Sequence[str], *, by: str = "", reason: str = "", until: str = ""
) -> Consent:
    """Send answers for a person; returns the command once the cluster has it.

    key:   profile key, or without the tenant.
    given: each NAME=yes, NAME=no or NAME=unset.

    Raises SettingError where one of these cannot be used, ClusterError where the command cannot be sent.
    """
    definitions = in_force(settings)
    answers: dict[str, bool | None] = {}
    for text in given:
        name, _, word = text.partition("=")
        if word not in _WORDS:
            raise SettingError(f"{text!r}: write NAME=yes, NAME=no or NAME=unset")
        answers[name] = _WORDS[word]
    command, whose = command_of(answers, definitions, by=by, reason=reason, until=until), normal_key(key, definitions)
    audit.note(settings, "set-consent", profiles=[whose.decode()], about={"request": command.id})
    commands.send(settings, whose, command)
    return command


def command_of(
    answers: Mapping[str, bool | None], definitions: Definitions | None, *, by: str, reason: str = "", until: str = ""
) -> Consent:
    """The command of answers, checked against the definitions in force (None: there are none). Raises SettingError."""
    if not 0 < len(answers) <= MOST_ANSWERS:
        raise SettingError(f"answers: 1 to {MOST_ANSWERS} of them are expected")
    if len(reason) > LONGEST_REASON or len(by) > LONGEST_REASON:
        raise SettingError(f"reason: it has at most {LONGEST_REASON} characters")
    plan = definitions.consent if definitions is not None else None
    for name in answers:
        found = _NAME.fullmatch(name)
        if found is None or not name:
            raise SettingError(f"answers: {name[:80]!r} is neither a purpose, nor @CHANNEL, nor PURPOSE@CHANNEL")
        purpose = found["purpose"]
        if purpose and (plan is None or purpose not in plan.purposes):
            known = list(plan.purposes) if plan is not None else []
            hint = did_you_mean(purpose, known) or (f"there are {', '.join(known)}" if known else "none is defined")
            raise SettingError(f"answers: there is no purpose {purpose!r} in the definitions ({hint})")
        if until and CHANNEL not in name:
            raise SettingError(f"until: the answer about {name} ends with the next; only one about a channel ends by itself")
    ends = commands.moment("until", until) if until else 0
    return Consent(id=commands.new_id(), by=by, reason=reason, answers=dict(answers), until=ends)


def _source(answer: AnswerView) -> str:
    if not answer.at:
        return "by default"
    until = f", until {answer.until}" if answer.until else ""
    return f"since {answer.at}, by {escape(answer.by or 'an event')} ({escape(answer.source)}){until}"


def as_json(standing: Standing) -> dict[str, Any]:
    """For machines."""
    return msgspec.to_builtins(standing)  # type: ignore[no-any-return] # a struct becomes a dict


def print_standing(standing: Standing) -> None:
    """Print what a person agrees to."""
    console = Console(highlight=False)
    console.print(f"[bold]{escape(standing.profile)}[/]")
    table = Table.grid(padding=(0, 2))
    for name, answer in standing.answers.items():
        word = "[green]yes[/]" if answer.granted else "[red]no[/]"
        table.add_row(f"  {escape(name)}", word, _source(answer))
    console.print(table if standing.answers else "  nothing was asked and nothing answered")
