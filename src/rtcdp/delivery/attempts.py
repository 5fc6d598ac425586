"""What one attempt to deliver came to, whatever kind the destination is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rtcdp.delivery.deliveries import Delivery


class Verdict(StrEnum):
    """What is to be done after an attempt."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt.

    error:   why it failed; nothing secret and nothing of the record in it.
    alive:   whether the destination did its part: what it refuses says nothing against its health.
    pause:   it asked to be left alone for so long (ms); None: it did not.
    """

    verdict: Verdict
    error: str = ""
    alive: bool = True
    pause: int | None = None


class Sender(Protocol):
    """Something that can attempt deliveries to one destination."""

    async def attempt(self, delivery: Delivery) -> Attempt:
        """One attempt, within the destination's timeout. Raises nothing but cancellation."""

    async def close(self) -> None:
        """Let go of connections and files."""
