"""What should have come out, recomputed from the source topic with plain loops; and how that differs from what did.

A process of its own that imports nothing of rtcdp: `python -m faults.oracle JOB.json` reads the topics that the job names (of
several deployments, where one went on as another), and writes `expected.jsonl`, `found.jsonl` and `verdict.json` into its
folder. It computes the definitions in `definitions/` and no others, for sources in `arrival` mode whose events carry no times:
an event happens when the broker appended it.

A record of the source with the header `dead` must become a dead letter; one with `either` counts, unless the profile stage has
refused it with a dead letter.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

WINDOW = 1_000
CART = 700
MAX_AGE = 86_400_000
BIG = 20_000  # cents
NOT_TRUE = (None, True)  # false is left out of outputs

Fact = tuple[Any, ...]


class Person:
    """One profile: everything it may have to say, event by event."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.facts: list[Fact] = []
        self.ids: set[str] = set()
        self.events = self.orders = self.cents = 0
        self.views: list[int] = []
        self.kinds: set[str] = set()
        self.last: tuple[int, str, str] | None = None
        self.inside: set[str] = set()
        self.level: str | None = None
        self.cart: tuple[int, str] | None = None

    def spend(self) -> float | int:
        return self.cents // 100 if self.cents % 100 == 0 else self.cents / 100

    def receive(self, at: int, identity: str, event: str, properties: dict[str, Any]) -> None:
        self.until(at)
        if identity in self.ids:
            return
        self.ids.add(identity)
        self.events += 1
        if event == "Order Completed":
            self.orders += 1
            self.cents += round(properties["amount"] * 100)
        elif event == "Product Viewed":
            self.views.append(at)
            item = properties["item"]
            self.kinds.add(item)
            self.last = max(self.last or (0, "", ""), (at, identity, item))
        self.settle(at, "event", identity)
        if event == "Order Completed" and self.cart is not None and at > self.cart[0]:
            self.fact("not_sent", "cart", at, "event", identity, None, None, "cancelled")
            self.cart = None
        if event == "Order Completed":
            self.fire("bought", at, at, "event", identity, {"orders": self.orders, "spend": self.spend()})
        elif event == "Product Added":
            self.cart = (at, identity)
        elif event == "Probe":
            self.fire("state", at, at, "event", identity, self.state(at))

    def until(self, now: int) -> None:
        """What time alone does, up to and including now, in order."""
        while True:
            due = []
            if "here" in self.inside:
                due.append(self.views[-2] + WINDOW)
            if self.cart is not None:
                due.append(self.cart[0] + CART)
            if not due or min(due) > now:
                return
            at = min(due)
            left = self.settle(at, "time", "")
            if self.cart is not None and self.cart[0] + CART <= at:
                started, identity = self.cart
                self.cart = None
                self.fire("cart", started, started + CART, "event", identity, {"spend": self.spend()})
            if left:
                self.fire("gone", at, at, "time", "", {"orders": self.orders})

    def settle(self, at: int, cause: str, identity: str) -> bool:
        """Tag and segments as they are now; true where `here` was left."""
        level = None if self.orders < 2 else "high" if self.orders >= 5 else "low"
        if level != self.level:
            self.fact("tag", "level", at, cause, identity, self.level, level, "")
            self.level = level
        recent = sum(1 for view in self.views[-2:] if view > at - WINDOW)
        holds = {"buyers": self.orders >= 1, "spenders": self.cents >= BIG, "here": recent >= 2}
        left = False
        for name, held in holds.items():
            if held and name not in self.inside:
                self.inside.add(name)
                self.fact("entered", name, at, cause, identity, *NOT_TRUE, "")
            elif not held and name in self.inside:
                self.inside.discard(name)
                self.fact("exited", name, at, cause, identity, *reversed(NOT_TRUE), "")
                left = left or name == "here"
        return left

    def state(self, at: int) -> dict[str, Any]:
        recent = sum(1 for view in self.views if view > at - WINDOW)
        counts = {
            "events": self.events,
            "orders": self.orders,
            "spend": self.spend(),
            "views": recent,
            "kinds": len(self.kinds),
        }
        return counts | {"last_item": None if self.last is None else self.last[2]}

    def fact(self, kind: str, name: str, at: int, cause: str, identity: str, old: Any, new: Any, reason: str) -> None:
        self.facts.append((kind, self.key, name, at, cause, identity, old, new, reason))

    def fire(self, name: str, started: int, due: int, cause: str, identity: str, payload: dict[str, Any]) -> None:
        told = json.dumps({key: value for key, value in payload.items() if value is not None}, sort_keys=True)
        self.facts.append(("trigger", self.key, name, due, cause, identity, started, due + MAX_AGE, told))


