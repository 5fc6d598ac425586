"""What one turn of a partition writes, and how it lies in Kafka: sealed, where personal data is encrypted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import sleep
from typing import TypeVar

from rtcdp.delivery import deliveries
from rtcdp.delivery.deliveries import ERASED, DeadDelivery, Delivery
from rtcdp.delivery.lanes import Pending
from rtcdp.sealing.parcels import pack
from rtcdp.sealing.sealer import Sealer
from rtcdp.sealing.stores import KeysAway

logger = logging.getLogger(__name__)

T = TypeVar("T")
Entry = tuple[bytes, bytes]
AGAIN_S = 0.3


def until_there(call: Callable[[], T]) -> T:
    """Something that needs the key store, again until it answers. Blocks."""
    while True:
        try:
            return call()
        except KeysAway as reason:
            logger.warning("%s; waiting", reason)
            sleep(AGAIN_S)


@dataclass
class Work:
    """Records by topic, and what begins when they are written.

    state:    of `deliveries`. whose: profile keys of what is to be sealed there, by its key.
    dead:     dead letters that are to be sealed, under their profile keys. notices: those that are not.
    outcomes: events by topic.
    begun, later: deliveries to be set off; sizes: how many begin, by destination.
    """

    state: dict[bytes, bytes | None] = field(default_factory=dict)
    whose: dict[bytes, bytes] = field(default_factory=dict)
    outcomes: dict[str, list[Entry]] = field(default_factory=dict)
    dead: list[Entry] = field(default_factory=list)
    notices: list[Entry] = field(default_factory=list)
    begun: list[Pending] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    later: list[Pending] = field(default_factory=list)

    def keep(self, delivery: Delivery) -> None:
        """Write a delivery down as it is now.

        All but the notice of an erasure can be read by nobody once the person is erased.
        """
        key = delivery.id.encode()
        self.state[key] = deliveries.encode(delivery)
        if delivery.kind != ERASED:
            self.whose[key] = delivery.profile.encode()

    def bury(self, letter: DeadDelivery) -> None:
        """Write down that a delivery was given up."""
        of = self.notices if letter.delivery.kind == ERASED else self.dead
        of.append((letter.delivery.profile.encode(), deliveries.encode(letter)))

    def in_kafka(self, sealer: Sealer | None) -> tuple[dict[bytes, bytes | None], list[Entry]]:
        """State and dead letters as they are to lie in Kafka. Waits while the key store is away. Blocks."""
        if sealer is None:
            return self.state, self.dead + self.notices
        kept = {key: whose for key, whose in self.whose.items() if self.state.get(key) is not None}
        entries = [(whose, self.state[key] or b"") for key, whose in kept.items()]
        found = until_there(lambda: pack([*entries, *self.dead], sealer))
        sealed = dict(zip(kept, found[: len(kept)], strict=True))
        dead = [(sealer.name(key).name, value) for (key, _), value in zip(self.dead, found[len(kept) :], strict=True)]
        return self.state | sealed, dead + self.notices
