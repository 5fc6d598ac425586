"""What a folder of destinations means once it is read: where to send, what, and what may be reported back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtcdp.delivery.facts import Facts, Read
from rtcdp.delivery.templates import Part, Render, escaped

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
RETRIES = (5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Waits between attempts (ms), as Standard Webhooks advises: ten attempts over three days."""
REFUSED = frozenset({400, 413, 414, 415, 422})
"""Statuses that the same body would get again."""
ANY = "*"
_ONE_ADDRESS = re.compile(r"[A-Za-z0-9._%+@-]+")


@dataclass(frozen=True)
class Rate:
    """At most `times` attempts within any `per` ms."""

    times: int
    per: int


@dataclass(frozen=True)
class Destination:
    """Where to send. Options are those of `options.DESTINATION`; durations in ms.

    address: constant pieces and closures; its secrets are in it, so it is never logged.
    secrets: keys to sign with, the newest first.
    """

    name: str
    kind: Literal["url", "apprise", "file"]
    address: tuple[Part, ...]
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[bytes, ...] = ()
    sign: str = "standard"
    accept: Read | None = None
    refused: frozenset[int] = REFUSED
    timeout: int = 15 * SECOND
    concurrency: int = 16
    rate: Rate | None = None
    retries: tuple[int, ...] = RETRIES

    @property
    def templated(self) -> bool:
        """Whether the address depends on the record."""
        return any(not isinstance(part, str) for part in self.address)

    def slots(self, facts: Facts) -> list[str]:
        """What a record puts into the address, escaped: kept with a delivery instead of the address, which holds secrets.

        A value that cannot be put in is "": for Apprise, whose services split addresses after unescaping them, everything but
        an e-mail address, a number or an id.
        """
        found = [part(None, facts) for part in self.address if not isinstance(part, str)]
        if self.kind == "apprise":
            found = [value if isinstance(value, int) or _ONE_ADDRESS.fullmatch(str(value)) else None for value in found]
        return [escaped(value) for value in found]

    def filled(self, slots: Iterable[str]) -> str:
        """The address with the slots put in. Raises ValueError where they are not as many as it has holes now."""
        given = list(slots)
        holes = sum(not isinstance(part, str) for part in self.address)
        if len(given) != holes:
            raise ValueError(f"the address of {self.name} has {holes} expressions now, the delivery was made for {len(given)}")
        rest = iter(given)
        return "".join(part if isinstance(part, str) else next(rest) for part in self.address)


@dataclass(frozen=True)
class Subscription:
    """What is sent to a destination.

    selected: (kind, name) of the records, where the name may be ANY.
    expire:   ms after the record's instant; 0: never.
    """

    name: str
    to: str
    selected: frozenset[tuple[str, str]]
    where: Read | None = None
    body: Render | None = None
    expire: int = 0
    historical: bool = False
    outcomes: bool | None = None


@dataclass(frozen=True)
class Callback:
    """How a tool's reports are read: `fields` are the closures of `event profile user_id delivery at`, where they are given."""

    name: str
    secrets: tuple[bytes, ...] = ()
    token: str = ""
    fields: Mapping[str, Read] = field(default_factory=dict)
    properties: Render | None = None


@dataclass(frozen=True)
class Outlets:
    """A whole folder, checked."""

    destinations: Mapping[str, Destination]
    subscriptions: tuple[Subscription, ...]
    callbacks: Mapping[str, Callback] = field(default_factory=dict)

    def __post_init__(self) -> None:
        index: dict[tuple[str, str], list[Subscription]] = {}
        for subscription in self.subscriptions:
            for place in subscription.selected:
                index.setdefault(place, []).append(subscription)
        object.__setattr__(self, "_index", index)

    def selecting(self, kind: str, name: str) -> list[Subscription]:
        """Subscriptions that select a record of this kind and name, each once, in the order of the folder."""
        index: dict[tuple[str, str], list[Subscription]] = self.__dict__["_index"]
        named, every = index.get((kind, name)), index.get((kind, ANY))
        if not named or not every:
            return named or every or []
        return list(dict.fromkeys([*every, *named]))

    def summary(self) -> dict[str, Any]:
        """What is in it, by number."""
        return {
            "destinations": len(self.destinations),
            "subscriptions": len(self.subscriptions),
            "callbacks": len(self.callbacks),
        }
