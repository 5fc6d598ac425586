"""Erasing a person in the fold: state, every identifier ever linked, and the marks that keep both from coming back. Pure.

A mark is an entry of the state under `MARK` and a keyed hash of a profile key: when that key was erased (its `now`), and the
last `seq`. It holds nothing of the person, and stays. What occurred until then changes nothing any more; what occurs later
begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

from rtcdp import profile as profiles
from rtcdp.profile import Profile
from rtcdp.records import Erase, Link, Merge, decode, encode

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Outbox

Append = Callable[[str, bytes], None]
MARK = b"~erased/"
"""What the keys of marks begin with; after it the hash, in hex."""
REQUEST = "request"
"""Trait of a mark: the id of the request."""
Marking = Callable[[bytes], bytes]
"""The hash of a profile key."""


def marking(secret: bytes) -> Marking:
    """Hashes under a secret: who does not have it cannot find out whose a mark is by trying."""
    return lambda key: blake2b(key, key=secret, digest_size=16).digest()


def mark_key(name: bytes) -> bytes:
    """The key of a mark. name: the hash of the profile key."""
    return MARK + name.hex().encode()


def mark_of(time: int, request: str = "", seq: int = 0) -> Profile:
    """A mark. time: what occurred until then changes nothing (ms)."""
    mark = Profile("")
    mark.now, mark.seq = time, seq
    mark.traits[REQUEST] = [time, request]
    return mark


def owed(profile: Profile) -> set[str]:
    """Identifiers whose states could not be merged yet: they are this person's aliases, with what is theirs."""
    merges = [decode(written) for written in profile.owed]
    found = [profiles.decode(merge.of, merge.state) for merge in merges if isinstance(merge, Merge)]
    return {key for other in found for key in (other.key, *other.links, *owed(other))} - {profile.key}


class Erasing:
    """Erasures of one batch.

    name:   hash of a profile key. state: what was there before the batch.
    marks:  key of a mark -> its entry, of those made in this batch.
    erased: profile keys erased in this batch.
    """

    def __init__(self, name: Marking, state: Mapping[bytes, bytes], *, any_before: bool) -> None:
        self._name = name
        self._state = state
        self.marks: dict[bytes, bytes] = {}
        self.erased: list[bytes] = []
        self._any_before = any_before

    def recall(self, profile: Profile) -> None:
        """Let a profile that begins know of its erasure, where it was one."""
        if not (self._any_before or self.marks):
            return
        key = mark_key(self._name(profile.key.encode()))
        found = self.marks.get(key) or self._state.get(key)
        if found is not None:
            mark = profiles.decode("", found)
            profile.erased, profile.seq = mark.now, mark.seq

    def obey(self, profile: Profile, command: Erase, outbox: Outbox, append: Append) -> None:
        """Erase a person, or an identifier of one, as its person says (`people`)."""
        at = max(command.received, command.at)
        if command.people:
            if profile.alias not in command.people:  # it is somebody else's, or nobody's
                for key in command.people:
                    profile.parted.pop(key, None)
                return
            for key, (since, said) in profile.links.items():  # they came later, and lead to the person by way of this one
                if since > at and key not in command.people:
                    link = Link(to=profile.alias, id=said, received=since, simulated=command.simulated)
                    append(key, encode(link))
        else:
            at = max(at, profile.now)  # all that was folded goes: also what came from a source that is ahead of the commands
            people = sorted({profile.key, *profile.links, *owed(profile)})
            for other in sorted({*people, *profile.parted} - {profile.key}):
                told = Erase(id=command.id, at=at, received=command.received, simulated=command.simulated, people=people)
                append(other, encode(told))
            for key in people:
                outbox.cancel(profile, key, "", "", "erased")
            outbox.erased(profile, people)
        self._wipe(profile, at, command.id)

    def remember(self, key: bytes, command: Erase) -> None:
        """What is left of an erasure when nobody can tell whose it was: the mark. key: its key."""
        self._put(key, mark_of(command.received or command.at, command.id))

    def _wipe(self, profile: Profile, at: int, request: str) -> None:
        seq = profile.seq
        profile.begin_anew()
        profile.seq, profile.erased = seq, max(at, profile.erased)  # as `recall` makes one, wherever the batch ends
        self.erased.append(profile.key.encode())
        self._put(mark_key(self._name(profile.key.encode())), mark_of(profile.erased, request, seq))

    def _put(self, key: bytes, mark: Profile) -> None:
        found = self.marks.get(key) or self._state.get(key)
        if found is not None:
            before = profiles.decode("", found)
            if before.now > mark.now:
                return
            mark.seq = max(mark.seq, before.seq)
        self.marks[key] = profiles.encode(mark)
