"""The engine: folds one record into one profile. No I/O, no clock: time is what the records say.

Before a record is folded, the profile is advanced through every instant up to that record's time at which something
changes, in order, and each output carries its instant. So outputs depend on the log alone.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Any

from rtcdp import triggers
from rtcdp.aggregates import NEVER
from rtcdp.rules.functions import same
from rtcdp.rules.gates import Rules
from rtcdp.rules.generator import Fold, Generator, Holds

if TYPE_CHECKING:
    from rtcdp.outbox import Cause, Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiler import Compiled, CompiledTrigger, Plan, Rule
    from rtcdp.rules.features import Leaf

Starts = list["CompiledTrigger"]
MAX_TRAITS = 512


class Engine:
    """One version of the definitions, applied to profiles."""

    def __init__(self, compiled: Compiled, *, generated: bool = True) -> None:
        """Generated: run generated functions; otherwise the interpreter's closures, which mean the same."""
        self.compiled = compiled
        self._plans = compiled.plans
        self._plan = compiled.plan
        self._generator = Generator(compiled) if generated else None
        self._folds: dict[str, tuple[Fold, Plan]] = {}
        self._holds: list[Holds | None] = [None] * len(compiled.rules)
        self._timed = compiled.timed
        self._rules = compiled.rules

    def apply(self, profile: Profile, event: Any, outbox: Outbox) -> int:
        """Fold an event (decoded by `compiled.decode`) into the profile; outputs go to the outbox.

        Returns `wake_at`: when something may change by time alone (ms), or NEVER.
        """
        received = event.received
        if received > profile.now:
            if profile.wake_at <= received:
                self.advance(profile, received, outbox, simulated=event.simulated)
            profile.now = received
        if not profile.see(event.id):
            return profile.wake_at
        fold, plan = self._folds.get(event.event) or self._fold(event.event)
        touched = fold(profile, event)
        if event.traits:
            touched += self._set_traits(profile, event)
        if profile.fresh:
            profile.fresh = False
            touched += self.compiled.initial
        if touched or profile.waiting or plan.triggers:
            outbox.begin("event", event.id, historical=event.historical)
            starts: Starts = []
            if touched:
                self._evaluate(profile, touched, outbox, starts)
            self._trigger(profile, event, plan, starts, outbox)
        return profile.wake_at

    def _fold(self, event: str) -> tuple[Fold, Plan]:
        """Make what folds events of this name into features. Names without a plan share one."""
        if event not in self._plans:
            event = ""
        found = self._folds.get(event)
        if found is None:
            plan = self._plans.get(event, self._plan)
            found = self._folds[event] = (self._generator.fold(event) if self._generator else _interpreted(plan), plan)
        return found

    def _hold(self, rule: Rule) -> Holds:
        """Make the function that says whether a segment's condition holds."""
        value = rule.value
        holds = self._generator.holds(rule) if self._generator else lambda profile: value(profile, None) is True
        self._holds[rule.index] = holds
        return holds

    def _set_traits(self, profile: Profile, event: Any) -> Rules:
        """Traits by time of occurrence; of two at the same instant the larger text wins, in any order of arrival."""
        touched: Rules = ()
        at = event.occurred
        for name, value in event.traits.items():
            entry = profile.traits.get(name)
            if entry is not None:
                if at < entry[0] or (at == entry[0] and repr(value) <= repr(entry[1])):
                    continue
                changed = entry[1] != value or type(entry[1]) is not type(value)
            elif len(profile.traits) >= MAX_TRAITS:
                continue
            else:
                changed = value is not None
            profile.traits[name] = [at, value]
            if changed:
                touched += self.compiled.traits.get(name, ())
        return touched

    def _evaluate(self, profile: Profile, touched: Rules, outbox: Outbox, starts: Starts) -> None:
        """Look at the touched rules and at those that read what changed, in order."""
        rules = self._rules
        queue = sorted(set(touched)) if len(touched) > 1 else list(touched)
        place = 0
        while place < len(queue):
            rule = rules[queue[place]]
            place += 1
            if rule.is_segment:
                holds = (self._holds[rule.index] or self._hold(rule))(profile)
                changed = holds != (rule.key in profile.segments)
                if changed:
                    _move(profile, rule, outbox, starts, holds=holds)
            else:
                changed = _look_at_tag(profile, rule, outbox)
            if changed and rule.dependents:
                for dependent in rule.dependents:
                    if dependent not in queue[place:]:
                        insort(queue, dependent, lo=place)

    def _trigger(self, profile: Profile, event: Any, plan: Plan, starts: Starts, outbox: Outbox) -> None:
        """Cancel, start and decide triggers after an event."""
        for trigger in plan.cancels:
            triggers.cancel(profile, trigger, event, outbox)
        if event.historical:
            return  # it may call off, but never starts; and nothing has fallen due since the profile was advanced
        entry = (profile.now, event.received)  # a membership changes when the event is folded, however late it is
        for trigger in starts:
            triggers.start(profile, trigger, event, ("event", event.id), entry, outbox)
        times = (event.occurred, event.received)
        for trigger in plan.starts:
            if trigger.where is None or trigger.where(None, event):
                triggers.start(profile, trigger, event, ("event", event.id), times, outbox)
        if profile.waiting:
            triggers.decide(profile, self.compiled.by_key, event.received, outbox)

    def advance(self, profile: Profile, until: int, outbox: Outbox, *, simulated: bool) -> None:
        """Pass every instant up to and including `until` (ms) at which something changes by time alone.

        simulated: what falls due is revealed at its due instant, not at `until`: nothing is too old.
        """
        if profile.failures and profile.wake_at <= until:  # it was put off: first what it may have missed meanwhile
            profile.failures = 0
            outbox.begin("time")
            rules = tuple(range(len(self._rules)))
            self._settle(profile, rules, outbox, "time", profile.now if simulated else until)
        while profile.wake_at <= until:
            now = max(profile.wake_at, profile.now)
            profile.now = now
            outbox.begin("time")
            touched: Rules = ()
            for leaf, slot in self._timed_slots(profile):
                touched += leaf.woken(slot, now)
            self._settle(profile, touched, outbox, "time", now if simulated else until)

    def _settle(self, profile: Profile, touched: Rules, outbox: Outbox, cause: Cause, revealed: int) -> None:
        """Rules, then triggers, then when to wake next."""
        starts: Starts = []
        if touched:
            self._evaluate(profile, touched, outbox, starts)
        for trigger in starts:
            triggers.start(profile, trigger, None, (cause, ""), (profile.now, profile.now), outbox)
        if profile.waiting:
            triggers.decide(profile, self.compiled.by_key, revealed, outbox)
        profile.wake_at = self.next_wake(profile)

    def next_wake(self, profile: Profile) -> int:
        """When something may next change by time alone (ms), or NEVER."""
        now = profile.now
        wake = min([waiting[0] for waiting in profile.waiting.values()]) if profile.waiting else NEVER
        for leaf, slot in self._timed_slots(profile):
            due = leaf.next(slot, now)
            wake = min(due, wake)
        return wake

    def _timed_slots(self, profile: Profile) -> list[tuple[Leaf, Any]]:
        """What the profile holds that time alone can change; of the definitions and the slots the fewer are gone through."""
        slots, timed = profile.slots, self._timed
        if len(timed) < len(slots):
            return [(leaf, slots[key]) for key, leaf in timed.items() if key in slots]
        return [(timed[key], slot) for key, slot in slots.items() if key in timed]

    def migrate(self, profile: Profile, old: Compiled, outbox: Outbox, *, revealed: int) -> None:
        """Take a profile over from the definitions `old`; it has been advanced to the switch under them.

        Features of equal meaning keep their state, others start empty; what is no longer defined is dropped. Every
        rule is looked at, and only real differences are put out.
        """
        compiled = self.compiled
        outbox.begin("definitions")
        for key in [key for key in profile.slots if key in old.leaves]:
            leaf = compiled.leaves.get(key)
            if leaf is None:
                del profile.slots[key]
            else:
                profile.slots[key] = leaf.adapt(profile.slots[key])
        keys = {rule.key for rule in compiled.rules}
        for rule in old.rules:
            if rule.key in keys:
                continue
            if rule.is_segment and profile.segments.pop(rule.key, None) is not None:
                outbox.change(profile, "exited", rule.name, old=True, new=False)
            elif not rule.is_segment and rule.key in profile.tags:
                outbox.change(profile, "tag", rule.name, old=rule.shown(profile.tags.pop(rule.key)))
        for trigger in old.triggers:
            new = compiled.by_key.get(trigger.key)
            if new is not None:
                triggers.migrate(profile, trigger, new)
                continue
            profile.triggers.pop(trigger.key, None)
            if profile.waiting.pop(trigger.key, None) is not None:
                outbox.change(profile, "not_sent", trigger.name, reason="withdrawn")
        self._settle(profile, tuple(range(len(compiled.rules))), outbox, "definitions", revealed)


