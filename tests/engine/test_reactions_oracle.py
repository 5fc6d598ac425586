"""Random triggers, journeys, groups, lifecycles and ends on random streams: what comes out is what the oracle says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from engine.harness import Partition, settled
from engine.oracle import DAY, Happened, Spec, Ticked, run
from engine.reaction_specs import GroupSpec, LimitSpec, TriggerSpec
from engine.test_engine_oracle import EVENTS, LENGTHS, conditions, features, made, report, wheres
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtcdp.rules.loading.folder import definitions_from_normal

HOUR = 3_600_000
ZONES = ["UTC", "Asia/Shanghai", "America/New_York"]
# An everyday run is brief; `--hypothesis-profile=thorough` looks further.
few = settings(max_examples=settings.default.max_examples // 3, suppress_health_check=list(HealthCheck))
names = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=2, unique=True).map(tuple)


def seldom(strategy: Any, otherwise: Any = None) -> Any:
    """One time in four, so that most triggers are sent."""
    return st.integers(0, 3).flatmap(lambda number: st.just(otherwise) if number else strategy)


def lengths(unit: int) -> Any:
    return st.sampled_from(LENGTHS).map(lambda length: length * unit)


@st.composite
def limits(draw: st.DrawFn, unit: int) -> LimitSpec:
    caps = draw(st.lists(st.tuples(st.integers(1, 2), lengths(unit)), max_size=1)) if draw(st.booleans()) else []
    quiet = None
    if draw(st.integers(0, 2)) == 0:
        begin, end = draw(st.lists(st.integers(0, 23), min_size=2, max_size=2, unique=True))
        quiet = (begin, end, draw(st.sampled_from(ZONES)), draw(st.integers(0, 3)) > 0)
    return LimitSpec(tuple(caps), draw(st.sampled_from([0, 0, unit, 5 * unit])), quiet)


@st.composite
def steps(draw: st.DrawFn, about: Any, unit: int, taken: list[int], depth: int = 0) -> Any:
    """A few steps, each send with a name of its own."""
    found: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["send", "send", "wait", "for", "if", "exit"] if depth < 2 else ["send", "wait"]))
        if kind == "send":
            taken.append(1)
            found.append(("send", f"m{len(taken)}", draw(seldom(conditions(*about, depth=0)))))
        elif kind == "wait":
            found.append(("wait", draw(lengths(unit))))
        elif kind == "exit":
            if depth:
                found.append(("exit",))
        else:
            ways = [draw(st.just(()) | steps(about, unit, taken, depth + 1)) for _ in range(2)]
            if kind == "if":
                found.append(("if", draw(conditions(*about, depth=0)), *ways))
            else:
                found.append(("for", draw(names), draw(lengths(unit)), *ways))
    return tuple(found)


@st.composite
def starts(draw: st.DrawFn, tags: list[str], segments: list[str], stages: list[str]) -> tuple[Any, ...]:
    kinds = (
        ["event"] * 4 + ["entered", "exited", "every"] * bool(segments) + ["changed"] * bool(tags) + ["stage"] * bool(stages)
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "event":
        return (kind, draw(st.sampled_from(EVENTS)))
    if kind == "every":
        return (kind, draw(st.sampled_from(segments)), draw(st.integers(0, 23)))
    return (kind, draw(st.sampled_from({"changed": tags, "stage": stages}.get(kind, segments))))


@st.composite
def triggers(draw: st.DrawFn, about: Any, stages: list[str], unit: int) -> TriggerSpec:
    found, tags, segments, _ = about
    on = draw(starts(tags, segments, stages))
    event = on[0] == "event"
    unless = draw(seldom(names, ()))
    again = draw(
        st.sampled_from([("always",)] * 3 + [("once",), ("after", 5 * unit)] + [("exited", name) for name in segments])
    )
    journey: list[int] = []
    way = draw(steps(about, unit, journey)) if draw(st.integers(0, 2)) == 0 else ()
    payload = {"value": ("feature", draw(st.sampled_from(sorted(found))))} if not journey else {}
    return TriggerSpec(
        on,
        where=draw(seldom(wheres)) if event else None,
        after=draw(st.just(0) | lengths(unit)),
        debounce=draw(st.none() | st.none() | st.sampled_from([(2 * unit, 0), (5 * unit, 10 * unit)])),
        unless=unless,
        unless_where=draw(wheres) if unless else None,
        same="cart" if unless and event and draw(st.booleans()) else None,
        per=draw(st.none() | st.sampled_from(["cart", "cat"])) if event else None,
        guard=draw(seldom(conditions(*about, depth=1))),
        condition=draw(seldom(conditions(*about, depth=1))),
        again=again,
        limits=draw(limits(unit)),
        priority=draw(st.integers(0, 3)),
        channel=draw(st.sampled_from(["", "push", "mail"])),
        max_age=draw(seldom(lengths(unit), DAY * 1000)),
        payload=payload,
        steps=way if journey else (),
    )


@st.composite
def specs(draw: st.DrawFn, unit: int) -> Spec:
    found = {f"f{place}": draw(features(unit, wheres)) for place in range(draw(st.integers(2, 4)))}
    segments: dict[str, Any] = {}
    for place in range(draw(st.integers(0, 2))):
        segments[f"s{place}"] = draw(conditions(found, [], sorted(segments), unit))
    tags = {"t0": (("feature", draw(st.sampled_from(sorted(found)))), None)} if draw(st.booleans()) else {}
    about = (found, sorted(tags), sorted(segments), unit)
    stages: list[Any] = []
    if draw(st.booleans()):
        stays = st.sampled_from([0, 0, 5 * unit, 10 * unit])
        stages = [(f"l{place}", draw(conditions(*about, depth=1)), draw(stays)) for place in range(draw(st.integers(1, 3)))]
        stages.append(("rest", ("constant", True), draw(st.sampled_from([0, 2 * unit]))))
    reactions = {
        f"go{place}": draw(triggers(about, [name for name, _, _ in stages], unit)) for place in range(draw(st.integers(1, 3)))
    }
    groups: dict[str, GroupSpec] = {}
    if draw(st.booleans()):
        picks = draw(st.booleans())
        pause = draw(st.sampled_from([0, unit, 5 * unit])) if picks else 0
        groups["g"] = GroupSpec(tuple(sorted(reactions)[: draw(st.integers(1, 4))]), draw(limits(unit)), picks, pause)
    channels = {"push": draw(limits(unit))} if draw(st.booleans()) else {}
    expire = max(DAY, draw(st.sampled_from([30 * unit, 100 * unit]))) if draw(st.integers(0, 3)) == 0 else None
    return Spec(found, tags, segments, reactions, tuple(stages), groups, channels, expire)


@st.composite
def streams(draw: st.DrawFn, unit: int) -> list[Happened | Ticked]:
    """Many events of one profile, most in order, with ticks between them."""
    simulated = draw(st.booleans())
    clock = draw(st.sampled_from([100 * unit, 1_700_000_000_000]))
    gap = st.sampled_from([0, 1, unit, 2 * unit, 5 * unit, 5 * unit + 1, 10 * unit])
    late = seldom(st.sampled_from([1, unit, 5 * unit, 10 * unit, 31 * unit]), 0)
    found: list[Happened | Ticked] = []
    for place in range(draw(st.integers(5, 25))):
        clock += draw(gap)
        if draw(st.integers(0, 7)) == 7:
            found.append(Ticked(clock, simulated))
            continue
        properties = {"price": draw(st.sampled_from([1, 2, 10])), "cart": draw(st.sampled_from(["x", "y", 1, 1.0]))}
        properties["cat"] = draw(st.sampled_from(["a", "b"]))
        name, historical = draw(st.sampled_from(EVENTS)), draw(st.integers(0, 15)) == 15
        found.append(Happened("1", clock, clock - draw(late), f"m{place}", name, properties, {}, simulated, historical))
    return [*found, Ticked(clock + 100 * unit, simulated)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, Spec, list[Happened | Ticked]]:
    unit = draw(st.sampled_from([1, HOUR, HOUR]))
    return unit, draw(specs(unit)), draw(streams(unit))


@few
@given(case=cases(), generated=st.booleans())
def test_outputs_are_those_of_the_oracle(case: tuple[int, Spec, list[Happened | Ticked]], generated: bool) -> None:
    unit, spec, stream = case
    partition = Partition(made(spec), generated=generated)
    for item in stream:
        partition.feed([item])
        assert not partition.letters, partition.letters
    expected = run(spec, stream, dense=unit == 1 and spec.expire is None)
    found = partition.outputs
    for key, items in expected.items():
        assert settled(found.get(key, [])) == settled(items), report(spec, stream)


@few
@given(case=cases(), cuts=st.lists(st.integers(0, 12), max_size=4), again=st.booleans())
def test_outputs_and_state_do_not_depend_on_the_borders_of_batches(
    case: tuple[int, Spec, list[Happened | Ticked]],
    cuts: list[int],
    again: bool,
) -> None:
    _, spec, stream = case
    definitions = made(spec)
    one_by_one, batches = Partition(definitions), Partition(definitions)
    for item in stream:
        one_by_one.feed([item])
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(borders):
        (batches.feed_twice if again else batches.feed)(stream[start:end])
    assert batches.outputs == one_by_one.outputs  # ids and seq too
    assert dict(batches.runner.state) == dict(one_by_one.runner.state)


@few
@given(case=cases())
def test_outputs_do_not_depend_on_how_often_time_is_told(case: tuple[int, Spec, list[Happened | Ticked]]) -> None:
    """A profile is woken at the instants at which something happens, and at no other needlessly often."""
    unit, spec, stream = case
    definitions = made(spec)
    plain, ticked = Partition(definitions), Partition(definitions)
    events = sorted((item for item in stream if isinstance(item, Happened)), key=lambda item: item.received)
    events = [replace(event, simulated=True) for event in events]
    for event in [*events, Ticked((events[-1].received if events else 0) + 100 * unit, simulated=True)]:
        plain.feed([event])
        until = event.received if isinstance(event, Happened) else event.time
        while (due := ticked.runner.timers.next()) <= until:
            before = len(ticked.changes) + len(ticked.triggers)
            ticked.feed([Ticked(due, simulated=True)])
            assert ticked.runner.timers.next() > due
            fresh = [item for items in ticked.outputs.values() for item in items if item["at"] == due]
            assert len(ticked.changes) + len(ticked.triggers) - before <= len(fresh)
        ticked.feed([event])
    assert ticked.outputs == plain.outputs


@few
@given(case=cases())
def test_the_normal_form_means_the_same(case: tuple[int, Spec, list[Happened | Ticked]]) -> None:
    definitions = made(case[1]).definitions
    assert definitions_from_normal(definitions.normal) == definitions
