"""What a person, or who acts for them, asked for: commands of the log, each done by one function. Pure.

A command to an alias is passed on to the person that the identifier belongs to, as events are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from rtcdp.folding import consents, correction, parting
from rtcdp.folding.linking import one_more
from rtcdp.profile import Answer, Profile
from rtcdp.records import Command, Consent, Correct, Erase, Split, encode

if TYPE_CHECKING:
    from rtcdp.folding.actors import Append
    from rtcdp.folding.engine import Engine
    from rtcdp.folding.erasing import Erasing
    from rtcdp.folding.outbox import Outbox


class Rights:
    """Commands under one version of the definitions.

    append: queues a record for a profile key: (key, record of `profile-events`).
    """

    def __init__(self, engine: Engine, outbox: Outbox, append: Append, erasing: Erasing) -> None:
        self._engine = engine
        self._outbox = outbox
        self._append = append
        self._erasing = erasing

    def obey(self, profile: Profile, command: Command) -> None:
        """Do what a command asks for, at its time."""
        if not command.at and not isinstance(command, Erase):  # said here and now, whoever it is passed on to
            command = msgspec.structs.replace(command, at=command.received or profile.now)
        if profile.erased and command.received > 0 and command.at <= profile.erased and not isinstance(command, Erase):
            return  # given before the erasure, and on its way by an alias meanwhile
        if profile.alias and not (isinstance(command, Erase) and command.people):
            passed_on = msgspec.structs.replace(command, source="", offset=-1, hops=one_more(command.hops))
            self._append(profile.alias, encode(passed_on))
            return
        if profile.wake_at <= command.received:
            self._engine.advance(profile, command.received, self._outbox, simulated=command.simulated)
        profile.now = max(profile.now, command.received)
        self._outbox.begin("command", command.id)
        _KINDS[type(command)](self, profile, command)

    def consent(self, profile: Profile, command: Consent) -> None:
        """Answers set by hand."""
        at = command.at
        answers = {
            name: None if granted is None else Answer(granted, at, command.id, command.by, at, command.until)
            for name, granted in command.answers.items()
        }
        revealed = profile.now if command.simulated else command.received
        self._engine.consent(profile, consents.Said(answers, at, command.id), self._outbox, revealed=revealed)

    def correct(self, profile: Profile, command: Correct) -> None:
        """Something about the person is put right."""
        correction.correct(profile, command, self._engine, self._outbox)

    def split(self, profile: Profile, command: Split) -> None:
        """An identifier that is not theirs leaves the person."""
        parting.split(profile, command, self._engine, self._outbox, self._append)

    def erase(self, profile: Profile, command: Erase) -> None:
        """Everything goes."""
        self._erasing.obey(profile, command, self._outbox, self._append)


_KINDS: dict[type[Command], Callable[[Rights, Profile, Any], None]] = {
    Consent: Rights.consent,
    Correct: Rights.correct,
    Split: Rights.split,
    Erase: Rights.erase,
}
