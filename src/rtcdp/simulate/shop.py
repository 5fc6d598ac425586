"""A shop that never closes: a seeded generator of Segment-spec events, in order of `receivedAt`.

The same seed gives the same bytes. Time is the events' own (`event` time mode): nothing reads a clock. Every event that
may be accepted has a message id, so that what comes out does not depend on where in Kafka a record lay.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

from rtcdp.simulate.catalogue import DAY_RHYTHM
from rtcdp.simulate.flaws import HOPELESS, REPAIRABLE, TOO_LARGE
from rtcdp.simulate.visitors import CHANNELS, HABITS, Step, Visitor, context, new_visitor, session

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SHOP_ZONE_MS = 8 * HOUR_MS  # the rhythm is that of a day in Shanghai, which knows no daylight saving time
RECORDS_PER_SESSION = 7.4  # measured over 200,000 records; only sets how many days a number of events spans
NEW_VISITORS = 0.3  # share of the sessions that a new visitor begins

TOO_LARGE_SHARE = 0.005  # of the hopeless records: about one in 20,000 of all

START = 1_735_689_600_000  # 2025-01-01T00:00:00Z

_CLOCK = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1_440))
_SECONDS = tuple(f"{second:02d}." for second in range(60))
_MILLIS = tuple(f"{milli:03d}Z" for milli in range(1_000))

Raw = tuple[bytes | None, bytes | None]
Visit = Iterator[tuple[int, Visitor, bytes | None]]


class Shop:
    """Generates records for the topic `events`.

    seed:       every random choice comes from it.
    days:       how long a time the events of one `records()` call span, roughly.
    start:      time of the first event, ms.
    flaws:      share of records with something wrong (half of them hopeless, half repairable), 0 to 1.
    duplicates: share of events that a client sends twice, 0 to 1.
    """

    def __init__(
        self, seed: int = 1, *, days: float = 60, start: int = START, flaws: float = 0.02, duplicates: float = 0.01
    ) -> None:
        self.random = Random(seed)
        self.days = days
        self.start = start
        self.flaws = flaws
        self.duplicates = duplicates
        self.now = start
        self.visitors = 0
        self._prefix = f"{seed:x}-"
        self._messages = 0
        self._tickets: list[Visitor] = []
        self._dates: dict[int, str] = {}

    def records(self, count: int) -> Iterator[Raw]:
        """Exactly `count` (key, value) pairs in order of `receivedAt`; `now` is the time of the last one yielded."""
        heap: list[tuple[int, int, Visitor, bytes | None, Visit]] = []  # what each session sends next
        arrivals = self._arrivals(count)
        next_arrival = next(arrivals)
        begun = 0
        for _ in range(count):
            while not heap or next_arrival <= heap[0][0]:
                begun += 1
                visit = self._visit(next_arrival)
                received, visitor, value = next(visit)
                heapq.heappush(heap, (received, begun, visitor, value, visit))
                next_arrival = next(arrivals)
            self.now, place, visitor, value, visit = heap[0]
            yield visitor.key, value
            step = next(visit, None)
            if step is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (step[0], place, visitor, step[2], visit))

    def text(self, ms: int) -> str:
        """RFC 3339 in UTC with milliseconds; much cheaper than `datetime.isoformat`."""
        seconds, milli = divmod(ms, 1_000)
        day, second = divmod(seconds, 86_400)
        date = self._dates.get(day)
        if date is None:
            date = self._dates[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT")
        return date + _CLOCK[second // 60] + _SECONDS[second % 60] + _MILLIS[milli]

    def _arrivals(self, count: int) -> Iterator[int]:
        """When sessions begin: a Poisson process thinned to the rhythm of a day."""
        mean = sum(DAY_RHYTHM) / len(DAY_RHYTHM)
        peak = max(DAY_RHYTHM)
        gap = self.days * DAY_MS * RECORDS_PER_SESSION / count * mean / peak
        at = float(self.now)
        while True:
            at += self.random.expovariate(1 / gap)
            if self.random.random() * peak < DAY_RHYTHM[int(at + SHOP_ZONE_MS) // HOUR_MS % 24]:
                yield int(at)

    def _who(self) -> Visitor:
        tickets = self._tickets
        if tickets and self.random.random() >= NEW_VISITORS:
            place = int(self.random.random() * len(tickets))
            visitor = tickets[place]
            if self.random.random() < HABITS[visitor.kind].leaves:
                tickets[place] = tickets[-1]
                tickets.pop()
            return visitor
        self.visitors += 1
        visitor = new_visitor(self.random, self.visitors)
        tickets.extend([visitor] * HABITS[visitor.kind].pull)
        return visitor

    def _visit(self, begin: int) -> Visit:
        """One session as (received, visitor, value), in order of time; bad records and repeats come on top."""
        random = self.random
        visitor = self._who()
        visitor.sessions += 1
        channel = CHANNELS[int(random.random() * len(CHANNELS))]
        about = context(random, visitor, channel)
        offline = HOUR_MS * int(1 + random.random() * 5) if channel == "app" and random.random() < 0.03 else 0
        skew = int((random.random() - 0.5) * 600_000) if channel == "app" and random.random() < 0.1 else 0
        occurred = begin
        for step in session(random, visitor, channel):
            occurred += step.wait
            received = occurred + offline + int(random.random() * 300)
            event = self._event(visitor, channel, about, step, occurred + skew, received)
            if skew:
                event["sentAt"] = self.text(received + skew)
            yield received, visitor, orjson.dumps(event)
            luck = random.random()
            if luck < self.flaws:
                yield received, visitor, self._spoilt(event, hopeless=luck < self.flaws / 2)
            elif luck > 1 - self.duplicates:
                event["receivedAt"] = self.text(received + 20)
                yield received + 20, visitor, orjson.dumps(event)
            occurred = max(occurred, received - offline)

    def _event(
        self, visitor: Visitor, channel: str, about: dict[str, Any], step: Step, timestamp: int, received: int
    ) -> dict[str, Any]:
        self._messages += 1
        event: dict[str, Any] = {
            "type": step.type,
            "messageId": f"{self._prefix}{self._messages:08x}",
            "anonymousId": visitor.anonymous_id,
            "channel": channel,
            "timestamp": self.text(timestamp),
            "receivedAt": self.text(received),
            "context": about,
        }
        if visitor.user_id:
            event["userId"] = visitor.user_id
        if step.type == "identify":
            event["traits"] = step.properties
        else:
            event["properties"] = step.properties
            if step.event:
                event["event"] = step.event
        return event

    def _spoilt(self, event: dict[str, Any], *, hopeless: bool) -> bytes | None:
        """Another record like this one, with something wrong and a message id of its own."""
        self._messages += 1
        twin = {**event, "messageId": f"{self._prefix}{self._messages:08x}"}
        if hopeless:
            if self.random.random() < TOO_LARGE_SHARE:
                return TOO_LARGE(twin)
            names = tuple(HOPELESS)
            return HOPELESS[names[int(self.random.random() * len(names))]](twin)
        twin.pop("traits", None)
        twin.update(type="track", event="Product Viewed", properties={"sku": "TOY-0S", "category": "toys", "price": 53.4})
        repairable = tuple(REPAIRABLE)
        return REPAIRABLE[repairable[int(self.random.random() * len(repairable))]](twin)
