"""What is looked at, in which order: tags, segments and the stage read one another; what only watches comes after them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rtcdp.rules.compiling.reads import Reads, collect
from rtcdp.rules.definitions import Definitions, Segment, Stage, Tag
from rtcdp.rules.expressions.tree import Node
from rtcdp.rules.sending import At, Trigger

Identity = tuple[str, str]


@dataclass(frozen=True)
class Lifecycle:
    """The stage, as one rule."""

    stages: tuple[Stage, ...]
    name: str = "stage"


@dataclass(frozen=True)
class Watch:
    """Something that nothing reads: see `Rule.kind` of the compiler. name: of the trigger, or empty."""

    kind: Literal["schedule", "guard", "ending", "consent"]
    name: str
    reads: Reads = field(compare=False)
    condition: Node | None = None


Ruled = Tag | Segment | Lifecycle | Watch


def identity(rule: Ruled) -> Identity:
    """Kind and name."""
    match rule:
        case Segment():
            return "segment", rule.name
        case Tag():
            return "tag", rule.name
        case Lifecycle():
            return "stage", rule.name
        case Watch(kind=kind):
            return kind, rule.name


def reads_of(rule: Ruled) -> Reads:
    """What a rule reads."""
    match rule:
        case Segment(condition=condition):
            return collect(condition, Reads())
        case Tag(value=value, when=when):
            return collect(when, collect(value, Reads()))
        case Lifecycle(stages=stages):
            reads = Reads()
            for stage in stages:
                collect(stage.condition, reads)
            return reads
        case Watch(reads=reads):
            return reads


def rule_order(definitions: Definitions) -> list[Ruled]:
    """Tags, segments, the stage; what another reads comes before it. The loader has refused cycles. Then the watches."""
    everything: list[Ruled] = [*definitions.tags.values(), *definitions.segments.values()]
    if definitions.stages:
        everything.append(Lifecycle(definitions.stages))
    rules = {identity(rule): rule for rule in everything}
    reads = {name: sorted(reads_of(rule).names) for name, rule in rules.items()}
    order: dict[Identity, Ruled] = {}
    for first in rules:
        stack = [first]
        while stack:
            missing = next((name for name in reads[stack[-1]] if name not in order), None)
            if missing is None:
                name = stack.pop()
                order.setdefault(name, rules[name])
            else:
                stack.append(missing)
    return [*order.values(), *_watches(definitions)]


def _watches(definitions: Definitions) -> list[Ruled]:
    found: list[Ruled] = []
    for name, trigger in definitions.triggers.items():
        if trigger.on.schedule is not None:
            found.append(Watch("schedule", name, _schedule_reads(trigger)))
        if trigger.unless is not None and trigger.unless.condition is not None:
            condition = trigger.unless.condition
            found.append(Watch("guard", name, collect(condition, Reads()), condition))
    consent = definitions.consent
    if consent is not None and consent.region is not None:
        found.append(Watch("consent", "", collect(consent.region, Reads()), consent.region))
    expire = definitions.expire
    periods = [period for period in (expire.anonymous, expire.known) if period is not None]
    if periods:
        since = [(name, ">=", period) for name in ("first_seen", "last_seen") for period in periods]
        found.append(Watch("ending", "", Reads(since=since)))
    return found


def _schedule_reads(trigger: Trigger) -> Reads:
    schedule, reads = trigger.on.schedule, Reads()
    if isinstance(schedule, At):
        collect(schedule.path, reads)
    else:
        reads.names.add(("segment", trigger.on.name))
    if schedule is not None:
        collect(schedule.zone.path, reads)
    return reads
