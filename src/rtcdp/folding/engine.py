"""The engine: folds one record into one profile. No I/O, no clock: time is what the records say.

Before a record is folded, the profile is advanced through every instant up to that record's time at which something
changes, in order, and each output carries its instant. So outputs depend on the log alone.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rtcdp.aggregates import NEVER, hashable
from rtcdp.folding import consents, deciding, expiry, overdue, schedules, stages, triggers
from rtcdp.folding.merging import unite
from rtcdp.rules.compiling.functions import same
from rtcdp.rules.compiling.generator import Apply, Generator, Look, Starts

if TYPE_CHECKING:
    from rtcdp.folding.outbox import Cause, Outbox
    from rtcdp.profile import Profile
    from rtcdp.rules.compiling.compiled import Compiled, Plan, Rule
    from rtcdp.rules.compiling.features import Leaf
    from rtcdp.rules.compiling.gates import Rules
MAX_TRAITS = 512
# How what is neither a tag nor a segment is looked at: returns the rules that read what changed.
_LOOKS: dict[str, Callable[[Rule, Profile, Outbox, Starts], Rules]] = {
    "stage": stages.look,
    "schedule": schedules.look,
    "guard": triggers.guard,
    "ending": expiry.look,
}
_MOST_NAMES = 10_000


class _Applies(dict[str, Apply]):
    """Event name -> what folds such an event; made when first asked for. Names that no definition knows share one.

    They are kept too, since the commonest event of all may be one of them, but no more than `_MOST_NAMES`.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def __missing__(self, event: str) -> Apply:
        plan = self._engine.compiled.plans.get(event)
        if plan is None and event:
            made = self[""]
            if len(self) < _MOST_NAMES:
                self[event] = made
            return made
        made = self[event] = self._engine.make_apply(event, plan or self._engine.compiled.plan)
        return made


