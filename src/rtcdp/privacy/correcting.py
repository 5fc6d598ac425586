"""`rtcdp privacy correct`: what is wrong about a person is put right, by a command."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console

from rtcdp import profile as profiles
from rtcdp.control import commands
from rtcdp.control.audit import note
from rtcdp.errors import SettingError
from rtcdp.folding.contributions import without
from rtcdp.folding.parting import digest
from rtcdp.ingestion.cleaning import MAX_KEY_LENGTH
from rtcdp.privacy.person_log import PersonLog
from rtcdp.privacy.refolding import Refolded, put_into_force, since
from rtcdp.queries.answering import LONGEST_REASON
from rtcdp.queries.inspection import Stored, stored_at, versions_of
from rtcdp.queries.keys import in_force, normal_key
from rtcdp.records import Correct
from rtcdp.settings.config import Settings

MOST_TRAITS = 64
MOST_EVENTS = 64
_NAME = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_KEY_LENGTH}}}")


class Corrected(Refolded, frozen=True, kw_only=True):
    """What was put right. traits: names of those that were set or removed. without: events that were left out."""

    traits: list[str]
    without: list[str]


def show(found: Corrected) -> None:
    """Print for people."""
    out = Console(highlight=False, markup=False)
    out.print(f"{found.person}: {', '.join([*found.traits, *(f'without {one}' for one in found.without)])}")
    found.show_rest(out)


def traits_of(given: Sequence[str], removed: Sequence[str]) -> dict[str, Any]:
    """Traits from NAME=VALUE, the value as JSON or else as text, and names of those to be removed. Raises SettingError."""
    found: dict[str, Any] = dict.fromkeys(removed)
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise SettingError(f"set: {text!r}: write NAME=VALUE, for example city=Hamburg or age=42")
        try:
            found[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[name] = value
    return found


def command_of(traits: Mapping[str, Any], *, by: str, reason: str = "") -> Correct:
    """The command that sets traits. Raises SettingError where one of them cannot be used."""
    if len(traits) > MOST_TRAITS:
        raise SettingError(f"traits: at most {MOST_TRAITS} of them at a time")
    wrong = [name for name in traits if not _NAME.fullmatch(name)]
    if wrong:
        raise SettingError(f"traits: {wrong[0][:80]!r} is no name of a trait")
    if len(reason) > LONGEST_REASON or len(by) > LONGEST_REASON:
        raise SettingError(f"reason: it has at most {LONGEST_REASON} characters")
    return Correct(id=commands.new_id(), by=by, reason=reason, traits=dict(traits))


def correct(
    settings: Settings, key: str, traits: Mapping[str, Any], events: Collection[str] = (), *, by: str = "", reason: str = ""
) -> Corrected | None:
    """Put something right about a person. Traits: sent; events: blocks until they are left out, up to a minute.

    key:    of the person, by any of their identifiers.
    traits: right values by name; None removes one. events: message ids of those that are as if they had never been.

    Returns None where nothing is known of the person.

    Raises SettingError for what cannot be used, or is no event of theirs; ClusterError where the cluster cannot be read, no
    worker answers, the person never holds still, or the state is too large for a command.
    """
    if not traits and not events:
        raise SettingError("say what is wrong: traits to set or remove, or events to leave out")
    if len(events) > MOST_EVENTS:
        raise SettingError(f"without: at most {MOST_EVENTS} events at a time")
    command, whose = command_of(traits, by=by, reason=reason), normal_key(key, in_force(settings))
    about = {"request": command.id, **({"reason": reason} if reason else {})}
    note(settings, "correct", profiles=[whose.decode()], about=about)
    if stored_at(settings, whose.decode()) is None:
        return None
    if not events:
        commands.send(settings, whose, command)
        return Corrected(person=whose.decode(), request=command.id, traits=sorted(traits), without=[])
    return leave_out(settings, whose.decode(), command, sorted(events))


def leave_out(settings: Settings, key: str, asked: Correct, events: list[str]) -> Corrected | None:
    """Leave events out: the state is made from the log, and put into force by the command.

    key: of the person, as the log has it. asked: the command, with the traits to be set beside it. Blocks. Raises as `correct`.
    """

    def make(stored: Stored, log: PersonLog) -> tuple[Corrected, Correct]:
        person, switch = stored.profile, stored.position.switches[-1]
        made = without(person, events, log.records, versions_of(settings)[switch.version], switch.number, log.cut)
        if made.missing:
            gone = f" (the log begins at {since(log)})" if log.cut else ""
            raise SettingError(f"without: {', '.join(made.missing)}: no event of theirs{gone}")
        state = profiles.encode(made.state)
        told = Corrected(
            person=person.key,
            request=asked.id,
            traits=sorted(asked.traits),
            without=events,
            approximate=list(made.approximate),
            since=since(log),
        )
        return told, msgspec.structs.replace(asked, without=events, state=state, expected=digest(person))

    return put_into_force(settings, key, make)
