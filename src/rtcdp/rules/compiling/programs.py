"""A trigger as a program: a flat list of operations that one start goes through, place by place.

A trigger that sends once is the program `Deliver, End`. Jumps only go forward, so that every journey ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rtcdp.rules.compiling.interpreter import Closure
from rtcdp.rules.expressions.tree import Node, spell_duration, unparse
from rtcdp.rules.sending import Await, Branch, Exit, Send, Split, Step, Trigger, Wait


@dataclass(frozen=True, slots=True)
class Begin:
    """The start goes under way, if the condition of the trigger holds."""

    condition: Closure | None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send, unless something holds it back. once: the program is nothing else, so that it may begin with this."""

    name: str
    payload: tuple[tuple[str, Closure], ...]
    channel: str
    condition: Closure | None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long (ms)."""

    time: int


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait so long (ms) for one of these events; `Missed` follows, where the start stays meanwhile."""

    events: tuple[str, ...]
    up_to: int


@dataclass(frozen=True, slots=True)
class Missed:
    """The event did not come: go on at `target`. It came: go on at the next place."""

    events: tuple[str, ...]
    where: Closure | None
    same: tuple[Closure, ...]
    places: tuple[int, ...]
    up_to: int
    target: int = 0


@dataclass(frozen=True, slots=True)
class Test:
    """Go on at `target` where the condition does not hold."""

    condition: Closure
    target: int = 0


@dataclass(frozen=True, slots=True)
class Divide:
    """Go on where the profile's share says. ways: upper end of a share (0 to 1), target; those above go on at `target`."""

    name: str
    ways: tuple[tuple[float, int], ...]
    target: int = 0


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on at `target`."""

    target: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """It is over."""


Operation = Begin | Deliver | Pause | Expect | Missed | Test | Divide | Jump | End


class Makers(Protocol):
    """Makes closures of the expressions of a trigger."""

    def condition(self, node: Node | None) -> Closure | None:
        """A condition over the profile and the starting event."""

    def payload(self, payload: Any) -> tuple[tuple[str, Closure], ...]:
        """The values of a payload."""

    def where(self, node: Node | None) -> Closure | None:
        """A condition over an event."""

    def same(self, nodes: Iterable[Node]) -> tuple[tuple[Closure, ...], tuple[int, ...]]:
        """Getters over an event, and where the starting event's values have been captured."""


def program(trigger: Trigger, makers: Makers) -> tuple[tuple[Operation, ...], tuple[str, ...]]:
    """The operations of a trigger, and a text for each: where the texts up to a place agree, it is the same place."""
    if not trigger.steps:
        condition = makers.condition(trigger.condition)
        once = Deliver("", makers.payload(trigger.payload), trigger.channel, condition, once=True)
        return (once, End()), ("send", "end")
    writer = _Writer(trigger, makers)
    writer.add(Begin(makers.condition(trigger.condition)), "begin")
    writer.steps(trigger.steps, "")
    writer.add(End(), "end")
    return tuple(writer.operations), tuple(writer.texts)


class _Writer:
    """Writes operations; targets are filled in once they are known."""

    def __init__(self, trigger: Trigger, makers: Makers) -> None:
        self.trigger, self.makers = trigger, makers
        self.operations: list[Any] = []
        self.texts: list[str] = []

    def add(self, operation: Operation, text: str) -> int:
        self.operations.append(operation)
        self.texts.append(text)
        return len(self.operations) - 1

    def _aim(self, place: int) -> None:
        """Let the operation at a place go on here."""
        self.operations[place] = replace(self.operations[place], target=len(self.operations))

    def steps(self, steps: tuple[Step, ...], path: str) -> None:
        for number, step in enumerate(steps, 1):
            self._step(step, f"{path}{number}")

    def _step(self, step: Step, path: str) -> None:
        match step:
            case Send(name, payload, channel, condition):
                made = self.makers.payload(payload), channel or self.trigger.channel, self.makers.condition(condition)
                self.add(Deliver(name, *made), f"send {name}")
            case Wait(time):
                self.add(Pause(time), f"wait {spell_duration(time)}")
            case Await():
                self._await(step, path)
            case Branch(condition, then, otherwise):
                test = self.makers.condition(condition)
                assert test is not None  # noqa: S101  a branch has a condition
                self._two(self.add(Test(test), f"if {unparse(condition)}"), then, otherwise, path)
            case Split():
                self._split(step, path)
            case Exit():
                self.add(End(), "exit")

    def _await(self, step: Await, path: str) -> None:
        same, places = self.makers.same(step.same)
        text = f"wait for {step.events} {unparse(step.where) if step.where else ''} {[unparse(node) for node in step.same]}"
        self.add(Expect(step.events, step.up_to), f"{text} up to {step.up_to}")
        missed = self.add(Missed(step.events, self.makers.where(step.where), same, places, step.up_to), "missed")
        self._two(missed, step.then, step.otherwise, path)

    def _two(self, place: int, then: tuple[Step, ...], otherwise: tuple[Step, ...], path: str) -> None:
        """The steps of one way, then those of the other at the target of the operation at `place`."""
        self.steps(then, f"{path}.then.")
        if otherwise:
            jump = self.add(Jump(), "jump")
            self._aim(place)
            self.steps(otherwise, f"{path}.else.")
            self._aim(jump)
        else:
            self._aim(place)

    def _split(self, step: Split, path: str) -> None:
        place = self.add(Divide(path, ()), f"split {path} {[(way.name, way.share) for way in step.ways]}")
        share, ways, jumps = 0.0, [], []
        for way in step.ways:
            share += way.share
            ways.append((share, len(self.operations)))
            self.steps(way.steps, f"{path}.{way.name}.")
            jumps.append(self.add(Jump(), "jump"))
        for jump in jumps:
            self._aim(jump)
        self.operations[place] = Divide(path, tuple(ways), len(self.operations))


def awaited(operations: Iterable[Operation]) -> set[str]:
    """Names of the events that a program waits for."""
    return {event for operation in operations if isinstance(operation, Missed) for event in operation.events}
