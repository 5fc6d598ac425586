"""`rtcdp identity split`: both states are made from the log, and put into force by a command."""

from __future__ import annotations

import msgspec
from rich.console import Console

from rtcdp.control import commands
from rtcdp.errors import SettingError
from rtcdp.folding.contributions import take_apart
from rtcdp.privacy.person_log import PersonLog
from rtcdp.privacy.refolding import Refolded, put_into_force, since
from rtcdp.queries.inspection import Stored, full_key, versions_of
from rtcdp.records import Split
from rtcdp.settings.config import Settings


class Apart(Refolded, frozen=True, kw_only=True):
    """What became of a person.

    other:  the strongest identifier of those that left; along: those that are its aliases now.
    events: how many of the log are the person's, and the other's.
    """

    identifier: str
    other: str
    along: list[str] = msgspec.field(default_factory=list)
    events: list[int]


def show(found: Apart) -> None:
    """Print for people."""
    out = Console(highlight=False, markup=False)
    mine, theirs = found.events
    out.print(f"{found.person} and {found.other} are two: {mine} and {theirs} events")
    for key in found.along:
        out.print(f"  {key} goes with {found.other}")
    found.show_rest(out)


def split(settings: Settings, key: str, identifier: str, *, by: str, reason: str = "") -> Apart | None:
    """Split an identifier off a person; None where it is not theirs. Blocks until both are two, up to a minute.

    key: of the person, by any of their identifiers. by, reason: who asks for it, and why.

    Raises SettingError for what is no key, ClusterError where the cluster cannot be read, no worker answers, the person never
    holds still, or a state is too large for a command.
    """
    wanted = full_key(identifier)

    def make(stored: Stored, log: PersonLog) -> tuple[Apart, Split] | None:
        person, switch = stored.profile, stored.position.switches[-1]
        if wanted == person.key:
            raise SettingError("this identifier is the person: name the one that is not theirs")
        if wanted not in person.links:
            return None
        parts = take_apart(person, wanted, log.records, versions_of(settings)[switch.version], switch.number, log.cut)
        command = parts.command(person, commands.new_id(), by, reason)
        told = Apart(
            person=person.key,
            request=command.id,
            identifier=wanted,
            other=parts.other.key,
            along=list(parts.along),
            events=list(parts.events),
            approximate=list(parts.approximate),
            since=since(log),
        )
        return told, command

    return put_into_force(settings, key, make)
