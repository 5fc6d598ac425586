"""`rtcdp privacy export`: everything that is held about a person, for machines and for the person."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import orjson
from confluent_kafka import Consumer, Message
from rich.console import Console
from rich.markup import escape

from rtcdp.control import commands
from rtcdp.dlq import messages
from rtcdp.ingestion.identity import Resolver
from rtcdp.outputs import DeadLetter
from rtcdp.queries.inspection import Stored, definitions_of, full_key, partition_of, partitions_of, stored_at, view
from rtcdp.queries.keys import in_force
from rtcdp.rules.definitions import IdentityPlan
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.parcels import shared_sealer, unpacked
from rtcdp.sealing.sealer import opened
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

CHUNK = 2_000
_letter = msgspec.json.Decoder(DeadLetter).decode
LISTED = 20
"""Records of a kind that are shown to people; `--json` has all."""


def export(settings: Settings, key: str) -> dict[str, Any] | None:
    """All that is held about the person that an identifier belongs to; None where nothing is known of it. Blocks.

    key: as for `rtcdp profile`. Raises SettingError for what is no key, ClusterError where Kafka cannot be read.

    profile:     as it stands, with the names of the definitions. state: the same as it is stored.
    identifiers: every profile key of the person. log: its records of `profile-events`, oldest first per partition.
    changes, triggers, deliveries, undelivered: what went out about it, and what waits.
    commands, letters: what was asked for them, and dead letters in which one of their identifiers stands.
    """
    stored = stored_at(settings, key)
    if stored is None:
        return None
    keys = sorted({full_key(key), stored.profile.key, *stored.profile.links})
    return {
        "asked": full_key(key),
        "profile": view(stored.profile, definitions_of(settings, stored), stored.size).as_json(),
        "state": _state(stored),
        "identifiers": keys,
        "log": list(_log(settings, keys)),
        "changes": list(_told(settings, settings.profile_changes, keys)),
        "triggers": list(_told(settings, settings.triggers, keys)),
        "deliveries": _deliveries(settings, keys),
        "undelivered": list(_undelivered(settings, keys)),
        "commands": list(_asked(settings, keys)),
        "letters": list(_letters(settings, keys)),
    }


def show(found: dict[str, Any]) -> None:
    """Print an export for people."""
    from rtcdp.queries.inspection import ProfileView  # noqa: PLC0415 # what is shown as the profile is

    console = Console(highlight=False, soft_wrap=True)
    ProfileView(**found["profile"]).show()
    console.print(f"\n[bold magenta]identifiers[/]\n  {escape(', '.join(found['identifiers']))}")
    for name, title in (
        ("log", "what is recorded"),
        ("changes", "what was concluded"),
        ("triggers", "what was sent to marketing"),
        ("deliveries", "what waits to be delivered"),
        ("undelivered", "what could not be delivered"),
        ("commands", "what was asked for"),
        ("letters", "what could not be used"),
    ):
        rows = found[name]
        console.print(f"\n[bold magenta]{title}[/]  ({len(rows)})")
        for row in rows[-LISTED:]:
            text = orjson.dumps(row["record"]).decode()
            console.print(f"  {row['written']}  {escape(text)}")
        if len(rows) > LISTED:
            console.print(f"  ... and {len(rows) - LISTED} earlier ones; --json has all of them")


def _state(stored: Stored) -> dict[str, Any]:
    profile = stored.profile
    fields = ("traits", "slots", "tags", "segments", "triggers", "waiting", "consent", "stage", "links", "schedules")
    found: dict[str, Any] = msgspec.to_builtins({name: getattr(profile, name) for name in fields}, str_keys=True)
    return {**found, "now": timestamps.render(profile.now), "message_ids": len(profile.seen)}


def _row(message: Message, value: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError:
        record = value.decode("utf-8", "replace")
    place = f"{message.topic()}/{message.partition()}/{message.offset()}"
    return {"place": place, "written": timestamps.render(message.timestamp()[1]), "record": record}


def _log(settings: Settings, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    number = partitions_of(settings)
    sealer = sealer_of(settings, number)
    true = {key.encode() for key in keys}
    names = true if sealer is None else {sealer.name(key).name for key in true}
    where = {partition_of(key, number) for key in true}
    for message in messages(settings, settings.profile_events, where):
        if message.key() in names:
            (found,) = opened([(message.key(), message.value())], sealer)
            if found is not None:
                yield _row(message, found[1])


def _told(settings: Settings, topic: str, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Records of a topic whose Kafka key is one of the person's."""
    true = {key.encode() for key in keys}
    for message in messages(settings, topic) if _exists(settings, topic) else ():
        value = message.value()
        if message.key() in true and value is not None:
            yield _row(message, value)


