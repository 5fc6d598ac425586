"""`rtcdp identity split`: both states are made from the log, and put into force by a command; again, where it came too late."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

import msgspec
from rich.console import Console

from rtcdp.control import commands
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.contributions import take_apart
from rtcdp.folding.parting import digest
from rtcdp.privacy.person_log import ANSWER_S, LOOK_S, MOST, PATIENCE_S, read_log
from rtcdp.queries.inspection import Stored, full_key, stored_at, versions_of
from rtcdp.records import Split, encode
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps


class Apart(msgspec.Struct, frozen=True):
    """What became of a person.

    other:  the strongest identifier of those that left; along: those that are its aliases now.
    events: how many of the log are the person's, and the other's.
    approximate: features that are not exact. since: from when on (RFC 3339) the log is there; empty where it is whole.
    """

    person: str
    identifier: str
    other: str
    along: list[str]
    events: list[int]
    approximate: list[str]
    since: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return msgspec.structs.asdict(self)


def show(found: Apart) -> None:
    """Print for people."""
    out = Console(highlight=False, markup=False)
    mine, theirs = found.events
    out.print(f"{found.person} and {found.other} are two: {mine} and {theirs} events")
    for key in found.along:
        out.print(f"  {key} goes with {found.other}")
    if found.approximate:
        out.print(f"approximate, since the log begins at {found.since}: {', '.join(found.approximate)}")


def split(settings: Settings, key: str, identifier: str, *, by: str, reason: str = "") -> Apart | None:
    """Split an identifier off a person; None where it is not theirs. Blocks until both are two, up to a minute.

    key: of the person, by any of their identifiers. by, reason: who asks for it, and why.

    Raises SettingError for what is no key, ClusterError where the cluster cannot be read, no worker answers, the person never
    holds still, or a state is too large for a command.
    """
    wanted, deadline = full_key(identifier), monotonic() + PATIENCE_S
    made: Apart | None = None
    while monotonic() < deadline:
        stored = stored_at(settings, key)
        if stored is not None and made is not None and wanted in stored.profile.parted:
            return made
        if stored is None or wanted not in stored.profile.links:
            if stored is not None and wanted == stored.profile.key:
                raise SettingError(f"{wanted} is the person: name the identifier that is not theirs")
            return None
        found = _made(settings, stored, wanted, commands.new_id(), by, reason)
        if found is not None:
            made, command = found
            key = stored.profile.key  # by the identifier itself, they would not be found again
            commands.send(settings, key.encode(), command)
            _await(settings, key, wanted, command.expected, deadline)
        else:
            sleep(LOOK_S)
    raise ClusterError(f"{wanted} was not split off within {PATIENCE_S:.0f} s: does a worker run? is {key} very busy?")


def _await(settings: Settings, key: str, wanted: str, expected: str, deadline: float) -> None:
    """Wait until the person is without the identifier, or has changed otherwise."""
    until = min(deadline, monotonic() + ANSWER_S)
    while monotonic() < until:
        stored = stored_at(settings, key)
        if stored is None or wanted in stored.profile.parted or digest(stored.profile) != expected:
            return
        sleep(LOOK_S)


def _made(settings: Settings, stored: Stored, wanted: str, request: str, by: str, reason: str) -> tuple[Apart, Split] | None:
    """The command, made from the log; None where some of it has still to be folded."""
    person, switch = stored.profile, stored.position.switches[-1]
    log = read_log(settings, [person.key, *person.links])
    if not log.folded:
        return None
    parts = take_apart(person, wanted, log.records, versions_of(settings)[switch.version], switch.number, log.cut)
    command = parts.command(person, request, by, reason)
    if len(encode(command)) > MOST:
        raise ClusterError(f"{person.key} is too large to be split: {len(encode(command))} bytes, {MOST} fit a command")
    since = timestamps.render(log.cut) if log.cut else ""
    told = Apart(person.key, wanted, parts.other.key, list(parts.along), list(parts.events), list(parts.approximate), since)
    return told, command
