"""The audit log: who read whom, and who changed what, when; records of the topic `audit`.

It is kept for longer than a person's data may be, so it names nobody who was read: a pseudonym stands for a profile key, and
whoever looks for somebody asks with the key (`rtcdp audit list --profile KEY`). An entry is written before what it tells is
done: what cannot be written down does not happen.
"""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from rtcdp.errors import ClusterError, SettingError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.sealing.pseudonyms import Pseudonyms
from rtcdp.servers.cluster import cause
from rtcdp.servers.preflight import examine, wanted_topics
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

PARTITION = 0
"""The topic has one: the log is one order of things."""
DAY_MS = 86_400_000
WRITE_S = 15.0
READ_S = 30.0
MOST_READ = 200_000
"""Entries that a question looks at, the newest ones; beyond, narrow the time."""


class Actor(msgspec.Struct, frozen=True):
    """Who does something.

    kind: a token of the API, a person at a command, or a process by itself.
    id:   the token's id, `user@host`, or the process. name: whose token it is.
    """

    kind: Literal["token", "person", "process"]
    id: str
    name: str = ""


class Entry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A record of the topic `audit`.

    at:       when it was written down (RFC 3339).
    what:     the operation of the API or the command: `profile`, `members`, `apply`, `tokens.add`, ...
    outcome:  `done`, or `refused` for what the token does not allow.
    tenant:   whose data it is about; empty where it is about no tenant's.
    subjects: the profiles that were read or changed, as pseudonyms.
    about:    what else tells what was done, by name.
    """

    id: str
    at: str
    who: Actor
    what: str
    outcome: Literal["done", "refused"] = "done"
    tenant: str = ""
    subjects: list[str] = []
    about: dict[str, str] = {}

    def __str__(self) -> str:
        """One line: time, who, what, outcome, tenant, subjects, the rest; separated by tabs."""
        about = " ".join(f"{name}={value}" for name, value in self.about.items())
        subjects = (
            self.subjects[0] + (f" and {more} more" if (more := len(self.subjects) - 1) else "") if self.subjects else "-"
        )
        who = f"{self.who.kind} {self.who.id}" + (f" ({self.who.name})" if self.who.name else "")
        parts = (self.at, who, self.what, self.outcome, self.tenant or "-", subjects, about or "-")
        return "\t".join("".join(char if char.isprintable() else " " for char in part) for part in parts)


class Unwritten(ClusterError):
    """The audit log did not take an entry: what it would have told is not done."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def person() -> Actor:
    """Whoever runs this command, as far as the system knows."""
    return Actor("person", f"{getpass.getuser()}@{socket.gethostname()}")


def ready(settings: Settings) -> None:
    """See that the topic is there and as it must be. Blocks. Raises ClusterError."""
    examine(settings, {settings.audit: wanted_topics(settings)[settings.audit]})


class Trail:
    """Makes entries of one actor's doings, and writes them where it may wait.

    Where they are about somebody, everything raises SettingError as `Pseudonyms.from_file` does.
    """

    def __init__(self, settings: Settings, who: Actor) -> None:
        self._settings = settings
        self._who = who

    @cached_property
    def _pseudonyms(self) -> Pseudonyms:
        return Pseudonyms.from_file(self._settings.pseudonym_file)

    def entry(
        self,
        what: str,
        *,
        who: Actor | None = None,
        tenant: str = "",
        profiles: Iterable[str] = (),
        about: Mapping[str, str] | None = None,
        outcome: Literal["done", "refused"] = "done",
    ) -> Entry:
        """What would be written. who: in place of this trail's. profiles: keys of those it is about."""
        return Entry(
            id=uuid.uuid4().hex,
            at=timestamps.rfc3339(now_ms()),
            who=who or self._who,
            what=what,
            outcome=outcome,
            tenant=tenant,
            subjects=[self._pseudonyms.of_profile(key) for key in profiles],
            about=dict(about or {}),
        )

    def write(
        self, what: str, *, tenant: str = "", profiles: Iterable[str] = (), about: Mapping[str, str] | None = None
    ) -> None:
        """Write an entry; returns once Kafka has it. Blocks. Raises Unwritten. The topic has to be there (`ready`)."""
        entry = self.entry(what, tenant=tenant, profiles=profiles, about=about)
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        # Not idempotent: its first record would wait half a second, and an entry that is there twice has one id.
        options = {"acks": "all", "message.timeout.ms": int(WRITE_S * 1_000), "log_level": 0}
        producer = Producer({**self._settings.kafka(), **options})
        try:
            producer.produce(self._settings.audit, _encode(entry), tenant.encode(), PARTITION, on_delivery=delivered)
        except KafkaException as failure:
            failures.append(cause(failure))
        if producer.flush(WRITE_S + 1) or failures:
            reason = failures[0].str() if failures else "no answer"
            raise Unwritten(f"{self._settings.audit} cannot be written ({reason}): nothing was done")


