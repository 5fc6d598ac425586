"""`scenarios:`: tests that people write beside their definitions. Events at times, and what is expected then.

They are no part of what definitions mean: the version knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field, replace
from typing import Any

from rtcdp.rules.definitions import Definitions
from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.expressions.tree import Name, Node, Part, walk
from rtcdp.rules.loading.documents import Entry, Mapping, Scalar, Sequence, Value, to_plain
from rtcdp.rules.loading.options import EXPECT, SCENARIO, STEP
from rtcdp.rules.loading.reading import Reader
from rtcdp.rules.sending import fired
from rtcdp.times import timestamps

START = 1_772_442_000_000  # Monday, 2026-03-02T09:00:00Z
USER = "somebody"
MOST_STEPS = 1_000

Entries = AnyMapping[str, Entry]
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Expectation:
    """What should be so after a step.

    inside, outside: segments that the profile is in, and is not in.
    tags, features: values; None: it has none.
    stage:    the stage of the lifecycle; empty where nothing is said.
    sent:     triggers sent since the last expectation about the profile, with as much of their payload as is written.
    not_sent: triggers not sent since then, with the reason where one is written.
    silent:   nothing at all was sent since then.
    refused:  the event is a dead letter with this reason.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    tags: AnyMapping[str, Any] = field(default_factory=dict)
    features: AnyMapping[str, Any] = field(default_factory=dict)
    stage: str = ""
    sent: AnyMapping[str, AnyMapping[str, Any]] = field(default_factory=dict)
    not_sent: AnyMapping[str, str] = field(default_factory=dict)
    silent: bool = False
    refused: str = ""


@dataclass(frozen=True)
class Step:
    """Something that happens at a time (ms), or that is expected then.

    who:   `userId` or `anonymousId`, and its value: whose profile is looked at.
    event: as a producer sends it (Segment JSON); None where nothing is sent.
    place: file, line, column.
    """

    at: int
    who: tuple[str, str]
    event: AnyMapping[str, Any] | None
    expect: Expectation | None
    place: Place


@dataclass(frozen=True)
class Scenario:
    """One test. place: file, line, column of its name."""

    name: str
    steps: tuple[Step, ...]
    place: Place
    description: str = ""


def read_scenarios(reader: Reader, section: Entries, definitions: Definitions) -> dict[str, Scenario]:
    """The scenarios of a folder; errors go to the reader."""
    return {name: _Scenario(reader, definitions).read(name, entry) for name, entry in section.items()}


def uncovered(definitions: Definitions, scenarios: Iterable[Scenario]) -> list[str]:
    """The definitions that no scenario shows at work, as `segment buyers`.

    A segment must be expected to be entered, a tag to have a value, a trigger to be sent, a stage to be reached; a
    feature may be expected itself, or be read by one of those.
    """
    checks = [step.expect for scenario in scenarios for step in scenario.steps if step.expect]
    segments = {name for check in checks for name in check.inside}
    tags = {name for check in checks for name, value in check.tags.items() if value is not None}
    triggers = {name for check in checks for name in check.sent}
    stages = {check.stage for check in checks}
    features = {name for check in checks for name in check.features}
    for name in features & definitions.derived.keys():
        features |= {node.name for node in walk(definitions.derived[name].value) if isinstance(node, Name | Part)}
    features |= _read_by(definitions, segments, tags, triggers, stages)
    missing = [f"feature {name}" for name in definitions.features if name not in features]
    missing += [f"tag {name}" for name in definitions.tags if name not in tags]
    missing += [f"segment {name}" for name in definitions.segments if name not in segments]
    missing += [f"stage {stage.name}" for stage in definitions.stages if stage.name not in stages]
    return missing + [f"trigger {name}" for name in definitions.triggers if name not in triggers]


def _read_by(definitions: Definitions, segments: set[str], tags: set[str], triggers: set[str], stages: set[str]) -> set[str]:
    """Features that these read, also through other segments and tags."""
    nodes: list[Node | None] = [stage.condition for stage in definitions.stages if stage.name in stages]
    for trigger in (definitions.triggers[name] for name in triggers):
        nodes += fired(trigger)
    left = [("segment", name) for name in segments] + [("tag", name) for name in tags]
    seen, features = set(left), set[str]()
    while nodes or left:
        while left:
            kind, name = left.pop()
            if kind == "segment":
                nodes.append(definitions.segments[name].condition)
            else:
                nodes += [definitions.tags[name].value, definitions.tags[name].when]
        node = nodes.pop()
        for item in walk(node) if node is not None else ():
            if isinstance(item, Part) or (isinstance(item, Name) and item.kind == "feature"):
                features.add(item.name)
            elif isinstance(item, Name) and item.kind in ("segment", "tag") and (item.kind, item.name) not in seen:
                seen.add((item.kind, item.name))
                left.append((item.kind, item.name))
    return features