def _interpreted(plan: Plan) -> Fold:
    """Fold an event into features by the interpreter's closures."""

    def fold(profile: Profile, event: Any) -> Rules:
        touched: Rules = ()
        for update in plan.updates:
            touched += update(profile, event)
        for read, table in plan.tables:
            value = read(event)
            for update in table.get(value, ()) if type(value) is str else ():
                touched += update(profile, event)
        return touched

    return fold


def _move(profile: Profile, rule: Rule, outbox: Outbox, starts: Starts, *, holds: bool) -> None:
    """Enter or leave a segment."""
    if holds:
        profile.segments[rule.key] = profile.now
        outbox.change(profile, "entered", rule.name, old=False, new=True)
        starts += rule.entered
    else:
        del profile.segments[rule.key]
        outbox.change(profile, "exited", rule.name, old=True, new=False)
        starts += rule.exited


def _look_at_tag(profile: Profile, rule: Rule, outbox: Outbox) -> bool:
    value = None if rule.when is not None and not rule.when(profile, None) else rule.value(profile, None)
    old = profile.tags.get(rule.key)
    if same(value, old) or (value is None and old is None):
        return False
    if value is None:
        del profile.tags[rule.key]
    else:
        profile.tags[rule.key] = value
    outbox.change(profile, "tag", rule.name, old=rule.shown(old), new=rule.shown(value))
    return True
