"""`rtcdp privacy correct`: what is wrong about a person is put right, by a command."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console

from rtcdp import profile as profiles
from rtcdp.control import commands
from rtcdp.control.audit import note
from rtcdp.errors import ClusterError, SettingError
from rtcdp.folding.contributions import without
from rtcdp.folding.correction import OUTDATED
from rtcdp.folding.parting import digest
from rtcdp.ingestion.cleaning import MAX_KEY_LENGTH
from rtcdp.outputs import Change
from rtcdp.privacy.person_log import ANSWER_S, LOOK_S, MOST, PATIENCE_S, read_log
from rtcdp.queries.answering import LONGEST_REASON
from rtcdp.queries.inspection import Stored, partition_of, partitions_of, stored_at, versions_of
from rtcdp.queries.keys import in_force, normal_key
from rtcdp.records import Correct, encode
from rtcdp.servers.cluster import cause
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.bounds import partition_bounds
from rtcdp.transport.settings import restore_conf

MOST_TRAITS = 64
MOST_EVENTS = 64
_change = msgspec.json.Decoder(Change).decode
_NAME = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_KEY_LENGTH}}}")


class Corrected(msgspec.Struct, frozen=True):
    """What was put right.

    request:     id of the command. traits: names of those that were set or removed. without: events that were left out.
    approximate: features that are not exact, since the log no longer holds all that they are made of.
    since:       from when on (RFC 3339) the log is there; empty where it is whole, or no event was left out.
    """

    person: str
    request: str
    traits: list[str]
    without: list[str]
    approximate: list[str]
    since: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return msgspec.structs.asdict(self)


def show(found: Corrected) -> None:
    """Print for people."""
    out = Console(highlight=False, markup=False)
    out.print(f"{found.person}: {', '.join([*found.traits, *(f'without {one}' for one in found.without)])}")
    out.print(f"request {found.request}")
    if found.approximate:
        out.print(f"approximate, since the log begins at {found.since}: {', '.join(found.approximate)}")


def traits_of(given: Sequence[str], removed: Sequence[str]) -> dict[str, Any]:
    """Traits from NAME=VALUE, the value as JSON or else as text, and names of those to be removed. Raises SettingError."""
    found: dict[str, Any] = dict.fromkeys(removed)
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise SettingError(f"set: {text!r}: write NAME=VALUE, for example city=Hamburg or age=42")
        try:
            found[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[name] = value
    return found


def command_of(traits: Mapping[str, Any], *, by: str, reason: str = "") -> Correct:
    """The command that sets traits. Raises SettingError where one of them cannot be used."""
    if len(traits) > MOST_TRAITS:
        raise SettingError(f"traits: at most {MOST_TRAITS} of them at a time")
    wrong = [name for name in traits if not _NAME.fullmatch(name)]
    if wrong:
        raise SettingError(f"traits: {wrong[0][:80]!r} is no name of a trait")
    if len(reason) > LONGEST_REASON or len(by) > LONGEST_REASON:
        raise SettingError(f"reason: it has at most {LONGEST_REASON} characters")
    return Correct(id=commands.new_id(), by=by, reason=reason, traits=dict(traits))


def correct(
    settings: Settings, key: str, traits: Mapping[str, Any], events: Collection[str] = (), *, by: str = "", reason: str = ""
) -> Corrected | None:
    """Put something right about a person. Traits: sent; events: blocks until they are left out, up to a minute.

    key:    of the person, by any of their identifiers.
    traits: right values by name; None removes one. events: message ids of those that are as if they had never been.

    Returns None where nothing is known of the person.

    Raises SettingError for what cannot be used, or is no event of theirs; ClusterError where the cluster cannot be read, no
    worker answers, the person never holds still, or the state is too large for a command.
    """
    if not traits and not events:
        raise SettingError("say what is wrong: traits to set or remove, or events to leave out")
    if len(events) > MOST_EVENTS:
        raise SettingError(f"without: at most {MOST_EVENTS} events at a time")
    command, whose = command_of(traits, by=by, reason=reason), normal_key(key, in_force(settings))
    about = {"request": command.id, **({"reason": reason} if reason else {})}
    note(settings, "correct", profiles=[whose.decode()], about=about)
    if stored_at(settings, whose.decode()) is None:
        return None
    if not events:
        commands.send(settings, whose, command)
        return Corrected(whose.decode(), command.id, sorted(traits), [], [])
    return leave_out(settings, whose.decode(), command, sorted(events))


def leave_out(settings: Settings, key: str, asked: Correct, events: list[str]) -> Corrected | None:
    """Leave events out: the state is made from the log, and put into force by the command; again, where it came too late.

    key: of the person, as the log has it. asked: the command, with the traits to be set beside it. Blocks. Raises as `correct`.
    """
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        stored = stored_at(settings, key)
        if stored is None:
            return None
        made = _made(settings, stored, asked, events)
        if made is None:
            sleep(LOOK_S)
            continue
        told, command = made
        with _listening(settings, stored.profile.key) as consumer:
            commands.send(settings, stored.profile.key.encode(), command)
            if _taken(consumer, command.id, min(deadline, monotonic() + ANSWER_S)):
                return told
    raise ClusterError(f"nothing was put right within {PATIENCE_S:.0f} s: does a worker run? is {key} very busy?")


@contextmanager
def _listening(settings: Settings, key: str) -> Iterator[Consumer]:
    """Read what is put out about a profile from now on."""
    consumer = Consumer(restore_conf(settings.kafka(), f"{settings.app}-correct"))
    try:
        number = partition_of(key.encode(), partitions_of(settings))
        _, end = partition_bounds(consumer, settings.profile_changes, number)
        consumer.assign([TopicPartition(settings.profile_changes, number, end)])
        yield consumer
    except KafkaException as failure:
        raise ClusterError(f"{settings.profile_changes} cannot be read: {cause(failure).str()}") from failure
    finally:
        consumer.close()


def _taken(consumer: Consumer, request: str, until: float) -> bool:
    """Wait for the record that says what became of a request: whether it is in force; False where it came too late."""
    while monotonic() < until:
        message = consumer.poll(LOOK_S)
        if message is None or message.error() is not None:
            continue
        with suppress(msgspec.MsgspecError):
            change = _change(message.value() or b"")
            if change.kind == "corrected" and change.message_id == request:
                return change.reason != OUTDATED
    return False


def _made(settings: Settings, stored: Stored, asked: Correct, events: list[str]) -> tuple[Corrected, Correct] | None:
    """The command, made from the log; None where some of it has still to be folded."""
    person, switch = stored.profile, stored.position.switches[-1]
    log = read_log(settings, [person.key, *person.links])
    if not log.folded:
        return None
    made = without(person, events, log.records, versions_of(settings)[switch.version], switch.number, log.cut)
    since = timestamps.render(log.cut) if log.cut else ""
    if made.missing:
        gone = f" (the log begins at {since})" if since else ""
        raise SettingError(f"without: {', '.join(made.missing)}: no event of {person.key}{gone}")
    state = profiles.encode(made.state)
    command = msgspec.structs.replace(asked, without=events, state=state, expected=digest(person))
    if len(encode(command)) > MOST:
        raise ClusterError(f"{person.key} is too large to be corrected: {len(encode(command))} bytes, {MOST} fit a command")
    told = Corrected(person.key, asked.id, sorted(asked.traits), events, list(made.approximate), since)
    return told, command
