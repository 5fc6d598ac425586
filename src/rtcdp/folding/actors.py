"""What the records of identity do: links, releases, states handed over, events passed on. One batch, one partition.

Giving a state away and becoming an alias are one batch, so one transaction: whatever dies when, a state is in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from rtcdp import profile as profiles
from rtcdp.folding import parting
from rtcdp.folding.erasing import owed
from rtcdp.folding.linking import Strength, one_more
from rtcdp.profile import Profile
from rtcdp.records import Erase, Forward, Link, Merge, Part, Release, encode

if TYPE_CHECKING:
    from rtcdp.folding.engine import Engine
    from rtcdp.folding.outbox import Outbox

MOST_STATE = 600_000
"""Bytes of a state that is handed over: as a record of the log, in base64, it has to fit Kafka's usual 1 MiB."""

MOST_BY_WAY = 256
"""Identifiers that an alias keeps in mind."""

Append = Callable[[str, bytes], None]


class Actors:
    """Identity under one version of the definitions.

    append: queues a record for a profile key: (key, record of `profile-events`).
    """

    def __init__(self, engine: Engine, outbox: Outbox, append: Append) -> None:
        self._engine = engine
        self._outbox = outbox
        self._append = append
        self._strength = Strength(engine.compiled.definitions.identity)

    def note(self, profile: Profile, event: Any) -> None:
        """An event of this person names other identifiers: those that are new to it are told."""
        for other in event.also:
            if other == profile.key or other in profile.links or other in profile.parted:
                continue
            said = {"id": event.id, "received": event.received, "simulated": event.simulated}
            gone = self._strength.too_many(profile, other)
            if gone:
                self._let_go(profile, gone, said)
            profile.links[other] = [event.received, event.id]
            self._append(other, encode(Link(to=profile.key, **said)))

    def take(self, profile: Profile, record: Any) -> None:
        """A link, a release, a state handed over or given back."""
        if type(record) is Link:
            self.link(profile, record)
        elif type(record) is Merge:
            self.merge(profile, record)
        elif type(record) is Part:
            parting.take(profile, record, self._engine, self._outbox)
        else:
            self.release(profile, record)

    def link(self, profile: Profile, link: Link) -> None:
        """The identifier of this profile is told whose it is."""
        if profile.erased and link.received <= profile.erased:
            return
        answer = self._strength.answer(profile, link.to)
        if answer.kind == "give":
            self._give(profile, link)
        elif answer.kind == "tell":
            told = msgspec.structs.replace(link, to=answer.to, hops=one_more(link.hops))
            self._append(answer.of, encode(told))
        elif answer.kind == "detach":
            self._detach(profile, link.received, "detached", link.id)
        elif answer.kind == "refuse":
            self._put_out(profile, link.to, "refused", link.id)

    def release(self, profile: Profile, release: Release) -> None:
        """The person lets this identifier go; it begins anew as its own."""
        if profile.alias and (profile.alias == release.by or profile.alias in release.people):
            for key in release.people:  # they are told the same
                profile.links.pop(key, None)
            self._detach(profile, release.received, "freed", release.id)

    def merge(self, profile: Profile, merge: Merge) -> None:
        """The state of another identifier becomes part of this person's."""
        if profile.erased and merge.received <= profile.erased:  # it was given away before the person was erased
            self._erase_too(profile, merge)
            return
        if profile.alias:
            self._by_way_of(profile, merge)
            since = max(merge.received, profile.now)  # theirs from when this one is, whatever was erased before
            passed_on = msgspec.structs.replace(merge, received=since, hops=one_more(merge.hops), by=[*merge.by, profile.key])
            self._append(profile.alias, encode(passed_on))
            return
        other = profiles.decode(merge.of, merge.state)
        if profile.wake_at <= merge.received:
            self._engine.advance(profile, merge.received, self._outbox, simulated=merge.simulated)
        profile.now = max(profile.now, merge.received)
        profile.links.setdefault(merge.of, [merge.received, merge.id])
        self._engine.merge(profile, other, merge.id, self._outbox, revealed=merge.received, simulated=merge.simulated)
        self._put_out(profile, merge.of, "merged", merge.id)
        for gone in self._strength.beyond(profile):
            self._let_go(profile, gone, {"id": merge.id, "received": merge.received, "simulated": merge.simulated})

    def _erase_too(self, profile: Profile, merge: Merge) -> None:
        """Nobody knew yet that these identifiers were the person's: the erasure has not reached them.

        Which of them the person has named again since, is told so behind it.
        """
        other = profiles.decode(merge.of, merge.state)
        at = profile.erased
        people = sorted({profile.key, merge.of, *merge.by, *other.links, *owed(other)})
        for key in people:
            if key == profile.key:
                continue
            self._append(key, encode(Erase(id=merge.id, at=at, received=at, simulated=merge.simulated, people=people)))
            if key in profile.links:
                since, said = profile.links[key]
                self._append(key, encode(Link(to=profile.key, id=said, received=since, simulated=merge.simulated)))

    def _by_way_of(self, profile: Profile, merge: Merge) -> None:
        """Keep in mind who leads to the person by way of this alias: it may be its own again, or erased."""
        said, links = [merge.received, merge.id], profile.links
        for key in (merge.of, *profiles.decode(merge.of, merge.state).links):
            links.setdefault(key, said)
        if len(links) > MOST_BY_WAY:
            profile.links = dict(sorted(links.items(), key=lambda one: (one[1], one[0]))[-MOST_BY_WAY:])

    def pass_on(self, profile: Profile, event: bytes, of: str = "", hops: int = 0) -> None:
        """An event has reached an alias, or a person of whom the identifier `of` was split off: then it goes back there."""
        forward = Forward(of=of or profile.key, event=msgspec.Raw(event), hops=one_more(hops))
        self._append(profile.alias or of, encode(forward))

    def take_back(self, profile: Profile, event: Any) -> None:
        """An event of this alias comes back: who it leads to, by way of others, has parted with it. It begins anew."""
        self._detach(profile, event.received, "freed", event.id)

    def ended(self, person: str, links: list[str], at: int) -> None:
        """A person's profile has ended: its identifiers are nobody's, and each is gone with that. at: when (ms)."""
        for key in links:
            self._append(key, encode(Release(id="", received=at, by=person, people=[person, *links])))

    def _let_go(self, profile: Profile, gone: str, said: dict[str, Any]) -> None:
        """One too many of its kind."""
        del profile.links[gone]
        self._put_out(profile, gone, "released", said["id"])
        self._append(gone, encode(Release(by=profile.key, **said)))

    def _give(self, profile: Profile, link: Link) -> None:
        """Hand everything over, and be an alias from here on."""
        if not profile.fresh:
            if profile.wake_at <= link.received:
                self._engine.advance(profile, link.received, self._outbox, simulated=link.simulated)
            profile.now = max(profile.now, link.received)
        if profile.is_kept or link.hops:  # it may have ended just now; a person who has not named it must learn of it
            state = profiles.encode(profile)
            if len(state) > MOST_STATE:
                self._put_out(profile, link.to, "refused", link.id)
                return
            merge = Merge(of=profile.key, state=state, id=link.id, received=link.received, simulated=link.simulated)
            self._append(link.to, encode(merge))
        links = profile.links
        self._begin_anew(profile, link.received)
        self._put_out(profile, link.to, "alias", link.id)
        profile.links = links
        profile.alias = link.to
        profile.fresh = False

    def _detach(self, profile: Profile, received: int, reason: str, message_id: str) -> None:
        person, links = profile.alias, profile.links
        self._begin_anew(profile, received)
        profile.detached = reason == "detached"
        profile.links = links  # they are aliases of it still
        self._put_out(profile, person, reason, message_id)

    def _begin_anew(self, profile: Profile, received: int) -> None:
        now, seq = max(profile.now, received), profile.seq
        profile.begin_anew()
        profile.now, profile.seq = now, seq

    def _put_out(self, profile: Profile, other: str, reason: str, message_id: str) -> None:
        self._outbox.begin("merge", message_id, other)
        self._outbox.identity(profile, other, reason)