def milliseconds(text: str) -> int:
    then = datetime.fromisoformat(text)
    return round((then - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000)


def change(body: dict[str, Any]) -> Fact:
    """A record of `profile-changes` as a fact."""
    old, new = body.get("old") or None, body.get("new") or None
    texts = (body["cause"], body.get("message_id", ""), old, new, body.get("reason", ""))
    return (body["kind"], body["profile"], body["name"], milliseconds(body["at"]), *texts)


def trigger(body: dict[str, Any]) -> Fact:
    """A record of `triggers` as a fact."""
    data = body["data"]
    if body["type"] == "rtcdp.cancel":
        return ("cancel", data["profile"], data["trigger"], milliseconds(body["time"]), data["reason"])
    told = json.dumps({key: value for key, value in data["payload"].items() if value is not None}, sort_keys=True)
    times = milliseconds(data["occurred"]), milliseconds(data["expires_at"])
    at = milliseconds(data["decided"])
    return ("trigger", data["profile"], data["trigger"], at, data["cause"], data.get("message_id", ""), *times, told)


def read(bootstrap: str, topic: str) -> Iterator[Message]:
    """Everything committed in a topic, partition by partition in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "oracle",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "check.crcs": True,
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        for number in sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions):
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
            consumer.assign([TopicPartition(topic, number, low)])
            over = False
            while not over:
                first = consumer.poll(1.0)  # consume(n, timeout) would wait for all n
                for message in () if first is None else (first, *consumer.consume(5_000, 0)):
                    error = message.error()
                    if error is None:
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        over = True
                    else:
                        raise SystemExit(f"{topic}/{number}: {error.str()}")
    finally:
        consumer.close()


def read_all(job: dict[str, Any], name: str) -> Iterator[Message]:
    """The same topic of every deployment that the job names, one after the other."""
    for part in job["parts"]:
        yield from read(part["bootstrap"], part[name])


def expect(
    messages: Iterable[Message], refused: AbstractSet[tuple[str, str]] = frozenset()
) -> tuple[dict[str, Person], Counter[Fact]]:
    """Profiles as they must be, and the origins that must be dead letters.

    refused: profile and message id of events that have been refused, where that is allowed.
    """
    people: dict[str, Person] = {}
    dead: Counter[Fact] = Counter()
    for message in messages:
        headers = dict(message.headers() or ())
        if "dead" in headers:
            dead["letter", message.topic(), message.partition(), message.offset()] += 1
            continue
        event = json.loads(message.value() or b"")
        key = f"main/user_id:{event['userId']}"
        if "either" in headers and (key, event["messageId"]) in refused:
            continue
        person = people.get(key)
        if person is None:
            person = people[key] = Person(key)
        at = int(headers.get("rtcdp-received", message.timestamp()[1]))
        person.receive(at, event["messageId"], event.get("event", event["type"]), event.get("properties", {}))
    return people, dead


def leaks(job: dict[str, Any]) -> int:
    """Records of a deployment with encryption in which a profile key can be read, but those that the rig itself has written."""
    found = 0
    for name in ("profile_events", "changelog"):
        for message in read_all(job, name):
            plain = any(b"user_id:" in (part or b"") for part in (message.key(), message.value()))
            found += plain and "dead" not in dict(message.headers() or ())
    return found


Expect = Callable[[dict[str, Any], AbstractSet[tuple[str, str]]], tuple[Mapping[str, Any], Counter[Fact]]]


def of_source(job: dict[str, Any], refused: AbstractSet[tuple[str, str]]) -> tuple[Mapping[str, Person], Counter[Fact]]:
    """What must come of everything in the source."""
    return expect(read_all(job, "source"), refused)


def judge(job: dict[str, Any], expected_of: Expect = of_source) -> dict[str, Any]:
    """The verdict on one run. expected_of: profiles (`facts`, `events`) and dead letters as they must be."""
    letters: Counter[Fact] = Counter()
    refused: set[tuple[str, str]] = set()
    for message in read_all(job, "events_dlq"):
        letter = json.loads(message.value() or b"")
        origin = letter["origin"]
        if letter["reason"] == "profile_too_large":
            refused.add((b64decode(letter["key"]).decode(), letter["detail"].rpartition(" ")[2]))
        else:
            letters["letter", origin["topic"], origin["partition"], origin["offset"]] = 1  # at least once, by origin
    people, dead = expected_of(job, refused)
    for message in read_all(job, "profile_events"):
        if "dead" in dict(message.headers() or ()):
            dead["letter", message.topic(), message.partition(), message.offset()] += 1
    expected = Counter(fact for person in people.values() for fact in person.facts)
    found: Counter[Fact] = Counter()
    ids: Counter[str] = Counter()
    numbers: Counter[tuple[str, int]] = Counter()
    told: dict[str, int] = {}
    delays: list[int] = [0]
    for topic, as_fact in (("profile_changes", change), ("triggers", trigger)):
        for message in read_all(job, topic):
            body = json.loads(message.value() or b"")
            fact = as_fact(body)
            found[fact] += 1
            ids[body["id"]] += 1
            numbers[fact[1], body["seq"]] += 1
            delays.append(message.timestamp()[1] - fact[3])
            if fact[:1] == ("trigger",) and fact[2] == "state":
                told[fact[1]] = json.loads(fact[8])["events"]
    expected, found = expected + dead, found + letters
    last = {**job, "parts": job["parts"][-1:]}
    keys = {message.key(): message.value() for message in read_all(last, "changelog")}
    held = {key or b"" for key, value in keys.items() if value is not None and not (key or b"").startswith(b"~")}
    missing, extra = expected - found, found - expected
    wrong = pairs(missing, extra)
    if job.get("sealed"):  # under keyed hashes: how many there are can be seen, and that nobody is named
        strange = abs(len(held) - len(people)) + leaks(job)
    else:
        strange = len({key.decode() for key in held} ^ set(people))
    _dump(Path(job["folder"]) / "expected.jsonl", expected)
    _dump(Path(job["folder"]) / "found.jsonl", found)
    return {
        "events": sum(person.events for person in people.values()),
        "profiles": len(people),
        "outputs": sum(found.values()),
        "lost": sum(max(0, person.events - told.get(key, 0)) for key, person in people.items()),
        "wrong": wrong + strange,
        "missing": sum(missing.values()) - wrong,
        "extra": sum(extra.values()) - wrong,
        "duplicate_ids": sum(count - 1 for count in ids.values()) + sum(count - 1 for count in numbers.values()),
        "dead_letters": sum(dead.values()),
        "refused": len(refused),
        "worst_gap_s": max(delays) / 1_000,
        "examples": [list(fact) for fact in [*missing][:5]] + [["found", *fact] for fact in [*extra][:5]],
    }


def keep(job: dict[str, Any]) -> None:
    """What lay in the topics when something was wrong, to be looked at."""
    for name in ("source", "profile_events", "profile_changes", "triggers", "changelog", "ingest_progress"):
        with (Path(job["folder"]) / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for one in read_all(job, name):
                place = [one.partition(), one.offset(), one.timestamp()[1]]
                texts = [(part or b"").decode("utf-8", "replace")[:2_000] for part in (one.key(), one.value())]
                file.write(json.dumps([*place, *texts]) + "\n")


def pairs(missing: Counter[Fact], extra: Counter[Fact]) -> int:
    """How many facts are there and say something else: same profile, name and instant."""
    waiting: dict[Fact, int] = defaultdict(int)
    for fact, count in missing.items():
        waiting[fact[:4]] += count
    wrong = 0
    for fact, count in extra.items():
        matched = min(count, waiting[fact[:4]])
        waiting[fact[:4]] -= matched
        wrong += matched
    return wrong


def _dump(path: Path, facts: Counter[Fact]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for fact in sorted(facts.elements(), key=repr):
            file.write(json.dumps(fact, ensure_ascii=False) + "\n")


def main(expected_of: Expect = of_source) -> None:
    """Judge the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    verdict = judge(job, expected_of)
    if verdict["examples"]:
        keep(job)
    (Path(job["folder"]) / "verdict.json").write_text(json.dumps(verdict, indent=1), "utf-8")


if __name__ == "__main__":
    main()
