"""The live stream: records of `profile-changes` and `triggers` as server-sent events, resumable from any of them.

One thread reads both topics for everybody. An event's id holds the next offset of every partition, so a client that comes back
with `Last-Event-ID` gets what it missed from Kafka, as long as the topics keep it, and goes on with the others from there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from confluent_kafka import Message
from starlette.concurrency import run_in_threadpool

from rtcdp.errors import ClusterError
from rtcdp.outputs import Cancel
from rtcdp.projector.feed import Feed
from rtcdp.serving.api import cursors
from rtcdp.serving.api.counts import Counts
from rtcdp.serving.api.cursors import Place
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import EVENTS, Answer, Call, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.settings.config import Settings

logger = logging.getLogger(__name__)

WAIT_S = 0.2
QUEUED = 2_000
"""Records that a slow reader may be behind; then its stream ends, and it comes back with the last id it saw."""
SILENCE_S = 15.0
"""After so long without a record a comment is sent, so that nobody between takes the connection for dead."""
AGAIN_S = 1.0
CATCHING_UP = 4
"""Streams that may read what they missed at the same time."""


class StreamQuery(TenantQuery, forbid_unknown_fields=True):
    """Which records; left out: all.

    kinds:   of `entered,exited,tag,stage,not_sent,consent,identity,corrected,erased,shadow,trigger,cancel`, comma-separated.
    names:   of segments, tags, triggers, comma-separated.
    profile: one profile's, by its key without the tenant.
    """

    kinds: Annotated[str, msgspec.Meta(max_length=200)] = ""
    names: Annotated[str, msgspec.Meta(max_length=4_096)] = ""
    profile: Annotated[str, msgspec.Meta(max_length=1_024)] = ""


class _Trigger(msgspec.Struct, frozen=True):
    trigger: str = ""


class _Outline(msgspec.Struct):
    kind: str = "trigger"
    type: str = ""
    name: str = ""
    profile: str = ""
    subject: str = ""
    data: _Trigger = _Trigger()


_outline = msgspec.json.Decoder(_Outline).decode


class Record(msgspec.Struct, frozen=True):
    """A record on its way to streams. place, offset: where it lies. key: of the profile."""

    place: Place
    offset: int
    kind: str
    name: str
    key: str
    body: bytes


class _Stream:
    """One reader. wanted: whether it gets a record. personal: with personal fields."""

    def __init__(self, wanted: Callable[[Record], bool], position: Mapping[Place, int], *, personal: bool) -> None:
        self.wanted = wanted
        self.personal = personal
        self.position = dict(position)
        self.queue: asyncio.Queue[Record | None] = asyncio.Queue(QUEUED)
        self.overrun = False

    def offer(self, record: Record) -> None:
        """Queue a record that was just read."""
        if self.overrun:
            return
        try:
            self.queue.put_nowait(record)
        except asyncio.QueueFull:
            self.overrun = True


class Live:
    """Reads both topics in a thread and hands every record to the streams.

    most: streams at a time.

    Raises ClusterError where Kafka does not answer or a topic is missing.
    """

    def __init__(self, settings: Settings, counts: Counts, masker: Masker, most: int) -> None:
        self._kafka, self._group = settings.kafka(), f"{settings.app}-stream"
        self._topics = (settings.profile_changes, settings.triggers)
        self._counts = counts
        self._masker = masker
        self._most = most
        self._streams: set[_Stream] = set()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        feed = Feed(self._kafka, self._group)
        try:
            self._places: Sequence[Place] = feed.partitions(self._topics)
            self._position = {place: feed.bounds(*place)[1] for place in self._places}
        finally:
            feed.close()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read, in a thread; streams live on this loop."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def end_streams(self) -> None:
        """End all streams, and open no more; from any thread: nobody waits for what has no end of its own."""
        self._stopping.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_streams)

    def _end_streams(self) -> None:
        for stream in self._streams:
            stream.overrun = True
            if not stream.queue.full():
                stream.queue.put_nowait(None)

    async def close(self) -> None:
        """End all streams and the thread."""
        self._stopping.set()
        self._end_streams()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    def operations(self) -> list[Operation]:
        """The one there is."""
        words = "Changes and triggers as they happen: server-sent events, resumable by Last-Event-ID"
        return [Operation("stream", "GET", "/v1/stream", "stream", words, self.open, {EVENTS: None}, StreamQuery, audited=True)]

    async def open(self, call: Call) -> Answer:
        """A new stream. Raises Problem."""
        if len(self._streams) >= self._most or self._stopping.is_set():
            raise Problem(503, f"there are {self._most} streams already", retry_s=10)
        since = call.headers.get("last-event-id", "")
        try:
            missed = cursors.read(self._topics, since, self._places) if since else None
        except ValueError as error:
            raise Problem(400, str(error)) from None
        query = call.query
        call.about |= {"kinds": query.kinds, "names": query.names}
        if query.profile:
            call.profiles.append(f"{call.tenant}/{query.profile}")
        stream = _Stream(_filter(call.tenant, call.query), self._position, personal=call.personal)
        self._streams.add(stream)
        self._counts.streams.set(len(self._streams))
        return Answer(self._events(stream, missed), EVENTS, headers={"X-Accel-Buffering": "no"})

    async def _events(self, stream: _Stream, missed: dict[Place, int] | None) -> AsyncIterator[bytes]:
        begun = dict(stream.position)
        try:
            yield b": follow\n\n"
            if missed is not None:
                stream.position = missed
                async for chunk in self._missed(stream, begun):
                    yield chunk
            while not (stream.overrun and stream.queue.empty()):
                try:
                    record = await asyncio.wait_for(stream.queue.get(), SILENCE_S)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if record is None:
                    return
                chunk = await self._told(stream, record)
                if chunk:
                    yield chunk
            if not self._stopping.is_set():
                self._counts.overruns.inc()
        finally:
            self._streams.discard(stream)
            self._counts.streams.set(len(self._streams))

    async def _told(self, stream: _Stream, record: Record) -> bytes:
        """A record as an event; empty where it is not wanted, or was there before."""
        if record.offset < stream.position[record.place]:
            return b""
        stream.position[record.place] = record.offset + 1
        if not stream.wanted(record):
            return b""
        self._counts.events.inc()
        cursor = cursors.write(self._topics, stream.position).encode()
        body = record.body if stream.personal else await self._masker.record(record.body)
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor, record.kind.encode(), body)

    async def _missed(self, stream: _Stream, until: Mapping[Place, int]) -> AsyncIterator[bytes]:
        """What lies between the reader's position and that at which it joined, read from Kafka."""
        left = {place: offset for place, offset in until.items() if stream.position[place] < offset}
        if not left:
            return
        async with self._catching_up:
            feed = await run_in_threadpool(Feed, self._kafka, self._group)
            try:
                lows = {place: (await run_in_threadpool(feed.bounds, *place))[0] for place in left}
                feed.start({place: max(stream.position[place], lows[place]) for place in left})
                while left and not self._stopping.is_set():
                    found, at_end = await run_in_threadpool(feed.take, WAIT_S)
                    for place, messages in found.items():
                        for message in messages:
                            if (message.offset() or 0) >= until[place]:
                                left.pop(place, None)
                                break
                            record = _record(place, message)
                            chunk = await self._told(stream, record) if record is not None else b""
                            if chunk:
                                yield chunk
                    for place in at_end:
                        left.pop(place, None)
            finally:
                feed.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except ClusterError as error:
                logger.warning("the live stream cannot be read, trying again: %s", error)
                self._stopping.wait(AGAIN_S)

    def _follow(self) -> None:
        feed = Feed(self._kafka, self._group)
        position = dict(self._position)
        try:
            feed.start(position)
            while not self._stopping.is_set():
                found, at_end = feed.take(WAIT_S)
                records = []
                for place, messages in found.items():
                    records += [record for one in messages if (record := _record(place, one)) is not None]
                    position[place] = (messages[-1].offset() or 0) + 1
                for topic, number in at_end:
                    position[topic, number] = max(position[topic, number], feed.ends[f"{topic}/{number}"])
                if (found or at_end) and self._loop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._hand_out, records, dict(position))
        finally:
            feed.close()

    def _hand_out(self, records: Sequence[Record], position: dict[Place, int]) -> None:
        """On the loop: streams that join later begin at this position."""
        self._position = position
        for stream in self._streams:
            for record in records:
                if stream.wanted(record):
                    stream.offer(record)


def _record(place: Place, message: Message) -> Record | None:
    """A message as a record; None where it is none that can be told."""
    body = message.value()
    try:
        outline = _outline(body or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    key = outline.profile or outline.subject
    if body is None or b"\n" in body or not key:
        return None
    kind = "cancel" if outline.type == Cancel.TYPE else outline.kind
    return Record(place, message.offset() or 0, kind, outline.name or outline.data.trigger, key, body)


def _filter(tenant: str, query: Any) -> Callable[[Record], bool]:
    prefix = f"{tenant}/"
    kinds = frozenset(filter(None, query.kinds.split(",")))
    names = frozenset(filter(None, query.names.split(",")))
    profile = prefix + query.profile if query.profile else ""

    def wanted(record: Record) -> bool:
        return (
            record.key.startswith(prefix)
            and (not kinds or record.kind in kinds)
            and (not names or record.name in names)
            and (not profile or record.key == profile)
        )

    return wanted
