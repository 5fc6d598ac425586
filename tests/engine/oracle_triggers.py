"""What the language means by triggers, journeys, the lifecycle and the end of profiles, with plain loops.

The second half of `engine.oracle`: everything that was ever sent is kept, and every limit is counted from all of it. A journey
is a list of steps that are still to come. Steps are nested tuples:

    ("send", name, when) ("wait", ms) ("for", events, ms, then, otherwise) ("if", condition, then, otherwise) ("exit",)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from engine.reaction_specs import DAY, HOUR, Expression, LimitSpec, TriggerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.oracle import Happened, Output, Spec

MOST = 64
Cause = tuple[str, str]


@dataclass
class Wait:
    """A start. occurred, received, cause, message_id, start: of what it is. rest: the steps to come. awaits: the step it is at.

    began: it is more than a wait before the beginning. first: when the first occurred that it took the place of.
    """

    due: int
    occurred: int
    received: int
    cause: str
    message_id: str
    start: Happened | None
    trigger: str = ""
    instance: str = ""
    rest: list[Any] = field(default_factory=list)
    awaits: Any = None
    since: int = 0
    began: bool = False
    first: int = 0
    contends: bool = False


@dataclass
class Sent:
    """What was sent, or a journey that began. at: when; occurred: its start."""

    trigger: str
    instance: str
    channel: str
    at: int
    occurred: int
    counts: bool = True


def spelled(value: Any) -> str:
    """By what instances are told apart."""
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return json.dumps(value, sort_keys=True)


def is_quiet(hours: tuple[int, int, str, bool], instant: int) -> bool:
    begin, end, zone, _ = hours
    hour = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)).astimezone(ZoneInfo(zone)).hour
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def quiet_end(hours: tuple[int, int, str, bool], instant: int) -> int:
    """Minute by minute."""
    while is_quiet(hours, instant):
        instant = instant // 60_000 * 60_000 + 60_000
    return instant


class Reactions:
    """Triggers, stage and end of a profile. What the rest of the oracle has is declared here."""

    spec: Spec
    now: int
    key: str
    events: list[Happened]
    members: set[str]
    outputs: list[Output]

    if TYPE_CHECKING:

        def value(self, expression: Expression, event: Happened | None = None) -> Any: ...
        def written(self, expression: Expression, event: Happened | None) -> Any: ...
        def put(self, kind: str, name: str, cause: Cause, **more: Any) -> None: ...

    def __init__(self) -> None:
        self.waiting: list[Wait] = []
        self.sent: list[Sent] = []
        self.entered: dict[str, int] = {}
        self.stage: tuple[str, int] | None = None
        self.scheduled: dict[str, int] = {}
        self.until: dict[str, int] = {}
        self.picked: dict[str, int] = {}
        self.historical = False

    # the stage

    def wanted(self) -> str:
        return next(name for name, condition, _ in self.spec.stages if self.value(condition) is True)

    def look_at_stage(self, cause: Cause, *, historical: bool = False) -> list[tuple[str, str]]:
        """Move where another is wanted and the present one need not be kept."""
        if not self.spec.stages:
            return []
        wanted = self.wanted()
        old, since = self.stage or (None, 0)
        stays = {name: stay for name, _, stay in self.spec.stages}
        if wanted == old or (old is not None and self.now < since + stays[old]):
            return []
        self.stage = (wanted, self.now)
        self.put("stage", "stage", cause, old=old, new=wanted, historical=historical)
        return [("stage", wanted)]

    # starting and calling off

    def schedule(self) -> None:
        """Set when schedules are due next, of the segments that it is in."""
        for name, trigger in self.spec.triggers.items():
            if trigger.on[0] != "every":
                continue
            if trigger.on[1] not in self.members:
                self.scheduled.pop(name, None)
            elif self.scheduled.get(name, 0) <= self.now:
                time = trigger.on[2] * HOUR
                self.scheduled[name] = next(at for day in range(3) if (at := (self.now // DAY + day) * DAY + time) > self.now)

    def instance(self, trigger: TriggerSpec, start: Happened | None) -> str:
        told = trigger.per or trigger.same
        return "" if told is None or start is None else spelled(start.properties.get(told))

    def cancels(self, trigger: TriggerSpec, event: Happened, start: Happened | None, occurred: int) -> bool:
        """Whether an event calls off what was started by `start`, or by time, at `occurred`."""
        if event.event not in trigger.unless and "*" not in trigger.unless:
            return False
        if event.occurred <= occurred:
            return False
        if trigger.unless_where is not None and self.value(trigger.unless_where, event) is not True:
            return False
        if trigger.same is None or start is None:
            return True
        return spelled(event.properties.get(trigger.same)) == spelled(start.properties.get(trigger.same))

    def cancel(self, event: Happened) -> None:
        for wait in list(self.waiting):
            if self.cancels(self.spec.triggers[wait.trigger], event, wait.start, wait.occurred):
                self.waiting.remove(wait)
                self.put("not_sent", wait.trigger, ("event", event.id), reason="cancelled", historical=event.historical)

    def call_off(self, cause: Cause, *, historical: bool = False) -> None:
        """What a condition calls off."""
        for wait in list(self.waiting):
            guard = self.spec.triggers[wait.trigger].guard
            if guard is not None and self.value(guard) is True:
                self.waiting.remove(wait)
                self.put("not_sent", wait.trigger, cause, reason="cancelled", historical=historical)

    def latest(self, name: str, instance: str) -> Sent | None:
        found = [sent for sent in self.sent if (sent.trigger, sent.instance) == (name, instance)]
        return found[-1] if found else None

    def may_again(self, name: str, instance: str) -> bool:
        kind, *rest = self.spec.triggers[name].again
        latest = self.latest(name, instance)
        if kind == "always" or latest is None:
            return True
        if kind == "after":
            return bool(self.now >= latest.at + rest[0])
        return kind == "exited" and (rest[0] not in self.members or self.entered[rest[0]] > latest.at)

    def start(self, name: str, wait: Wait) -> None:
        trigger = self.spec.triggers[name]
        wait.trigger, wait.instance = name, self.instance(trigger, wait.start)
        reason = self.refused(name, trigger, wait)
        if reason:
            self.put("not_sent", name, (wait.cause, wait.message_id), reason=reason)
            return
        before = self.waits_for(name, wait.instance)
        if before is not None and before.occurred > wait.occurred:
            return
        wait.first = before.first if before is not None else wait.occurred
        after, most = trigger.debounce or (trigger.after, 0)
        wait.due = wait.since = min(wait.occurred + after, wait.first + most) if most else wait.occurred + after
        wait.rest = list(trigger.steps)
        if before is not None:
            self.waiting.remove(before)
        self.waiting.append(wait)

    def waits_for(self, name: str, instance: str) -> Wait | None:
        return next((wait for wait in self.waiting if (wait.trigger, wait.instance) == (name, instance)), None)

    def refused(self, name: str, trigger: TriggerSpec, wait: Wait) -> str:
        if trigger.guard is not None and self.value(trigger.guard) is True:
            return "cancelled"
        if any(self.cancels(trigger, event, wait.start, wait.occurred) for event in self.events):
            return "cancelled"
        before = self.waits_for(name, wait.instance)
        if before is None and sum(1 for one in self.waiting if one.trigger == name) >= MOST:
            return "too_many"
        if before is not None and before.began:
            return "running"
        latest = self.latest(name, wait.instance)
        waits = trigger.after or trigger.debounce or trigger.steps
        if waits and latest is not None and latest.occurred >= wait.occurred:
            return "superseded"
        return "" if self.may_again(name, wait.instance) else "again"

    def arrive(self, event: Happened) -> None:
        """An event that journeys wait for."""
        for wait in self.waiting:
            if wait.awaits is not None and event.event in wait.awaits[1] and event.occurred > wait.since:
                wait.rest = [*wait.awaits[3], *wait.rest]
                wait.awaits, wait.due = None, self.now

    # deciding

    def decide(self, cause: Cause, revealed: int, *, historical: bool = False) -> None:
        """Everything that is due, the earliest first. revealed: the time of what shows it."""
        self.historical = historical
        names = sorted(self.spec.triggers)
        while due := [wait for wait in self.waiting if wait.due <= self.now]:

            def order(wait: Wait) -> Any:
                priority = -self.spec.triggers[wait.trigger].priority if wait.contends else 0
                return (wait.due, wait.contends, priority, names.index(wait.trigger), wait.occurred, wait.message_id)

            wait = min(due, key=order)
            if not self.goes_on(wait, cause, revealed):
                self.waiting.remove(wait)

    def goes_on(self, wait: Wait, cause: Cause, revealed: int) -> bool:
        """One thing that happens to a start that is due. Whether it still waits."""
        trigger = self.spec.triggers[wait.trigger]
        if not trigger.steps:
            return not self.settle(wait, trigger, "", trigger.condition, cause, revealed)
        if not wait.began:
            if not self.begins(wait, trigger, cause, revealed):
                return False
            wait.began = True
        if wait.awaits is not None:
            wait.rest = [*wait.awaits[4], *wait.rest]
            wait.awaits = None
        if not wait.rest:
            return False
        step = wait.rest[0]
        if step[0] == "send" and not self.settle(wait, trigger, step[1], step[2], cause, revealed):
            return True
        del wait.rest[0]
        if step[0] == "wait":
            wait.due += step[1]
        elif step[0] == "for":
            wait.since, wait.awaits = wait.due, step
            wait.due += step[2]
        elif step[0] == "if":
            wait.rest = [*(step[2] if self.value(step[1], wait.start) is True else step[3]), *wait.rest]
        elif step[0] == "exit":
            return False
        return bool(wait.rest) or wait.awaits is not None or step[0] == "wait"

    def begins(self, wait: Wait, trigger: TriggerSpec, cause: Cause, revealed: int) -> bool:
        if revealed - wait.due > trigger.max_age:
            self.put("not_sent", wait.trigger, cause, reason="max_age", historical=self.historical)
            return False
        if trigger.condition is not None and self.value(trigger.condition, wait.start) is not True:
            return False
        if not self.may_again(wait.trigger, wait.instance):
            self.put("not_sent", wait.trigger, cause, reason="again", historical=self.historical)
            return False
        self.sent.append(Sent(wait.trigger, wait.instance, "", self.now, wait.occurred, counts=False))
        return True

    def limits_of(self, name: str) -> list[tuple[str, LimitSpec, Any]]:
        """Whose limits hold: (owner, limits, whether something sent counts for them)."""
        trigger = self.spec.triggers[name]
        own = replace(trigger.limits, caps=trigger.caps or trigger.limits.caps)
        found: list[tuple[str, LimitSpec, Any]] = [("", own, lambda sent: sent.trigger == name)]
        for group, spec in self.spec.groups.items():
            if name in spec.triggers:
                found.append((f"group {group}", spec.limits, lambda sent, them=spec.triggers: sent.trigger in them))
        if trigger.channel in self.spec.channels:
            limits = self.spec.channels[trigger.channel]
            found.append((f"channel {trigger.channel}", limits, lambda sent: sent.channel == trigger.channel))
        return found

    def settle(
        self, wait: Wait, trigger: TriggerSpec, step: str, condition: Expression | None, cause: Cause, revealed: int
    ) -> bool:
        """Send, or decide not to; False where it is held until later."""
        name = wait.trigger

        def stop(reason: str, by: str = "") -> bool:
            self.put("not_sent", name, cause, reason=reason, by=by, step=step, historical=self.historical)
            return True

        if revealed - wait.due > trigger.max_age:
            return stop("max_age")
        limits = self.limits_of(name)
        for owner, limit, _ in limits:
            hours = [at for at in (self.now, revealed) if at >= self.now and limit.quiet and is_quiet(limit.quiet, at)]
            if hours and limit.quiet is not None and not limit.quiet[3]:
                return stop("quiet", owner)
            if hours and limit.quiet is not None:
                wait.due, wait.contends = quiet_end(limit.quiet, hours[0]), False
                return False
        group = next((group for group, spec in self.spec.groups.items() if name in spec.triggers and spec.picks), None)
        if group is not None and not wait.contends:
            pause = self.spec.groups[group].pause
            if pause and self.until.get(group, 0) <= self.now:
                self.until[group] = self.now + pause
            wait.contends, wait.due = True, self.until[group] if pause else self.now
            return False
        wait.contends = False
        if condition is not None and self.value(condition, wait.start) is not True:
            return True
        if not trigger.steps and not self.may_again(name, wait.instance):
            return stop("again")
        if group is not None and self.picked.get(group) == self.now:
            return stop("priority", f"group {group}")
        for owner, limit, counts in limits:
            sent = [one.at for one in self.sent if one.counts and counts(one)]
            if limit.cooldown and any(at > self.now - limit.cooldown for at in sent):
                return stop("cooldown", owner)
            if any(sum(1 for at in sent if at > self.now - per) >= times for times, per in limit.caps):
                return stop("cap", owner)
        self.send(wait, trigger, step, group)
        return True

    def send(self, wait: Wait, trigger: TriggerSpec, step: str, group: str | None) -> None:
        instance = wait.instance if not trigger.steps else "\0"
        self.sent.append(Sent(wait.trigger, instance, trigger.channel, self.now, wait.occurred))
        if group is not None:
            self.picked[group] = self.now
        payload = {key: self.written(value, wait.start) for key, value in trigger.payload.items()}
        self.put(
            "trigger",
            wait.trigger,
            (wait.cause, wait.message_id),
            occurred=wait.occurred,
            received=wait.received,
            due=wait.due,
            expires=wait.due + trigger.max_age,
            payload=payload,
            step=step,
        )

    # the end

    def ends(self) -> int | None:
        """When it ends."""
        if self.spec.expire is None or not self.events:
            return None
        return max(event.occurred for event in self.events) + self.spec.expire

    def end(self) -> None:
        cause = ("time", "")
        for name, value in self.tags.items():
            if value is not None:
                self.put("tag", name, cause, old=self.shown(self.spec.tags[name][0], value))
        for name in self.members:
            self.put("exited", name, cause, old=True, new=False)
        if self.stage is not None:
            self.put("stage", "stage", cause, old=self.stage[0])
        for wait in self.waiting:
            self.put("not_sent", wait.trigger, cause, reason="expired")

    if TYPE_CHECKING:
        tags: dict[str, Any]

        def shown(self, expression: Expression, value: Any) -> Any: ...

    def instants(self) -> Iterator[int]:
        """When something of all this could change by time alone."""
        yield from (wait.due for wait in self.waiting)
        yield from self.scheduled.values()
        if self.stage is not None:
            yield from (self.stage[1] + stay for _, _, stay in self.spec.stages)
        if (end := self.ends()) is not None:
            yield max(end, self.now + 1)
