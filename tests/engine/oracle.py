"""What the language means, with plain loops: every event of a profile is kept, and everything is computed from all of them.

Written from the language alone; nothing of the engine is imported. Features are those of `rtcdp.simulate.bruteforce`.
Definitions are plain data (`Spec`), which `texts` spells
as the sections of a definitions folder. Expressions are nested tuples:

    ("feature", name) ("tag", name) ("trait", name) ("since", feature) ("segment", name) ("constant", value)
    ("part", feature, key) ("top", feature)    of a feature that has a value for each key
    ("property", name)                         of an event
    ("stage",)
    ("compare", operator, left, right) ("and", ...) ("or", ...) ("not", x) ("missing", x) ("if", test, then, otherwise)
    ("+", left, right) and the same for - * /
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.oracle_triggers import Reactions, Wait
from engine.reaction_specs import GroupSpec, LimitSpec, TriggerSpec, group_text, limits_text, trigger_text

from rtcdp.simulate import bruteforce
from rtcdp.simulate.bruteforce import Entry, Expression, FeatureSpec, Happening, StepSpec, aggregate, find, number, spell

__all__ = ["Entry", "FeatureSpec", "StepSpec", "TriggerSpec", "aggregate"]  # what is taken from here by others

DAY = 86_400_000
SEEN_MOST = 64


# ---- definitions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """tags: name -> (value, when). segments: a segment reads only those before it.

    stages: (name, condition, stay in ms), in order. expire: ms.
    """

    features: dict[str, FeatureSpec]
    tags: dict[str, tuple[Expression, Expression | None]] = field(default_factory=dict)
    segments: dict[str, Expression] = field(default_factory=dict)
    triggers: dict[str, TriggerSpec] = field(default_factory=dict)
    stages: tuple[tuple[str, Expression, int], ...] = ()
    groups: dict[str, GroupSpec] = field(default_factory=dict)
    channels: dict[str, LimitSpec] = field(default_factory=dict)
    expire: int | None = None


def text(expression: Expression) -> str:
    """An expression as the language writes it."""
    kind, *rest = expression
    if kind in ("feature", "tag", "segment", "stage"):
        return str(rest[0] if rest else kind)
    if kind in ("trait", "property"):
        return f"{'traits' if kind == 'trait' else 'properties'}.{rest[0]}"
    if kind in ("part", "top"):
        return f"{rest[0]}[{rest[1]!r}]" if kind == "part" else f"top({rest[0]})"
    if kind in ("since", "missing"):
        return f"{kind}({rest[0] if kind == 'since' else text(rest[0])})"
    if kind == "constant":
        value = rest[0]
        return ("true" if value else "false") if isinstance(value, bool) else repr(value)
    if kind == "duration":
        return f"{rest[0]}ms"
    if kind == "compare":
        return f"({text(rest[1])} {rest[0]} {text(rest[2])})"
    if kind == "not":
        return f"(not {text(rest[0])})"
    if kind == "if":
        return f"({text(rest[1])} if {text(rest[0])} else {text(rest[2])})"
    return "(" + f" {kind} ".join(text(item) for item in rest) + ")"


def feature_text(spec: FeatureSpec) -> dict[str, Any]:
    """A feature as a definitions folder holds it."""
    events = list(spec.events) if len(spec.events) != 1 else spec.events[0]
    written: dict[str, Any] = {spec.kind: events}
    if spec.kind == "sequence":
        written = {"sequence": [step_text(step) for step in spec.steps]}
    elif spec.value is not None:
        written = {spec.kind: f"properties.{spec.value}", "of": events}
    if spec.within is not None:
        written["within"] = f"{spec.within}ms" + (f"..{spec.offset}ms" if spec.offset else "")
    if spec.during is not None:
        written["during"], written["zone"] = spec.during
    if spec.per_session:
        written["per"] = "session"
    if spec.per_session or spec.kind in ("sessions", "bounces", "time_spent", "dwell"):
        written["gap"] = {name: f"{gap}ms" for name, gap in spec.gaps} or f"{spec.gap}ms"
    more = {
        "where": spec.where and text(spec.where),
        "by": spec.by and f"properties.{spec.by}",
        "reset_on": list(spec.reset_on),
        "order": "strict" if spec.strict else None,
        "restart": "true" if spec.restart else None,
        "same": spec.same and f"properties.{spec.same}",
        "spend": list(spec.spend),
        "expire": spec.expire and f"{spec.expire}ms",
    }
    return written | {name: value for name, value in more.items() if value}


def step_text(step: StepSpec) -> dict[str, Any]:
    written: dict[str, Any] = {"event": list(step.events)}
    if step.where is not None:
        written["where"] = text(step.where)
    return {"not": written} if step.excluded else written


def texts(spec: Spec) -> dict[str, Any]:
    """The sections of a definitions folder."""
    features = {name: feature_text(feature) for name, feature in spec.features.items()}
    tags = {
        name: {"value": text(value)} | ({"when": text(when)} if when is not None else {})
        for name, (value, when) in spec.tags.items()
    }
    stages = [{name: {"if": text(condition), "stay": f"{stay}ms"}} for name, condition, stay in spec.stages]
    return {
        "features": features,
        "tags": tags,
        "segments": {name: {"if": text(condition)} for name, condition in spec.segments.items()},
        "triggers": {name: trigger_text(trigger, text) for name, trigger in spec.triggers.items()},
        "lifecycle": {"stages": stages} if stages else {},
        "groups": {name: group_text(group, text) for name, group in spec.groups.items()},
        "channels": {name: limits_text(limits, text) for name, limits in spec.channels.items()},
        "expire": {} if spec.expire is None else {"known": f"{spec.expire}ms", "anonymous": f"{spec.expire}ms"},
    }


# ---- one profile -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Happened:
    """One event of a profile; times in ms."""

    profile: str
    received: int
    occurred: int
    id: str
    event: str
    properties: dict[str, Any]
    traits: dict[str, Any] = field(default_factory=dict)
    simulated: bool = False
    historical: bool = False
    channel: str = ""


@dataclass(frozen=True)
class Ticked:
    """Time, for every profile that is due."""

    time: int
    simulated: bool = False


Output = dict[str, Any]


class Oracle(Reactions):
    """One profile. dense: look at every millisecond, instead of at the instants at which something could change."""

    def __init__(self, spec: Spec, key: str, *, dense: bool = False) -> None:
        self.spec = spec
        self.key = key
        self.dense = dense
        self.now = 0
        self.events: list[Happened] = []
        self.happenings: list[Happening] = []
        self.seen: list[tuple[str, int]] = []
        self.members: set[str] = set()
        self.tags: dict[str, Any] = {}
        self.outputs: list[Output] = []
        super().__init__()

    # what holds now

    def feature(self, name: str) -> Any:
        return bruteforce.feature(self.spec.features[name], self.happenings, self.now, self.holds)

    def holds(self, expression: Expression, event: Any) -> bool:
        return self.value(expression, event) is True

    def trait(self, name: str) -> Any:
        given = [event for event in self.events if name in event.traits]
        return max(given, key=lambda event: (event.occurred, spell(event.traits[name]))).traits[name] if given else None

    def value(self, expression: Expression, event: Happened | None = None) -> Any:
        """The value of an expression; None is missing."""
        kind, *rest = expression
        if kind == "part":
            return self.feature(rest[0]).get(rest[1], bruteforce.nothing_of(self.spec.features[rest[0]]))
        if kind == "top":
            values = self.feature(rest[0])
            found = min(values, key=lambda key: (-values[key], key), default=None)
            return json.loads(found[1:]) if found is not None and found[0] == "\0" else found
        if kind in ("feature", "since", "constant", "duration", "trait", "tag", "segment", "property", "stage"):
            return self.leaf(kind, rest[0] if rest else None, event)
        if kind == "if":
            return self.value(rest[1] if self.value(rest[0], event) is True else rest[2], event)
        if kind == "compare":
            return compare(rest[0], self.value(rest[1], event), self.value(rest[2], event))
        values = [self.value(item, event) for item in rest]
        if kind == "missing":
            return values[0] is None
        if kind == "not":
            return values[0] is not True
        if kind in ("and", "or"):
            truths = [value is True for value in values]
            return all(truths) if kind == "and" else any(truths)
        return arithmetic(kind, *values)

    def written(self, expression: Expression, event: Happened | None) -> Any:
        """A value of a payload: times are texts there."""
        return self.shown(expression, self.value(expression, event))

    def shown(self, expression: Expression, value: Any) -> Any:
        """A value as outputs show it: times are texts."""
        if value is None or not self.is_time(expression):
            return value
        then = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def is_time(self, expression: Expression) -> bool:
        """Whether the value of an expression is a time."""
        kind, *rest = expression
        if kind == "feature":
            return self.spec.features[rest[0]].kind in ("first_time", "last_time")
        if kind == "tag":
            return self.is_time(self.spec.tags[rest[0]][0])
        return kind == "if" and all(self.is_time(branch) for branch in rest[1:])

    def leaf(self, kind: str, name: Any, event: Happened | None) -> Any:
        """What is read from the profile or the event."""
        if kind == "since":
            then = self.feature(name)
            return None if then is None else self.now - then
        if kind == "property":
            return None if event is None else find(event.properties, name)
        if kind in ("constant", "duration"):
            return name
        if kind == "segment":
            return name in self.members
        if kind == "stage":
            return self.stage[0] if self.stage else None
        return {"feature": self.feature, "trait": self.trait, "tag": self.tags.get}[kind](name)

    # what happens

    def receive(self, event: Happened) -> None:
        if event.received > self.now:
            self.pass_time(event.received, simulated=event.simulated)
            self.now = event.received
        self.seen = [entry for entry in self.seen if entry[1] > self.now - DAY][-SEEN_MOST:]
        if any(entry[0] == event.id for entry in self.seen):
            return
        self.seen.append((event.id, self.now))
        self.events.append(event)
        at = (event.occurred, self.now, event.id, event.event, event.properties, event.channel)
        self.happenings.append(Happening(*at, source=event))
        cause = ("event", event.id)
        started = self.look(cause, historical=event.historical)
        self.schedule()
        self.call_off(cause, historical=event.historical)
        self.cancel(event)
        self.arrive(event)
        for name, trigger in self.spec.triggers.items() if not event.historical else ():
            if trigger.on in started:
                self.start(name, Wait(0, self.now, event.received, *cause, event))
            elif trigger.on == ("event", event.event) and (trigger.where is None or self.value(trigger.where, event) is True):
                self.start(name, Wait(0, event.occurred, event.received, *cause, event))
        self.decide(cause, event.received, historical=event.historical)

    def pass_time(self, until: int, *, simulated: bool) -> None:
        """Everything that falls due up to and including `until`, in order."""
        while (instant := self.next_instant(until)) is not None:
            self.now = instant
            started = self.look(("time", ""))
            self.call_off(("time", ""))
            due = {name: at for name, at in self.scheduled.items() if at <= instant}
            self.schedule()
            for name, trigger in self.spec.triggers.items():
                if trigger.on in started:
                    self.start(name, Wait(0, instant, instant, "time", "", None))
                elif name in due and trigger.on[1] in self.members:
                    self.start(name, Wait(0, due[name], due[name], "time", "", None))
            self.decide(("time", ""), instant if simulated else until)
            end = self.ends()
            if end is not None and end <= instant:
                self.end()
                outputs = self.outputs
                self.__init__(self.spec, self.key, dense=self.dense)  # it begins anew
                self.outputs = outputs
        if self.events:
            self.now = max(self.now, until)

    def next_instant(self, until: int) -> int | None:
        """The next instant after now, up to `until`, at which something could change."""
        if not self.events:
            return None
        if self.dense:
            return self.now + 1 if self.now < until else None
        return min((instant for instant in self.candidates() if self.now < instant <= until), default=None)

    def candidates(self) -> Iterator[int]:
        yield from self.instants()
        for spec in self.spec.features.values():
            yield from bruteforce.instants(spec, self.happenings, self.now)
        constants = set()
        conditions = [*self.spec.segments.values(), *(item for pair in self.spec.tags.values() for item in pair if item)]
        conditions += [condition for _, condition, _ in self.spec.stages]
        conditions += [trigger.guard for trigger in self.spec.triggers.values() if trigger.guard is not None]
        for condition in conditions:
            constants |= durations(condition)
        for event in self.events:
            for length in constants:
                yield event.occurred + length
                yield event.occurred + length + 1

    def look(self, cause: tuple[str, str], *, historical: bool = False) -> list[tuple[str, str]]:
        """Tags, then segments, then the stage; returns what may start triggers."""
        started = []
        for name, (expression, when) in self.spec.tags.items():
            value = self.value(expression) if when is None or self.value(when) is True else None
            old = self.tags.get(name)
            if spell(value) != spell(old):
                self.tags[name] = value
                shown = {"old": self.shown(expression, old), "new": self.shown(expression, value)}
                self.put("tag", name, cause, **shown, historical=historical)
                started.append(("changed", name))
        for name, condition in self.spec.segments.items():
            holds = self.value(condition) is True
            if holds != (name in self.members):
                (self.members.add if holds else self.members.discard)(name)
                kind = "entered" if holds else "exited"
                self.put(kind, name, cause, old=not holds, new=holds, historical=historical)
                started.append((kind, name))
                self.entered |= {name: self.now} if holds else {}
        return started + self.look_at_stage(cause, historical=historical)

    def put(self, kind: str, name: str, cause: tuple[str, str], **more: Any) -> None:
        told = {key: value for key, value in more.items() if value not in (None, "") and value is not False}
        more = told | {key: value for key, value in more.items() if key == "payload"}
        self.outputs.append({"kind": kind, "name": name, "at": self.now, "cause": cause[0], "message_id": cause[1]} | more)


def compare(operator: str, one: Any, other: Any) -> bool:
    """A comparison; types never coerce, and with something missing it is false."""
    if one is None or other is None:
        return False
    alike = (number(one) and number(other)) or type(one) is type(other)
    if operator == "==":
        return alike and bool(one == other)
    if operator == "!=":
        return alike and bool(one != other)
    if not alike or isinstance(one, bool | list | dict):
        return False
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator]


def arithmetic(operator: str, one: Any, other: Any) -> Any:
    if not number(one) or not number(other) or (operator == "/" and other == 0):
        return None
    return {"+": lambda: one + other, "-": lambda: one - other, "*": lambda: one * other, "/": lambda: one / other}[operator]()


def durations(expression: Expression) -> set[int]:
    """Every constant duration of an expression."""
    if expression[0] == "duration":
        return {expression[1]}
    return {found for item in expression if isinstance(item, tuple) for found in durations(item)}


def run(spec: Spec, stream: Sequence[Happened | Ticked], *, dense: bool = False) -> dict[str, list[Output]]:
    """Every profile's outputs, in order."""
    profiles: dict[str, Oracle] = {}
    for record in stream:
        if isinstance(record, Ticked):
            for profile in profiles.values():
                profile.pass_time(record.time, simulated=record.simulated)
        else:
            if record.profile not in profiles:
                profiles[record.profile] = Oracle(spec, record.profile, dense=dense)
            profiles[record.profile].receive(record)
    return {key: profile.outputs for key, profile in profiles.items()}