def note(settings: Settings, what: str, *, profiles: Sequence[str] = (), about: Mapping[str, str] | None = None) -> None:
    """Write down what the person at this command does, about profiles of one tenant. Blocks. Raises ClusterError."""
    ready(settings)
    tenant = profiles[0].partition("/")[0] if profiles else ""
    Trail(settings, person()).write(what, tenant=tenant, profiles=profiles, about=about)


def encoded(entry: Entry) -> bytes:
    """An entry as it lies in the topic."""
    return _encode(entry)


@dataclass(frozen=True)
class Asked:
    """Which entries. since, until: RFC 3339; since empty: a day before until, until empty: now.

    who: part of an id or name. what: an operation. profile: a profile key. limit: the newest so many.
    """

    since: str = ""
    until: str = ""
    who: str = ""
    what: str = ""
    profile: str = ""
    limit: int = 1_000


def entries(settings: Settings, asked: Asked, *, tenants: frozenset[str] | None = None) -> tuple[list[Entry], bool]:
    """The entries asked for, newest first, and whether there may be older ones that were not looked at. Blocks.

    tenants: only entries about these; None: all.

    Raises SettingError for what is no time, ClusterError where the topic cannot be read.
    """
    until = _instant("until", asked.until) if asked.until else now_ms() + 60_000
    since = _instant("since", asked.since) if asked.since else until - DAY_MS
    subject = Pseudonyms.from_file(settings.pseudonym_file).of_profile(asked.profile) if asked.profile else ""

    def wanted(entry: Entry) -> bool:
        return (
            (tenants is None or entry.tenant in tenants)
            and (not asked.what or entry.what == asked.what)
            and (not subject or subject in entry.subjects)
            and (not asked.who or any(asked.who in text for text in (entry.who.id, entry.who.name)))
        )

    found, cut = _read(settings, since, until)
    chosen = [entry for entry in found if wanted(entry)]
    return chosen[: -asked.limit - 1 : -1], cut or len(chosen) > asked.limit


def _read(settings: Settings, since: int, until: int) -> tuple[list[Entry], bool]:
    """Entries appended between two instants (ms), in order, and whether the oldest of them were left out."""
    options = {"group.id": f"{settings.app}-audit", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer({**settings.kafka(), **options, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10})
    found: list[Entry] = []
    try:
        if settings.audit not in consumer.list_topics(timeout=WRITE_S).topics:
            return [], False
        place = TopicPartition(settings.audit, PARTITION)
        _, end = consumer.get_watermark_offsets(place, WRITE_S)
        first = consumer.offsets_for_times([TopicPartition(settings.audit, PARTITION, since)], WRITE_S)[0].offset
        if first in {OFFSET_END, -1} or first >= end:
            return [], False
        start = max(first, end - MOST_READ)
        consumer.assign([TopicPartition(settings.audit, PARTITION, start)])
        while True:
            message = consumer.poll(READ_S)
            if message is None:
                raise ClusterError(f"{settings.audit} could not be read within {READ_S:.0f} s")
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise ClusterError(f"{settings.audit} cannot be read: {error.str()}")
            if error is not None or message.timestamp()[1] > until:
                return found, start > first
            try:
                found.append(_decode(message.value() or b""))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # written by something else, or a newer release
    except KafkaException as failure:
        raise ClusterError(f"{settings.audit} cannot be read: {cause(failure).str()}") from None
    finally:
        consumer.close()


def _instant(name: str, text: str) -> int:
    found = timestamps.parse(text)
    if found is None:
        raise SettingError(f"{name}: {text!r} is no time (RFC 3339, for example 2027-03-01T00:00:00Z)")
    return found
