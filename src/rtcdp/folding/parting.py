"""A person without an identifier that never was theirs: what the command `split` does in the person's part of the log.

Both states come with the command, made from the log (see `rtcdp.folding.contributions`); it counts only where the person's
state is still the one they were made from. Leaving and beginning anew are records of one transaction each: the person forgets
what is not theirs and tells the identifier in one, the identifier takes it in the next; what it is sent meanwhile comes
back to it behind that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128_hexdigest

from rtcdp import profile as profiles
from rtcdp.errors import RtcdpError
from rtcdp.records import Link, Part, Release, Split, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtcdp.folding.engine import Engine
    from rtcdp.folding.outbox import Outbox
    from rtcdp.profile import Profile


def digest(profile: Profile) -> str:
    """What tells whether a person has seen anything since: a hash of what events have made."""
    return xxh3_128_hexdigest(profiles.contributed(profile))


def given(key: str, state: bytes) -> Profile:
    """A state that came with a command. Raises ValueError where it is none that this release knows: the command's fault."""
    try:
        return profiles.decode(key, state)
    except RtcdpError as error:
        raise ValueError(str(error)) from error


def split(profile: Profile, command: Split, engine: Engine, outbox: Outbox, append: Callable[[str, bytes], None]) -> None:
    """Leave out of the person what is not theirs, and tell the identifier; or say that the command is outdated.

    append: as of `rtcdp.folding.actors`.
    """
    if command.of not in profile.links or digest(profile) != command.expected:
        outbox.identity(profile, command.of, "outdated")
        return
    theirs, mine = given(command.head, command.theirs), given(profile.key, command.mine)
    leaving, said = (command.head, *command.along), [profile.now, command.id]
    for key in leaving:
        profile.links.pop(key, None)
        profile.parted[key] = said
    theirs.parted = dict.fromkeys((profile.key, *profile.links), said)
    waiting = profile.waiting
    theirs.waiting = {key: start for key, start in theirs.waiting.items() if key in waiting}
    hold(profile, mine)
    profile.waiting = {key: start for key, start in profile.waiting.items() if key in waiting}  # what was decided stays so
    _tell(profile, command, theirs, append)
    engine.look_again(profile, outbox, revealed=profile.now)
    outbox.identity(profile, command.of, "split")


def _tell(profile: Profile, command: Split, theirs: Profile, append: Callable[[str, bytes], None]) -> None:
    """Tell everybody whose they are now: an alias may point to one that is on the other side."""
    said: dict[str, Any] = {"id": command.id, "received": profile.now, "simulated": command.simulated}
    append(command.head, encode(Part(by=profile.key, state=profiles.encode(theirs), **said)))
    leaving, staying = (command.head, *command.along), sorted(profile.links)  # in one order, read from bytes or not
    for other in command.along:
        for by in (profile.key, *staying):
            append(other, encode(Release(by=by, **said)))
        append(other, encode(Link(to=command.head, **said)))
    for other in staying:
        for by in leaving:
            append(other, encode(Release(by=by, **said)))
        append(other, encode(Link(to=profile.key, **said)))


def take(profile: Profile, part: Part, engine: Engine, outbox: Outbox) -> None:
    """The identifier begins with what is its own, and is nobody's alias for good."""
    if profile.erased and part.received <= profile.erased:
        return
    outbox.begin("command", part.id, part.by)
    theirs = profiles.decode(profile.key, part.state)
    if profile.alias or profile.fresh:
        now, seq = max(profile.now, part.received), profile.seq
        profile.begin_anew()
        profile.now, profile.seq, profile.fresh = now, seq, theirs.fresh
        hold(profile, theirs)
        profile.triggers, profile.seen, profile.links = theirs.triggers, theirs.seen, theirs.links
        profile.parted = theirs.parted
        if not profile.fresh:
            engine.look_again(profile, outbox, revealed=now)
    elif not theirs.fresh:  # it was let go meanwhile, and has begun
        engine.merge(profile, theirs, part.id, outbox, revealed=part.received, simulated=part.simulated)
    profile.detached = True
    outbox.identity(profile, part.by, "split")


def hold(profile: Profile, made: Profile) -> None:
    """Hold what was made from the log. What was decided stays: memberships are looked at again, what was sent was sent."""
    profile.traits, profile.slots, profile.consent = made.traits, made.slots, made.consent
    profile.waiting, profile.schedules = made.waiting, made.schedules
