"""What a person agrees to: answers about purposes and channels, in any order of arrival the same. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtcdp.profile import Answer, Profile

if TYPE_CHECKING:
    from rtcdp.outbox import Outbox
    from rtcdp.records import Consent


def take(profile: Profile, command: Consent, outbox: Outbox) -> None:
    """Answers set by hand; one that was given later stays."""
    at = command.at or profile.now
    for name, granted in command.answers.items():
        before = profile.consent.get(name)
        if before is not None and (at, command.id) <= (before.at, before.id):
            continue
        if granted is None:
            profile.consent.pop(name, None)
        else:
            profile.consent[name] = Answer(granted, at, command.id, command.by, at, command.until)
        old = None if before is None else before.granted
        if old != granted:
            outbox.change(profile, "consent", name, old=old, new=granted)
