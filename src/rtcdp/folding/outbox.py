"""Collects what one fold puts out, in order, with deterministic ids and growing `seq`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from xxhash import xxh3_128_hexdigest

from rtcdp.outputs import Cancel, CancelData, Change, Difference, TriggerData, TriggerEvent
from rtcdp.times.timestamps import rfc3339

if TYPE_CHECKING:
    from rtcdp.profile import Profile, Start
    from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
    from rtcdp.rules.compiling.programs import Deliver

Cause = Literal["event", "time", "definitions", "merge", "command"]


class Outbox:
    """What one or more folds put out, in order.

    items: `Change`, `TriggerEvent` and `Cancel`. `false_conditions` counts triggers whose `if` did not hold, by name.
    ended: people whose profiles have ended: profile key, their other identifiers, when (ms).
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.items: list[Change | TriggerEvent | Cancel] = []
        self.false_conditions: dict[str, int] = {}
        self.ended: list[tuple[str, list[str], int]] = []
        self._cause: Cause = "event"
        self._message_id = self._caused_by = ""
        self._historical = False
        self._ordinal = 0
        self._instant = -1
        self._at = ""
        self._fold = ""

    def begin(self, cause: Cause, message_id: str = "", other: str = "", *, historical: bool = False) -> None:
        """What follows has this cause. A fold of one record begins with the record's own.

        other: of a merge: the other side, since one event may bring several.
        """
        self._cause = cause
        self._message_id = message_id
        self._caused_by = f"{message_id}\0{other}" if other else message_id
        self._historical = historical
        self._ordinal = 0

    def _identity(self, profile: Profile, name: str, kind: str) -> str:
        """Count the output in, and return its id: the hash of what holds for the whole fold, of what it is, its ordinal."""
        now, seq, ordinal = profile.now, profile.seq + 1, self._ordinal + 1
        profile.seq = seq if seq > now else now
        if now != self._instant:
            self._instant, self._at = now, rfc3339(now)
        if ordinal == 1:
            self._fold = f"{profile.key}\0{self.version}\0{now}\0{self._cause}\0{self._caused_by}"
        self._ordinal = ordinal
        return xxh3_128_hexdigest(f"{self._fold}\0{kind}\0{name}\0{ordinal}".encode())

    def change(
        self,
        profile: Profile,
        kind: Literal["entered", "exited", "tag", "stage", "consent"],
        name: str,
        old: Any = None,
        new: Any = None,
    ) -> None:
        """Put out a record of `profile-changes`, at the profile's time."""
        identity = self._identity(profile, name, kind)
        self.items.append(
            Change(
                identity,
                kind,
                profile.key,
                name,
                self._at,
                self._cause,
                self.version,
                profile.seq,
                self._message_id,
                old,
                new,
                "",
                self._historical,
            )
        )

    def shadow(self, profile: Profile, version: str, found: Difference) -> None:
        """Put out what the live version or the shadow did alone."""
        identity = self._identity(profile, f"{found.by} {found.at} {found.what} {found.name}", "shadow")
        self.items.append(
            Change(
                identity,
                "shadow",
                profile.key,
                found.name,
                found.at,
                self._cause,
                version,
                profile.seq,
                self._message_id,
                new=found.value,
                reason=found.what,
                by=found.by,
            )
        )

    def not_sent(self, profile: Profile, name: str, reason: str, by: str = "", step: str = "", arm: str = "") -> None:
        """Put out a decision not to send the trigger of this name. The rest: see `Change`."""
        self._reason(profile, "not_sent", name, reason, historical=self._historical, by=by, step=step, arm=arm)

    def identity(self, profile: Profile, other: str, reason: str) -> None:
        """Put out what became of an identifier: see `Change.reason`. other: the profile key of the other side."""
        self._reason(profile, "identity", other, reason)

    def corrected(self, profile: Profile, name: str, what: str) -> None:
        """Put out that a trait or an event was put right, or why not. what: `trait`, `event`, `outdated`, `unknown`."""
        self._reason(profile, "corrected", name, what)

    def arm(self, profile: Profile, other: str, owner: str, arm: str, before: str) -> None:
        """Put out that what `other` brings was decided in another arm of a holdout. owner: the trigger's or group's name."""
        self._reason(profile, "identity", other, "arm", by=owner, arm=arm, old=before)

    def _reason(
        self,
        profile: Profile,
        kind: Literal["not_sent", "identity", "corrected", "erased"],
        name: str,
        reason: str,
        **rest: Any,
    ) -> None:
        """Put out a record of `profile-changes` that says why."""
        identity = self._identity(profile, name, kind)
        start = (identity, kind, profile.key, name, self._at, self._cause, self.version, profile.seq, self._message_id)
        self.items.append(Change(*start, reason=reason, **rest))

    def cancel(self, profile: Profile, key: str, trigger: str, channel: str, reason: str) -> None:
        """Put out that what a trigger has sent is withdrawn.

        key: under which it was sent: the profile's, or that of an identifier that became part of it. channel: "" for any.
        """
        identity = self._identity(profile, f"{trigger} {key} {channel}", "cancel")
        data = CancelData(profile=key, trigger=trigger, channel=channel, reason=reason)
        self.items.append(Cancel(id=identity, subject=key, time=self._at, seq=profile.seq, data=data))

    def trigger(
        self, profile: Profile, trigger: CompiledTrigger, start: Start, payload: dict[str, Any], message: Deliver, arm: str
    ) -> None:
        """Put out a trigger event. start: the one that fires; message: what it sends; arm: see `TriggerData`."""
        identity = self._identity(profile, trigger.name, "trigger")
        at = self._at
        self.items.append(
            TriggerEvent(
                id=identity,
                subject=profile.key,
                time=at,
                seq=profile.seq,
                data=TriggerData(
                    profile=profile.key,
                    trigger=trigger.name,
                    cause=start.cause,  # type: ignore[arg-type]  # kept as plain text in the profile
                    message_id=start.message_id,
                    occurred=rfc3339(start.occurred),
                    received=rfc3339(start.received),
                    due=rfc3339(start.due),
                    decided=at,
                    expires_at=rfc3339(start.due + trigger.max_age),
                    channel=message.channel,
                    payload=payload,
                    version=self.version,
                    step=message.name,
                    arm=arm,
                ),
            )
        )

    def erased(self, profile: Profile, people: list[str]) -> None:
        """Put out that everything of the profile is gone. people: its profile key and those of its identifiers."""
        self._reason(profile, "erased", "erased", "", new=people)

    def condition_false(self, trigger: CompiledTrigger) -> None:
        """Count a trigger whose `if` did not hold when it fired: a counter, no record."""
        self.false_conditions[trigger.name] = self.false_conditions.get(trigger.name, 0) + 1
