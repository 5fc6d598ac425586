"""The fast path: one Python function per event name, and one per segment, written from the compiled rules.

The interpreter stays the meaning: whatever is not written out here calls its closures, and both are run against each
other in tests. Text of users goes into the source by `repr` only. The source of every function is in `linecache`, so
that a traceback shows it, and `Generator.source` gives it to people.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

from xxhash import xxh3_64_digest

from rtcdp.aggregates import LATEST, MAX_VALUES, ONE, SCALE, Count, ExtremeTime, MostFrequent, Sum, WindowAtLeast, scaled
from rtcdp.profile import SEEN_LOOK, Profile, slot_key
from rtcdp.rules.compiling.compiled import Compiled, Plan, Rule
from rtcdp.rules.compiling.compiled_triggers import CompiledTrigger
from rtcdp.rules.compiling.features import Leaf
from rtcdp.rules.compiling.gates import Gates, Rules
from rtcdp.rules.compiling.inlining import NUMBER, EventLeaves, ProfileLeaves, Writer, condition
from rtcdp.rules.compiling.purposes import SAYS

Starts = list[CompiledTrigger]
Apply = Callable[[Profile, Any, Any], None]  # profile, event, outbox
Look = Callable[[Profile, Any, Starts], Rules]  # profile, outbox, starts
_FEW_POINTS = 4  # so many constants are compared one by one; more are searched

# Time and message ids: what `Engine.make_apply` says, with the usual case of `Profile.note` written out.
_BEGIN = f"""\
def apply(profile, event, outbox):
    received = event.received; now = profile.now
    if received > now:
        if profile.wake_at <= received: advance(profile, received, outbox, simulated=event.simulated)
        profile.now = now = received
    digest = hashed(event.id.encode()); seen = profile.seen
    if digest in seen or (seen and not len(seen) % {SEEN_LOOK}):
        if not profile.note(digest): return
    else:
        profile.seen = seen + digest + now.to_bytes(6, 'big')
    slots = profile.slots; at = event.occurred; touched = ()"""


class Generator:
    """Functions for one version of the definitions, written on first use.

    source: title -> text of each function written so far.
    """

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._by_update = {id(leaf.update): leaf for leaf in compiled.leaves.values()}
        self._features = {slot_key(feature.normal): feature for feature in compiled.definitions.features.values()}
        self._of_event = EventLeaves(compiled.attribute, compiled.of_event)
        self._of_profile = ProfileLeaves(compiled.features, compiled.of_profile)
        self.source: dict[str, str] = {}

    def apply(
        self,
        event: str,
        plan: Plan,
        advance: Callable[..., None],
        react: Callable[..., None],
        agree: Callable[..., Rules],
        pass_over: Callable[..., None],
    ) -> Apply:
        """Make the function that folds events of this name: `(profile, event, outbox)`.

        advance, react, agree, pass_over: of the `Engine`.
        """
        writer = Writer()
        writer.objects |= {"hashed": xxh3_64_digest, "advance": advance, "react": react, "plan": plan}
        for line in _BEGIN.splitlines():
            writer.add(0, line)
        consent = self._compiled.consent
        if consent is not None:
            given = "" if event in SAYS else f"if {writer.object(consent.given, 'given')}(event) is not None: "
            writer.add(1, f"{given}touched += {writer.object(agree, 'agree')}(profile, event, outbox)")
        if plan.purpose is not None:
            writer.add(1, f"if not {writer.object(plan.purpose.covers, 'covers')}(profile, at):")
            writer.add(2, f"return {writer.object(pass_over, 'pass_over')}(profile, event, touched, outbox)")
        for update in plan.updates:
            self._leaf(writer, self._by_update[id(update)])
        _tables(writer, plan)
        if not plan.triggers:
            writer.add(1, "if touched or profile.fresh or profile.waiting or event.traits:")
        writer.add(1 if plan.triggers else 2, "react(profile, event, plan, touched, outbox)")
        made: Apply = self._finish(writer, "apply", f"event {event}")
        return made

    def look(self, rule: Rule) -> Look:
        """Make the function that looks at a segment: `(profile, outbox, starts)` -> rules that read it, where it changed."""
        writer = Writer()
        key, dependents = repr(rule.key), repr(rule.dependents)
        writer.add(0, "def look(profile, outbox, starts):")
        writer.add(1, "slots = profile.slots; segments = profile.segments; now = profile.now")
        text = condition(writer, self._compiled.definitions.segments[rule.name].condition, self._of_profile)
        writer.add(1, f"if {text}:")
        writer.add(2, f"if {key} in segments: return ()")
        writer.add(2, f"segments[{key}] = now; outbox.change(profile, 'entered', {rule.name!r}, False, True)")
        if rule.entered:
            writer.add(2, f"starts += {writer.object(rule.entered)}")
        writer.add(2, f"return {dependents}")
        writer.add(1, f"if {key} not in segments: return ()")
        writer.add(1, f"del segments[{key}]; outbox.change(profile, 'exited', {rule.name!r}, True, False)")
        if rule.exited:
            writer.add(1, f"starts += {writer.object(rule.exited)}")
        writer.add(1, f"return {dependents}")
        made: Look = self._finish(writer, "look", f"segment {rule.name}")
        return made

    def _finish(self, writer: Writer, name: str, title: str) -> Any:
        text = "\n".join(writer.lines) + "\n"
        file = f"<rtcdp {self._compiled.version} {title!r}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        self.source[title] = text
        exec(compile(text, file, "exec"), writer.objects)  # noqa: S102  written above, users' text by repr only
        return writer.objects[name]

    def _leaf(self, writer: Writer, leaf: Leaf) -> None:
        write = _WRITERS.get(type(leaf.aggregate))
        names = [name for name, other in self._compiled.features.items() if other is leaf]
        writer.add(1, f"# {', '.join(names)}".replace("\n", " "))
        if write is None:
            _call(writer, leaf)
            return
        depth, where = 1, self._features[leaf.key].where
        if leaf.purpose is not None:
            writer.add(depth, f"if {writer.object(leaf.purpose.covers, 'covers')}(profile, at):")
            depth += 1
        if where is not None:
            writer.add(depth, f"if {condition(writer, where, self._of_event)}:")
            depth += 1
        write(writer, depth, leaf)


def _value(writer: Writer, leaf: Leaf) -> str:
    """What the leaf aggregates: an attribute of the projected event, or what its closure says."""
    if leaf.attribute:
        return f"event.{leaf.attribute}"
    return f"{writer.object(leaf.value_of, 'value')}(None, event)"


def _call(writer: Writer, leaf: Leaf, depth: int = 1, before: str = "") -> None:
    writer.add(depth, f"{before}touched += {writer.object(leaf.update, 'update')}(profile, event)")


def _tables(writer: Writer, plan: Plan) -> None:
    for read, table in plan.tables:
        writer.add(1, f"v = {writer.object(read)}(event)")
        writer.add(1, f"for update in {writer.object(table)}.get(v, ()) if type(v) is str else ():")
        writer.add(2, "touched += update(profile, event)")


def _crossed(writer: Writer, depth: int, gates: Gates, before: str, after: str) -> None:
    """Rules that compare the value with a constant which lies between `before` and `after`."""
    if len(gates.points) > _FEW_POINTS:
        writer.add(depth, f"touched += {writer.object(gates.crossed, 'crossed')}({before}, {after})")
        return
    for point, rules in zip(gates.points, gates.rules, strict=True):
        writer.add(depth, f"if ({before} >= {point}) != ({after} >= {point}): touched += {rules!r}")


def _count(writer: Writer, depth: int, leaf: Leaf) -> None:
    key = repr(leaf.key)
    writer.add(depth, f"slots[{key}] = n = slots.get({key}, 0) + 1")
    if leaf.readers:
        writer.add(depth, f"touched += {leaf.readers!r}")
    if leaf.gates.points:
        flips = writer.object(leaf.gates.flips, "flips")
        writer.add(depth, f"if n in {flips}: touched += {flips}[n]")


def _time(writer: Writer, depth: int, leaf: Leaf) -> None:
    last = leaf.aggregate.update(1, 2, "", None, 0) == 2
    key, whole, since = repr(leaf.key), tuple(sorted({*leaf.readers, *leaf.gates.every()})), leaf.since
    writer.add(depth, f"t = slots.get({key})")
    writer.add(depth, f"if t is None or at {'>' if last else '<'} t:")
    writer.add(depth + 1, f"slots[{key}] = at")
    if whole:
        writer.add(depth + 1, f"touched += {whole!r}")
    if not since.points:
        return
    point, due = since.points[0], writer.object(leaf.next, "next")
    writer.add(depth + 1, f"g = now - at; w = at + {point} if g < {point} else {due}(at, now)")
    writer.add(depth + 1, "if w < profile.wake_at: profile.wake_at = w")
    writer.add(depth + 1, f"if t is None: touched += {since.every()!r}")
    writer.add(depth + 1, "else:")
    writer.add(depth + 2, "b = now - t")
    _crossed(writer, depth + 2, since, "b", "g")


def _sum(writer: Writer, depth: int, leaf: Leaf) -> None:
    key = repr(leaf.key)
    writer.add(depth, f"v = {_value(writer, leaf)}")
    writer.add(depth, f"if {NUMBER.format('v')}:")
    writer.add(depth + 1, f"v = v * {SCALE} if type(v) is int else {writer.object(scaled, 'scaled')}(v)")
    writer.add(depth + 1, "if v:")
    writer.add(depth + 2, f"b = slots.get({key}, 0); slots[{key}] = v = b + v")
    if leaf.readers:
        writer.add(depth + 2, f"touched += {leaf.readers!r}")
    _crossed(writer, depth + 2, leaf.gates, "b", "v")
    _call(writer, leaf, depth, "elif v is not None: ")


def _most_frequent(writer: Writer, depth: int, leaf: Leaf) -> None:
    """`MostFrequent.update` for a text, with what is usual written out: neither the first value nor one too many."""
    key, update = repr(leaf.key), writer.object(leaf.aggregate.update, "update")
    moved = f"touched += {writer.object(leaf.moved, 'moved')}" if leaf.readers or leaf.named else ""
    writer.add(depth, f"v = {_value(writer, leaf)}")
    writer.add(depth, "if type(v) is str:")
    writer.add(depth + 1, f"s = slots.get({key})")
    writer.add(depth + 1, f"if s is not None and at > 0 and ((b := (r := s[1]).get(v)) is not None or len(r) < {MAX_VALUES}):")
    writer.add(depth + 2, f"if b is None: r[v] = b = {ONE + LATEST} - at")
    writer.add(depth + 2, "else:")  # of two ranks of one count the smaller is of the later event
    writer.add(depth + 3, f"b += {ONE}; g = (b | {LATEST}) - at; r[v] = b = g if g < b else b")
    writer.add(depth + 2, "if v != (x := s[0]) and (b > (g := r[x]) or (b == g and v < x)):")
    writer.add(depth + 3, f"s[0] = v; {moved + '(x, v)' if moved else ''}")
    writer.add(depth + 1, "else:")
    writer.add(depth + 2, "b = s[0] if s is not None else None")
    writer.add(depth + 2, f"slots[{key}] = s = {update}(s, at, '', v, now)")
    if moved:
        writer.add(depth + 2, f"if s[0] != b: {moved}(b, s[0])")
    _call(writer, leaf, depth, "elif v is not None: ")


def _window(writer: Writer, depth: int, leaf: Leaf) -> None:
    """In order and nothing expired is the usual case: the newest time goes to the end."""
    aggregate = leaf.aggregate
    assert isinstance(aggregate, WindowAtLeast)  # noqa: S101  the caller chose by it
    key, flips = repr(leaf.key), writer.object(leaf.gates.flips, "flips")
    writer.add(depth, f"s = slots.get({key}); g = now - {aggregate.within}")
    newest, oldest = "s[-6:] <= (a := at.to_bytes(6, 'big'))", "s[:6] > g.to_bytes(6, 'big')"
    writer.add(depth, f"if s and at > g > 0 and {newest} and {oldest}:")
    writer.add(depth + 1, f"if len(s) >= {aggregate.keep * 6}: slots[{key}] = s[6:] + a")
    writer.add(depth + 1, "else:")
    writer.add(depth + 2, f"slots[{key}] = s = s + a; n = len(s) // 6")
    writer.add(depth + 2, f"if n in {flips}:")
    writer.add(depth + 3, f"touched += {flips}[n]; w = {writer.object(leaf.next, 'next')}(s, now)")
    writer.add(depth + 3, "if w < profile.wake_at: profile.wake_at = w")
    _call(writer, leaf, depth, "else: ")


_WRITERS: dict[type, Callable[[Writer, int, Leaf], None]] = {
    Count: _count,
    ExtremeTime: _time,
    MostFrequent: _most_frequent,
    Sum: _sum,
    WindowAtLeast: _window,
}
