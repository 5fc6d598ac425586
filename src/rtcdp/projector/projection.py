"""One session after another: from where Redis stands along the log, until something is lost.

A loss of any kind (Redis away, flushed, restarted with an older snapshot; another writer; topics made anew) ends a session;
the next one begins where Redis stands then, or at the beginning where it stands nowhere. There is no other way to begin, so a
rebuild needs no code of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import redis
from confluent_kafka import Message

from rtcdp.errors import ClusterError
from rtcdp.monitoring.health import Health
from rtcdp.monitoring.metrics import now_ms
from rtcdp.projector.entries import Record, ViewEntries, change_flow, trigger_flow
from rtcdp.projector.feed import CHUNK, Feed
from rtcdp.projector.measures import Measures
from rtcdp.projector.standing import Place, Standings
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer, opened
from rtcdp.settings.config import Settings
from rtcdp.sinks.redis import Lost, RedisSink, Taken

logger = logging.getLogger(__name__)

STEP = 200
"""Entries of one step: Redis answers nobody else while it applies one, so it must be short."""
WAIT_S = 0.05
AGAIN_S = 0.5
MANY = CHUNK // 4
PROJECTION = "projection"
NOBODY = b"~nobody"
"""Key of an entry that no key opens any more; what begins with `~` is no profile."""


class Projection:
    """Keeps Redis in step with the log.

    compiled: a version's compiled definitions; None where it is not known.
    health:   told what is missing, and that it moves.
    """

    def __init__(
        self,
        settings: Settings,
        sink: RedisSink,
        compiled: Callable[[str], Compiled | None],
        *,
        health: Health,
        measures: Measures,
    ) -> None:
        self._settings = settings
        self._kafka = settings.kafka()
        self._sink = sink
        self._compiled = compiled
        self._health = health
        self._measures = measures
        self._topics = (settings.changelog, settings.profile_changes, settings.triggers)
        self._standings = Standings(self._kafka, sink, measures, settings.changelog)
        self._views: dict[int, ViewEntries] = {}
        self._held: dict[int, list[Record]] = {}
        self._appended: dict[Place, int] = {}
        self._stopping = threading.Event()
        self._sealer: Sealer | None = None
        self._begun = False
        health.missing(PROJECTION, "nothing has been projected yet")

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping.set()

    def run(self) -> None:
        """Project until `stop`. Raises ClusterError where Kafka could not be read from the start on, for `stall_s`."""
        self._standings.start(self._looked)
        patience = monotonic() + self._settings.stall_s
        try:
            while not self._stopping.is_set():
                self._health.beat()
                try:
                    self._session()
                except ClusterError as reason:
                    if not self._begun and monotonic() > patience:
                        raise
                    self._again(str(reason), logging.WARNING)
                except Taken as reason:
                    self._again(str(reason), logging.INFO)
                except (Lost, redis.RedisError) as reason:
                    self._again(f"Redis: {reason}", logging.WARNING)
        finally:
            self._standings.close()
            self._end()

    def _again(self, reason: str, level: int) -> None:
        self._health.missing(PROJECTION, reason)
        logger.log(level, "looking again in %.1f s: %s", AGAIN_S, reason)
        self._stopping.wait(AGAIN_S)

    def _looked(self, complete: bool) -> None:  # noqa: FBT001 - the only thing there is to tell
        if complete:
            self._health.reached(PROJECTION)
        else:
            self._health.missing(PROJECTION, "not every profile has been projected yet")

    def _session(self) -> None:
        positions = self._sink.open()
        self._measures.opened.inc()
        feed = Feed(self._kafka, f"{self._settings.app}-project")
        try:
            offsets = self._begin(feed, positions)
            self._standings.begin(offsets)
            self._begun = True
            feed.start(offsets)
            while not self._stopping.is_set():
                self._health.beat()
                if self._standings.lost is not None:
                    raise self._standings.lost
                self._turn(feed)
            self._sink.settle()
        finally:
            feed.close()
            self._sink.close()

    def _begin(self, feed: Feed, positions: dict[str, int]) -> dict[Place, int]:
        """Where each partition is read from; every changelog partition's definitions are known after it."""
        offsets: dict[Place, int] = {}
        places = feed.partitions(self._topics)
        if self._sealer is None:
            self._sealer = sealer_of(self._settings, sum(topic == self._settings.changelog for topic, _ in places))
        bounds = {place: feed.bounds(*place) for place in places}
        if any(positions.get(_name(place), 0) > high for place, (_, high) in bounds.items()):
            logger.warning("Redis stands behind the end of a topic: it was made anew, and so is the projection")
            self._sink.clear()
            positions = {}
        for place, (low, _) in bounds.items():
            offsets[place] = max(low, positions.get(_name(place), low))
        self._views.clear()
        self._held.clear()
        changelog = [place for place in places if place[0] == self._settings.changelog]
        found = feed.newest_positions(changelog)
        for place in changelog:
            self._views[place[1]] = entries = ViewEntries(self._compiled, place[1])
            if place in found:
                entries.learn(found[place])
        fresh = sum(_name(place) not in positions for place in places)
        logger.info("projecting %d partitions, %d of them from the beginning", len(places), fresh)
        return offsets

    def _turn(self, feed: Feed) -> None:
        found, at_end = feed.take(WAIT_S)
        done: list[tuple[Place, int]] = []
        for place, messages in found.items():
            self._appended[place] = messages[-1].timestamp()[1]
            done.append((place, self._project(place, messages)))
        if (found and sum(map(len, found.values())) < MANY) or at_end:
            self._sink.settle()
        now = now_ms()
        self._measures.delay.observe_since([self._appended[place] for place, _ in done], now)
        for place, position in done:
            self._standings.moved(place, position, self._appended[place])
        self._standings.reached(
            (place, feed.ends[_name(place)]) for place in at_end if not self._held.get(_held(place, self._settings))
        )

    def _project(self, place: Place, messages: Sequence[Message]) -> int:
        """Send what follows from these records; returns the offset before which everything is sent."""
        topic, number = place
        name, role = _name(place), self._role(topic)
        if role == "changelog" and self._sealer is not None:
            records = self._opened(messages, self._sealer)
        else:
            records = [(m.offset() or 0, m.key() or b"", m.value()) for m in messages]
        self._measures.records.labels(role).inc(len(records))
        if role != "changelog":
            end = records[-1][0] + 1
            made = change_flow if role == "profile_changes" else trigger_flow
            kept = [(record[0], flow) for record in records if (flow := made(record[2])) is not None]
            now = now_ms()
            for first, last, until in _steps([offset for offset, _ in kept], end):
                self._sink.flows(name, until, [flow for _, flow in kept[first:last]], now)
            return end
        records = self._held.pop(number, []) + records
        entries = self._views[number]
        before = entries.unreadable
        views, used = entries.make(records)
        self._measures.unreadable.inc(entries.unreadable - before)
        if used < len(records):
            self._held[number] = records[used:]
        end = records[used - 1][0] + 1 if used else records[0][0]
        for first, last, until in _steps([view[1] for view in views], end):
            self._sink.views(name, until, views[first:last])
        self._measures.views.inc(len(views))
        return end

    def _opened(self, messages: Sequence[Message], sealer: Sealer) -> list[Record]:
        """Entries of the changelog as they were before they were sealed; a sealed nothing is a tombstone.

        What no key opens any more was an erased person's: it keeps its place in the order, and says nothing.
        """
        found = opened([(m.key(), m.value()) for m in messages], sealer)
        return [
            (message.offset() or 0, NOBODY, None) if one is None else (message.offset() or 0, one[0], one[1] or None)
            for message, one in zip(messages, found, strict=True)
        ]

    def _role(self, topic: str) -> str:
        settings = self._settings
        return {settings.changelog: "changelog", settings.profile_changes: "profile_changes"}.get(topic, "triggers")

    def _end(self) -> None:
        try:
            self._sink.leave()
        except redis.RedisError as error:
            logger.warning("the lease ends by itself: %s", error)


def _name(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def _steps(offsets: Sequence[int], end: int) -> Iterator[tuple[int, int, int]]:
    """Steps of a batch: first and last entry, and the offset before which all is done after it.

    offsets: of the entries, ascending. end: of the batch.
    """
    for first in range(0, len(offsets), STEP):
        last = min(first + STEP, len(offsets))
        yield first, last, end if last == len(offsets) else offsets[last - 1] + 1


def _held(place: Place, settings: Settings) -> int:
    """The number under which records of this place are held; -1 where none ever are."""
    return place[1] if place[0] == settings.changelog else -1
