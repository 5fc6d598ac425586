"""What should have come out where people say yes and no all the time: the oracle of `definitions-consent/`, with plain loops.

`python -m faults.consent_oracle JOB.json`, as `faults.oracle`. An event says yes or no in `context.consent`; a record of
`commands` does it by hand. Both count from when the broker appended them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from faults.oracle import MAX_AGE, NOT_TRUE, Fact, main, read_all

LATER = 900
REMEMBERED = 4
A_DAY = 86_400_000


class Asked:
    """One profile: what it may have to say, answer by answer."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.facts: list[Fact] = []
        self.ids: set[str] = set()
        self.events = self.orders = self.wanted = self.cents = 0
        self.answer: bool | None = None
        self.target = False
        self.later: tuple[int, str] | None = None
        self.decisions: dict[str, list[tuple[str, int]]] = {}
        """By trigger the last ones and when, newest first: as many as a profile remembers."""
        self.since = self.denied = -1

    def until(self, now: int) -> None:
        """What falls due up to and including now."""
        if self.later is not None and self.later[0] + LATER <= now:
            (started, identity), self.later = self.later, None
            self.fire("later", started, started + LATER, identity, {"wanted": self.wanted})

    def say(self, granted: bool, at: int, cause: str, identity: str) -> None:
        """They answer. With a no everything that was gathered for it goes."""
        held, self.answer = self.answer, granted
        if not granted:
            self.denied = max(self.denied, at)
        if held is not granted:
            self.fact("consent", "marketing", at, cause, identity, held or None, granted or None)
        if granted and held and (self.since > self.denied or self.since == at):  # a second yes of an instant says nothing new
            return
        if granted:  # from here on; after a no and a yes of one instant from the next yes on
            self.since = at
        if held:
            self.withdraw(at, cause, identity)

    def withdraw(self, at: int, cause: str, identity: str) -> None:
        """Everything that was gathered goes, what waits is called off, what was sent is withdrawn."""
        self.wanted = self.cents = 0
        if self.later is not None:
            self.later = None
            self.fact("not_sent", "later", at, cause, identity, None, None, "consent")
            self.decide("later", "consent", at)
        for name, last in self.decisions.items():
            if name != "state" and (any(what == "sent" for what, _ in last) or len(last) == REMEMBERED):
                self.facts.append(("cancel", self.key, name, at, "consent"))

    def decide(self, name: str, what: str, at: int) -> None:
        self.decisions[name] = [(what, at), *self.decisions.get(name, [])][:REMEMBERED]

    def receive(self, at: int, body: dict[str, Any]) -> None:
        """An event."""
        self.until(at)
        identity, event = body["messageId"], body["event"]
        if identity in self.ids:
            return
        self.ids.add(identity)
        self.events += 1
        said = body.get("context", {}).get("consent", {}).get("marketing")
        if said is not None:
            self.say(said, at, "event", identity)
        if event == "Order Completed":
            self.orders += 1
            if self.answer:
                self.wanted += 1
                self.cents += round(body["properties"]["amount"] * 100)
        self.settle(at, "event", identity)
        if event == "Probe":
            spend = self.cents // 100 if self.cents % 100 == 0 else self.cents / 100
            told = {"events": self.events, "orders": self.orders, "wanted": self.wanted, "spend": spend}
            self.fire("state", at, at, identity, told)
        elif event in ("Order Completed", "Product Added") and not self.answer:
            name = "offer" if event == "Order Completed" else "later"
            if not any(what == "consent" and told > at - A_DAY for what, told in self.decisions.get(name, [])):  # once a day
                self.fact("not_sent", name, at, "event", identity, None, None, "consent")
                self.decide(name, "consent", at)
        elif event == "Order Completed":
            self.fire("offer", at, at, identity, {"wanted": self.wanted})
        elif event == "Product Added":
            self.later = (at, identity)

    def command(self, at: int, identity: str, granted: bool) -> None:
        """Somebody answers for them."""
        self.until(at)
        self.say(granted, at, "command", identity)
        self.settle(at, "command", identity)

    def settle(self, at: int, cause: str, identity: str) -> None:
        if (self.wanted >= 2) != self.target:
            self.target = not self.target
            kind, old_new = ("entered", NOT_TRUE) if self.target else ("exited", NOT_TRUE[::-1])
            self.fact(kind, "targets", at, cause, identity, *old_new)

    def fact(self, kind: str, name: str, at: int, cause: str, identity: str, old: Any, new: Any, reason: str = "") -> None:
        self.facts.append((kind, self.key, name, at, cause, identity, old, new, reason))

    def fire(self, name: str, started: int, due: int, identity: str, payload: dict[str, Any]) -> None:
        self.decide(name, "sent", due)
        told = json.dumps(payload, sort_keys=True)
        self.facts.append(("trigger", self.key, name, due, "event", identity, started, due + MAX_AGE, told))


def expect(job: dict[str, Any], _: AbstractSet[tuple[str, str]]) -> tuple[Mapping[str, Asked], Counter[Fact]]:
    """What must come of the source and of the commands, which are sent when nothing else is."""
    people: dict[str, Asked] = {}
    dead: Counter[Fact] = Counter()
    for message in read_all(job, "source"):
        if "dead" in dict(message.headers() or ()):
            dead["letter", message.topic(), message.partition(), message.offset()] += 1
    records = [(message.timestamp()[1], 0, message.offset(), message) for message in read_all(job, "source")]
    records += [(message.timestamp()[1], 1, message.offset(), message) for message in read_all(job, "commands")]
    for at, command, _offset, message in sorted(records, key=lambda record: record[:3]):
        body = json.loads(message.value() or b"")
        key = (message.key() or b"").decode() if command else f"main/user_id:{body['userId']}"
        person = people.setdefault(key, Asked(key))
        if command:
            person.command(at, body["id"], body["answers"]["marketing"])
        else:
            person.receive(at, body)
    return people, dead


if __name__ == "__main__":
    main(expect)