class Engine:
    """One version of the definitions, applied to profiles.

    applies: event name -> `(profile, event, outbox)`: folds an event (decoded by `compiled.decode`) into the profile;
             outputs go to the outbox. When something may change by time alone is then `profile.wake_at`.
    """

    def __init__(self, compiled: Compiled, *, generated: bool = True) -> None:
        """Generated: run generated functions; otherwise the interpreter's closures, which mean the same."""
        self.compiled = compiled
        self.generator = Generator(compiled) if generated else None
        self.applies = _Applies(self)
        self._looks: list[Look | None] = [None] * len(compiled.rules)
        self._timed = compiled.timed
        self._lifecycle: Rules = (compiled.lifecycle.index,) if compiled.lifecycle is not None else ()
        self._ending = compiled.ending
        self._rules = compiled.rules
        self.every: Rules = tuple(range(len(compiled.rules)))

    def make_apply(self, event: str, plan: Plan) -> Apply:
        """Make what folds events of this name."""
        if self.generator is not None:
            return self.generator.apply(event, plan, self.advance, self.react, self.agree, self.pass_over)
        updates, tables, consent = plan.updates, plan.tables, self.compiled.consent

        def apply(profile: Profile, event: Any, outbox: Outbox) -> None:
            received = event.received
            if received > profile.now:
                if profile.wake_at <= received:
                    self.advance(profile, received, outbox, simulated=event.simulated)
                profile.now = received
            if not profile.see(event.id):
                return
            touched: Rules = () if consent is None else self.agree(profile, event, outbox)
            if plan.purpose is not None and not plan.purpose.covers(profile, event.occurred):
                self.pass_over(profile, event, touched, outbox)
                return
            for update in updates:
                touched += update(profile, event)
            for read, table in tables:
                value = read(event)
                for update in table.get(value, ()) if type(value) is str else ():
                    touched += update(profile, event)
            if touched or profile.fresh or profile.waiting or event.traits or plan.triggers:
                self.react(profile, event, plan, touched, outbox)

        return apply

    def agree(self, profile: Profile, event: Any, outbox: Outbox) -> Rules:
        """Take what an event says about consent; the rules to be looked at: all of them where a purpose is affected."""
        consent = self.compiled.consent
        answers = consent.said(event) if consent is not None else {}
        if not answers:
            return ()
        outbox.begin("event", event.id, "consent", historical=event.historical)
        said = consents.Said(answers, event.occurred, event.id)
        return self.every if consents.take(profile, said, self.compiled, outbox) else ()

    def pass_over(self, profile: Profile, event: Any, touched: Rules, outbox: Outbox) -> None:
        """An event that consent does not cover: but what it said about consent may have touched rules."""
        if touched and not profile.fresh:
            outbox.begin("event", event.id, historical=event.historical)
            self._settle(profile, touched, outbox, "event", event.received)

    def consent(self, profile: Profile, said: consents.Said, outbox: Outbox, *, revealed: int) -> None:
        """Take answers set by hand, and do what follows of them. revealed: as for `advance` (ms)."""
        if consents.take(profile, said, self.compiled, outbox) and not profile.fresh:
            self._settle(profile, self.every, outbox, "command", revealed)

    def _look_at_region(self, profile: Profile, outbox: Outbox, starts: Starts) -> Rules:
        """The region has changed, and with it perhaps what holds of somebody who was never asked."""
        consents.enforce(profile, self.compiled, outbox)
        return tuple(index for index in self.every if self._rules[index].kind != "consent")

    def react(self, profile: Profile, event: Any, plan: Plan, touched: Rules, outbox: Outbox) -> None:
        """Traits, then rules, then triggers, after an event has been folded into the features."""
        if event.traits:
            touched += self._set_traits(profile, event)
        if profile.fresh:
            profile.fresh = False
            touched += self.compiled.initial
        outbox.begin("event", event.id, historical=event.historical)
        starts: Starts = []
        if touched:
            self._evaluate(profile, touched, outbox, starts)
        if starts or plan.triggers or profile.waiting:
            self._trigger(profile, event, plan, starts, outbox)

    def _set_traits(self, profile: Profile, event: Any) -> Rules:
        """Traits by time of occurrence; of two of one instant the larger text wins, in any order of arrival."""
        touched: Rules = ()
        at = event.occurred
        for name, value in event.traits.items():
            entry = profile.traits.get(name)
            if entry is not None:
                if at < entry[0] or (at == entry[0] and hashable(value) <= hashable(entry[1])):
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
        looks = self._looks
        if len(touched) == 1:
            index = touched[0]
            dependents = (looks[index] or self._make_look(index))(profile, outbox, starts)
            if not dependents:
                return
            queue = list(dependents)
        else:
            queue = sorted(set(touched))
        place = 0
        while place < len(queue):
            index = queue[place]
            place += 1
            for dependent in (looks[index] or self._make_look(index))(profile, outbox, starts):
                if dependent not in queue[place:]:
                    insort(queue, dependent, lo=place)

    def _make_look(self, index: int) -> Look:
        """Make what looks at one rule: `(profile, outbox, starts)` -> the rules that read it, where it changed."""
        rule = self._rules[index]
        if rule.kind == "consent":
            look: Look = self._look_at_region
        elif rule.kind in _LOOKS:
            look = partial(_LOOKS[rule.kind], rule)
        elif not rule.is_segment:
            look = _look_at_tag(rule)
        elif self.generator is not None and rule.purpose is None:
            look = self.generator.look(rule)
        else:
            look = _look_at_segment(rule)
        self._looks[index] = look
        return look

    def code(self, name: str) -> str:
        """Text of the function that looks at the segment of this name, else of the one that folds events of this name.

        A segment with a purpose, and what no function is written for, has none: the interpreter's closures do it.
        """
        if self.generator is None:
            return ""
        for rule in self._rules:
            if rule.is_segment and rule.name == name:
                self._make_look(rule.index)
                return self.generator.source.get(f"segment {name}", "")
        self.applies[name]
        return self.generator.source[f"event {name if name in self.compiled.plans else ''}"]

    def _trigger(self, profile: Profile, event: Any, plan: Plan, starts: Starts, outbox: Outbox) -> None:
        """Cancel, start and decide triggers after an event."""
        for trigger in plan.cancels:
            triggers.cancel(profile, trigger, event, outbox)
        for trigger in plan.awaits:
            triggers.arrive(profile, trigger, event)
        if not event.historical:  # such a one may call off and move on, but never starts
            entry = (profile.now, event.received)  # a membership changes when the event is folded, however late it is
            for trigger in starts:
                triggers.start(profile, trigger, event, ("event", event.id), entry, outbox)
            times = (event.occurred, event.received)
            for trigger in plan.starts:
                if trigger.where is None or trigger.where(None, event):
                    triggers.start(profile, trigger, event, ("event", event.id), times, outbox)
        if profile.waiting:
            deciding.decide(profile, self.compiled.by_key, event.received, outbox)

    def advance(self, profile: Profile, until: int, outbox: Outbox, *, simulated: bool) -> None:
        """Pass every instant up to and including `until` (ms) at which something changes by time alone.

        simulated: what falls due is revealed at its due instant, not at `until`: nothing is too old.
        """
        if profile.failures and profile.wake_at <= until:  # it was put off: first what it may have missed meanwhile
            profile.failures = 0
            outbox.begin("time")
            rules = tuple(range(len(self._rules)))
            self._settle(profile, rules, outbox, "time", profile.now if simulated else until)
        timed: list[tuple[Leaf, Any]] | None = None
        dues: list[int] = []  # when time may next change each of them: the others need not be looked at
        while profile.wake_at <= until:
            now = max(profile.wake_at, profile.now)
            if timed is None:
                timed = self._timed_slots(profile)
                dues = [leaf.next(slot, profile.now) for leaf, slot in timed]
            profile.now = now
            outbox.begin("time")
            touched: Rules = ()
            for place, due in enumerate(dues):
                if due <= now:
                    leaf, slot = timed[place]
                    touched += leaf.woken(slot, now)
                    dues[place] = leaf.next(slot, now)
            if self._lifecycle and stages.due(profile) <= now:
                touched += self._lifecycle
            self._settle(profile, touched, outbox, "time", now if simulated else until, min(dues, default=NEVER))
            if self._ending is not None and expiry.due(profile, self._ending) <= now:
                expiry.end(profile, self.compiled, outbox)
                timed = None
            elif self.compiled.consent is not None:  # it may have been taken back by what changed
                timed = None

    def _settle(
        self, profile: Profile, touched: Rules, outbox: Outbox, cause: Cause, revealed: int, timed: int | None = None
    ) -> None:
        """Rules, then triggers, then when to wake next. timed: as for `next_wake`."""
        starts: Starts = []
        if touched:
            self._evaluate(profile, touched, outbox, starts)
        for trigger in starts:
            triggers.start(profile, trigger, None, (cause, ""), (profile.now, profile.now), outbox)
        if profile.schedules:
            for trigger, at in schedules.due(profile, self.compiled.by_key):
                triggers.start(profile, trigger, None, ("time", ""), (at, at), outbox)
        if profile.waiting:
            deciding.decide(profile, self.compiled.by_key, revealed, outbox)
        if timed is not None and self.compiled.consent is not None:
            timed = None
        profile.wake_at = self.next_wake(profile, timed)

    def next_wake(self, profile: Profile, timed: int | None = None) -> int:
        """When something may next change by time alone (ms), or NEVER. timed: of the features, where that is known."""
        now = profile.now
        wake = min([start.due for start in profile.waiting.values()]) if profile.waiting else NEVER
        if profile.schedules:
            wake = min(wake, *profile.schedules.values())
        if profile.stage:
            wake = min(wake, stages.due(profile))
        if self._ending is not None:
            wake = min(wake, max(expiry.due(profile, self._ending), now + 1))
        if timed is not None:
            return min(timed, wake)
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
        if compiled.lifecycle is None:
            stages.leave(profile, outbox)
        consents.enforce(profile, compiled, outbox)
        for trigger in old.triggers:
            new = compiled.by_key.get(trigger.key)
            if new is None:
                triggers.withdraw(profile, trigger, outbox)
            else:
                triggers.migrate(profile, trigger, new, outbox)
        self._settle(profile, tuple(range(len(compiled.rules))), outbox, "definitions", revealed)

    def merge(
        self, profile: Profile, other: Profile, message_id: str, outbox: Outbox, *, revealed: int, simulated: bool
    ) -> None:
        """Make everything of `other` part of the profile; both have been advanced to the merge.

        Waiting triggers are looked at again over the union, then every rule, and only real differences are put out. A
        segment that `other` was in already starts no trigger: what was decided there is decided. What one side has still
        to decide by the time of the other is decided at its own instant (see `rtcdp.folding.overdue`).

        revealed, simulated: time (ms) of the merge record, and whether time is simulated, as for `advance`.
        """
        outbox.begin("merge", message_id, other.key)
        passed = {trigger.key for rule in self._rules if rule.key in other.segments for trigger in rule.entered}
        since, due = overdue.owed(profile, other)
        arms = deciding.changed_arms(profile, other, self.compiled.triggers)
        unite(profile, other, self.compiled)
        if profile.fresh:  # neither has seen an event: what has come together is answers
            return
        for limit, name, arm, before in arms:
            triggers.memory_of(profile, limit.key).mixed = True
            outbox.arm(profile, other.key, limit.owner or name, arm, before)
        consents.enforce(profile, self.compiled, outbox)
        for trigger in self.compiled.triggers:
            triggers.recheck(profile, trigger, outbox)
        starts: Starts = []
        self._evaluate(profile, tuple(range(len(self._rules))), outbox, starts)
        overdue.decide(profile, since, due, self.compiled.by_key, outbox, None if simulated else revealed)
        for trigger in starts:
            if trigger.key not in passed:
                triggers.start(profile, trigger, None, ("merge", message_id), (profile.now, profile.now), outbox)
        self._settle(profile, (), outbox, "merge", profile.now if simulated else revealed)

    def look_again(self, profile: Profile, outbox: Outbox, *, revealed: int) -> None:
        """Look at every rule after what the profile holds was corrected; nothing starts by that.

        revealed: time (ms) of what corrected it, as for `advance`.
        """
        consents.enforce(profile, self.compiled, outbox)
        self._evaluate(profile, self.every, outbox, [])
        self._settle(profile, (), outbox, "command", revealed)


def _look_at_segment(rule: Rule) -> Look:
    """Enter or leave a segment."""
    key, name, condition = rule.key, rule.name, rule.value

    def look(profile: Profile, outbox: Outbox, starts: Starts) -> Rules:
        segments = profile.segments
        holds = condition(profile, None) is True
        if holds == (key in segments):
            return ()
        if holds:
            segments[key] = profile.now
            outbox.change(profile, "entered", name, old=False, new=True)
            starts += rule.entered
        else:
            del segments[key]
            outbox.change(profile, "exited", name, old=True, new=False)
            starts += rule.exited
        return rule.dependents

    return look


def _look_at_tag(rule: Rule) -> Look:
    """Set, change or remove a tag."""
    key = rule.key

    def look(profile: Profile, outbox: Outbox, starts: Starts) -> Rules:
        value = None if rule.when is not None and not rule.when(profile, None) else rule.value(profile, None)
        old = profile.tags.get(key)
        if same(value, old) or (value is None and old is None):
            return ()
        if value is None:
            del profile.tags[key]
        else:
            profile.tags[key] = value
        outbox.change(profile, "tag", rule.name, old=rule.shown(old), new=rule.shown(value))
        starts += rule.changed
        return rule.dependents

    return look
