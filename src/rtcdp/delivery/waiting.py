"""The deliveries of a partition that are not over: by id, by profile, by destination."""

from __future__ import annotations

from collections.abc import Iterator

from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.lanes import Owner, Pending


class Waiting:
    """What waits or is under way.

    owner: who is told what becomes of it.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._all: dict[str, Pending] = {}
        self._by_profile: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._all.values())

    def __contains__(self, identity: str) -> bool:
        return identity in self._all

    def add(self, delivery: Delivery) -> Pending:
        """Hold one more."""
        pending = self._all[delivery.id] = Pending(delivery, self._owner)
        self._by_profile.setdefault(delivery.profile, set()).add(delivery.id)
        return pending

    def remove(self, delivery: Delivery) -> None:
        """It is over; one that is not held is none."""
        pending = self._all.pop(delivery.id, None)
        if pending is None:
            return
        pending.live = False
        of_profile = self._by_profile[delivery.profile]
        of_profile.discard(delivery.id)
        if not of_profile:
            del self._by_profile[delivery.profile]

    def of_profile(self, profile: str) -> list[Pending]:
        """All of a profile, as they are now."""
        return [self._all[identity] for identity in self._by_profile.get(profile, ())]

    def for_destination(self, name: str) -> list[Pending]:
        """All that go to one destination, as they are now."""
        return [one for one in self if one.delivery.destination == name]

    def release(self) -> None:
        """All of them belong to another process: nothing of them is attempted here any more."""
        for pending in self:
            pending.live = False
        self._all, self._by_profile = {}, {}