class _Scenario:
    """Reads one scenario."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        self._reader = reader
        self._definitions = definitions
        self._now = START
        self._begun = False
        self._sent = 0

    def read(self, name: str, entry: Entry) -> Scenario:
        """The scenario of an entry."""
        value, place, description = entry.value, _place(entry.key), ""
        if isinstance(value, Mapping):
            found = self._reader.options(value, SCENARIO, "a scenario", entry.key) or {}
            description = self._reader.text(found.get("description"))
            if "start" in found and (start := self._time(found["start"].value)) is not None:
                self._now, self._begun = start, True
            if "steps" not in found:
                return Scenario(name, (), place, description)
            value = found["steps"].value
        if not isinstance(value, Sequence) or not value.items:
            self._reader.fail(value, "a scenario is a list of steps", "write - {event: Order Completed}")
            return Scenario(name, (), place, description)
        if len(value.items) > MOST_STEPS:
            self._reader.fail(value, f"a scenario has at most {MOST_STEPS} steps")
        steps = [step for item in value.items[:MOST_STEPS] for step in self._steps(item)]
        return Scenario(name, tuple(steps), place, description)

    def _steps(self, value: Value) -> list[Step]:
        """A step as written; one that is sent several times is as many."""
        found = self._reader.options(value, STEP, "a step")
        if found is None:
            return []
        if "at" in found and (at := self._time(found["at"].value)) is not None:
            if self._begun and at < self._now:
                self._reader.fail(found["at"].value, f"time does not go back: the step before is at {_shown(self._now)}")
            self._now = max(self._now, at) if self._begun else at
        self._begun = True
        who = self._who(found)
        sends = [name for name in ("event", "type", "properties", "traits", "context") if name in found]
        whole = isinstance(value, Mapping) and len(value.entries) == len(found)  # else there is an error already
        if whole and not sends and "expect" not in found:
            self._reader.fail(value, "a step sends an event, or expects something", "write event: NAME or expect: {...}")
        times = self._reader.whole(found.get("times"), 1, MOST_STEPS)
        every = self._reader.duration(found.get("every"), least=0) or 0
        for name in ("times", "every"):
            if name in found and not sends:
                self._reader.fail(found[name].key, f"'{name}' repeats an event, and this step sends none")
        steps = []
        for turn in range(times):
            self._now += every if turn else 0
            event = self._event(found, who) if sends else None
            steps.append(Step(self._now, who, event, None, _place(value)))
        expect = self._expect(found["expect"].value, sends=bool(sends)) if "expect" in found else None
        return [*steps[:-1], replace(steps[-1], expect=expect)]

    def _who(self, found: Entries) -> tuple[str, str]:
        anonymous = self._reader.text(found.get("anonymous"), "an anonymous id", 500)
        if anonymous and "user" not in found:
            return "anonymousId", anonymous
        return "userId", self._reader.text(found.get("user"), "a user id", 500) or USER

    def _event(self, found: Entries, who: tuple[str, str]) -> dict[str, Any]:
        """The event as a producer sends it."""
        self._sent += 1
        kind = self._reader.choice(found.get("type"), STEP["type"], "track" if "event" in found else "identify")
        event: dict[str, Any] = {"type": kind, who[0]: who[1], "receivedAt": _shown(self._now)}
        event["messageId"] = self._reader.text(found.get("message_id"), "a message id", 200) or f"step-{self._sent}"
        if "anonymous" in found:
            event["anonymousId"] = self._reader.text(found["anonymous"], "an anonymous id", 500)
        if "event" in found:
            event["event" if kind == "track" else "name"] = self._reader.event(found["event"].value) or ""
        event["timestamp"] = _shown(self._occurred(found.get("occurred")))
        for name in ("properties", "traits", "context"):
            if name in found:
                event[name] = self._json(found[name].value, f"the {name}")
        return event

    def _occurred(self, entry: Entry | None) -> int:
        """When an event happened that arrives later: a time, or `-2h`."""
        if entry is None:
            return self._now
        value = entry.value
        if isinstance(value, Scalar) and value.text.startswith("-"):
            before = self._duration(value)
            return self._now if before is None else self._now - before
        at = self._time(value)
        if at is not None and at > self._now:
            self._reader.fail(value, f"an event cannot occur after it arrives, at {_shown(self._now)}")
        return self._now if at is None else min(at, self._now)

    def _time(self, value: Value) -> int | None:
        """A time, or `+1h` after the step before."""
        scalar = self._reader.scalar(value, "a time")
        if scalar is None:
            return None
        if scalar.text.startswith("+"):
            after = self._duration(scalar)
            return None if after is None else self._now + after
        at = timestamps.parse(scalar.text) if "-" in scalar.text else None
        if at is None:
            hint = "write 2026-03-02T09:00:00Z, or +1h after the step before"
            self._reader.fail(scalar, f"a time is expected, not '{scalar.text[:40]}'", hint)
        return at

    def _duration(self, scalar: Scalar) -> int | None:
        rest = scalar.text[1:].lstrip()
        cut = replace(scalar, text=rest, start=min(scalar.end, scalar.start + len(scalar.text) - len(rest)))
        return self._reader.duration(Entry(cut, cut), least=0)

    def _json(self, value: Value, what: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self._reader.fail(value, f"{what} are written as {{name: value}}")
            return {}
        found: dict[str, Any] = to_plain(value)
        return found

    # What is expected

    def _expect(self, value: Value, *, sends: bool) -> Expectation:
        found = self._reader.options(value, EXPECT, "an expectation") or {}
        if isinstance(value, Mapping) and not value.entries:
            self._reader.fail(value, f"something is expected here: one of {listed(EXPECT)}")
        definitions = self._definitions
        refused = self._reader.text(found.get("refused"), "a reason", 64)
        if refused and not sends:
            self._reader.fail(found["refused"].key, "nothing is sent in this step that could be refused")
        sent = self._named(found.get("sent"), definitions.triggers, "trigger")
        inside = self._names(found.get("in"), definitions.segments, "segment")
        outside = self._names(found.get("not_in"), definitions.segments, "segment")
        if both := sorted(set(inside) & set(outside)):
            self._reader.fail(found["not_in"].value, f"'{both[0]}' stands in 'in' and in 'not_in'")
        return Expectation(
            inside,
            outside,
            self._values(found.get("tags"), definitions.tags, "tag"),
            self._values(found.get("features"), {**definitions.features, **definitions.derived}, "feature"),
            next(iter(self._names(found.get("stage"), [stage.name for stage in definitions.stages], "stage")), ""),
            {name: self._json(item, "the values of a payload") if item else {} for name, item in sent.items()},
            self._reasons(found.get("not_sent")),
            "sent" in found and not sent,
            refused,
        )

    def _known(self, scalar: Scalar, names: Iterable[str], kind: str) -> bool:
        if scalar.text in names:
            return True
        hint = did_you_mean(scalar.text, names)
        self._reader.fail(
            scalar, f"unknown {kind} '{scalar.text[:64]}': expected one of {listed(sorted(names)) or 'none'}", hint
        )
        return False

    def _names(self, entry: Entry | None, names: Iterable[str], kind: str) -> tuple[str, ...]:
        texts = self._reader.texts(entry, f"the name of a {kind}")
        return tuple(dict.fromkeys(scalar.text for scalar in texts if self._known(scalar, names, kind)))

    def _named(self, entry: Entry | None, names: Iterable[str], kind: str) -> dict[str, Value | None]:
        """Names, or names with something about each."""
        if entry is None:
            return {}
        if not isinstance(entry.value, Mapping):
            return dict.fromkeys(self._names(entry, names, kind))
        items = [item for item in entry.value.entries.values() if self._known(item.key, names, kind)]
        empty = {item.key.text for item in items if isinstance(item.value, Scalar) and item.value.empty}
        return {item.key.text: None if item.key.text in empty else item.value for item in items}

    def _reasons(self, entry: Entry | None) -> dict[str, str]:
        found = self._named(entry, self._definitions.triggers, "trigger")
        reasons = {}
        for name, value in found.items():
            scalar = None if value is None else self._reader.scalar(value, "a reason")
            reasons[name] = scalar.text if scalar else ""
        return reasons

    def _values(self, entry: Entry | None, names: Iterable[str], kind: str) -> dict[str, Any]:
        if entry is None:
            return {}
        if not isinstance(entry.value, Mapping):
            self._reader.fail(entry.value, f"{kind}s are expected as {{name: value}}")
            return {}
        items = entry.value.entries.values()
        return {item.key.text: to_plain(item.value) for item in items if self._known(item.key, names, kind)}


def _place(value: Value) -> Place:
    return (value.source.file, *value.place())


def _shown(ms: int) -> str:
    return timestamps.rfc3339(ms)