def _undelivered(settings: Settings, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Deliveries that were given up."""
    sealer = shared_sealer(settings)
    true = {key.encode() for key in keys}
    true |= set() if sealer is None else {sealer.name(key).name for key in true}
    for message in messages(settings, settings.deliveries_dlq) if _exists(settings, settings.deliveries_dlq) else ():
        if message.key() in true and (value := unpacked([message.value()], sealer)[0]) is not None:
            yield _row(message, value)


def _deliveries(settings: Settings, keys: Collection[str]) -> list[dict[str, Any]]:
    """Deliveries that wait: the newest record of each that has not ended."""
    waiting: dict[bytes, dict[str, Any]] = {}
    sealer = shared_sealer(settings)
    for message in messages(settings, settings.deliveries) if _exists(settings, settings.deliveries) else ():
        key, value = message.key() or b"", message.value()
        if value is None or (value := unpacked([value], sealer)[0]) is None:
            waiting.pop(key, None)
        elif not key.startswith(b"~"):
            row = _row(message, value)
            if isinstance(row["record"], dict) and row["record"].get("profile") in keys:
                waiting[key] = row
    return list(waiting.values())


def _asked(settings: Settings, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Commands about the person."""
    sealer = shared_sealer(settings)
    true = {key.encode() for key in keys}
    for message in messages(settings, settings.commands) if _exists(settings, settings.commands) else ():
        (found,) = commands.opened([(message.key(), message.value())], sealer)
        if found is not None and found[0] in true and found[1] is not None:
            yield _row(message, found[1])


def _letters(settings: Settings, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Dead letters of the person's records of the log, and of raw events that carry one of the identifiers."""
    true = {key.encode() for key in keys}
    definitions = in_force(settings)
    plan = IdentityPlan() if definitions is None else definitions.identity
    readers = {source.topic: Resolver(plan, source.tenant) for source in settings.sources}
    for message in messages(settings, settings.events_dlq) if _exists(settings, settings.events_dlq) else ():
        with suppress(msgspec.MsgspecError, ValueError):  # nothing tells whose it is
            letter = _letter(message.value() or b"")
            reader = readers.get(letter.origin.topic)
            raw = letter.original and reader and b64decode(letter.original)
            if b64decode(letter.key or "") in true or (raw and reader and not true.isdisjoint(_identifiers(raw, reader))):
                yield _row(message, message.value() or b"")


def _identifiers(raw: bytes, reader: Resolver) -> list[bytes]:
    """The profile keys of all identifiers of a raw event. Raises ValueError where it is no JSON object."""
    event = orjson.loads(raw)
    if not isinstance(event, dict):
        return []
    fixes: Counter[str] = Counter()
    traits, context = (found if isinstance(found := event.get(name), dict) else {} for name in ("traits", "context"))
    user, anonymous = reader.user_id(event.get("userId"), fixes), reader.anonymous_id(event.get("anonymousId"), fixes)
    return reader.all_keys(user, anonymous, traits, context, fixes)


def _exists(settings: Settings, topic: str) -> bool:
    consumer = Consumer({**settings.kafka(), "group.id": f"{settings.app}-export", "log_level": 0})
    try:
        return topic in consumer.list_topics(timeout=10).topics
    finally:
        consumer.close()
