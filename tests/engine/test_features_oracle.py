"""Every kind of feature on random streams: its value is that of the raw events, after every event and at every instant.

Through the engine as a whole, so that what an event is to a feature is tested too; segments look at each value, so that
the profile has to wake at the very instants at which the value changes.
"""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Partition, compiled
from engine.oracle import Happened, Oracle, Spec, StepSpec, Ticked, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtcdp import profile as profiles
from rtcdp.aggregates import NEVER
from rtcdp.simulate.bruteforce import FeatureSpec

BEGIN = 1_700_000_000_000
HIGH = ("compare", ">=", ("property", "n"), ("constant", 2))
VALUED = ("sum", "avg", "min", "max", "first", "last", "unique", "most_frequent")
EVENTS = ("A", "B", "C")
GAP = 6
W = 10


def plain(kind: str, **more: Any) -> FeatureSpec:
    value = {"first": "c", "last": "c", "unique": "c", "most_frequent": "c"}.get(kind, "n") if kind in VALUED else None
    return FeatureSpec(kind, ("A",), value, **more)


PLAIN = ("count", "first_time", "last_time", *VALUED)
STEPS = (StepSpec(("A",)), StepSpec(("B",)), StepSpec(("C",)))
GUARDED = (StepSpec(("A",)), StepSpec(("C",), excluded=True), StepSpec(("B",), where=HIGH), StepSpec(("A",)))
CASES: dict[str, FeatureSpec] = {
    **{f"{kind} reset": plain(kind, reset_on=("B",)) for kind in PLAIN},
    **{f"{kind} in the session": plain(kind, per_session=True, gap=GAP) for kind in PLAIN},
    **{f"{kind} before": plain(kind, within=W, offset=4) for kind in PLAIN},
    **{f"{kind} by key": plain(kind, by="c") for kind in PLAIN if kind not in ("unique", "most_frequent")},
    **{f"{kind} by key within": plain(kind, by="c", within=W) for kind in ("count", "sum", "last_time", "avg")},
    "count by several keys": plain("count", by="l[]"),
    "count by key since": plain("count", by="c", reset_on=("B",)),
    "sum by key in the session": plain("sum", by="c", per_session=True, gap=GAP),
    "count of high ones since": FeatureSpec("count", ("A", "C"), where=HIGH, reset_on=("C",)),
    "sequence": FeatureSpec("sequence", (), steps=STEPS),
    "sequence within": FeatureSpec("sequence", (), steps=STEPS, within=W),
    "sequence with a guard": FeatureSpec("sequence", (), steps=GUARDED),
    "sequence with a guard within": FeatureSpec("sequence", (), steps=GUARDED, within=W),
    "strict sequence": FeatureSpec("sequence", (), steps=STEPS, strict=True),
    "strict sequence within": FeatureSpec("sequence", (), steps=STEPS, strict=True, within=W),
    "sequence anew": FeatureSpec("sequence", (), steps=STEPS, restart=True),
    "sequence anew within": FeatureSpec("sequence", (), steps=GUARDED, restart=True, within=W),
    "strict sequence anew": FeatureSpec("sequence", (), steps=STEPS, strict=True, restart=True, within=W),
    "sequence of the same": FeatureSpec("sequence", (), steps=STEPS, same="c"),
    "sequence of the same within": FeatureSpec("sequence", (), steps=GUARDED, same="c", within=W),
    "sequence of the same anew": FeatureSpec("sequence", (), steps=STEPS, same="c", restart=True, within=W),
    "strict sequence of the same": FeatureSpec("sequence", (), steps=STEPS, same="l[]", strict=True),
    "sequence of high ones": FeatureSpec("sequence", (), steps=STEPS, where=HIGH),
    "sessions": FeatureSpec("sessions", ("*",), gap=GAP),
    "sessions within": FeatureSpec("sessions", ("A", "B"), gap=GAP, within=W),
    "sessions by channel": FeatureSpec("sessions", ("*",), gaps=(("app", 3), ("web", GAP))),
    "bounces": FeatureSpec("bounces", ("*",), gap=GAP),
    "bounces within": FeatureSpec("bounces", ("*",), gap=GAP, within=W + GAP),
    "time spent": FeatureSpec("time_spent", ("*",), gap=GAP),
    "time spent within": FeatureSpec("time_spent", ("*",), gap=GAP, within=W),
    "length of the session": FeatureSpec("time_spent", ("A", "B"), gap=GAP, per_session=True),
    "count in the session by channel": plain("count", per_session=True, gaps=(("app", 3), ("web", GAP))),
    "dwell": FeatureSpec("dwell", ("A",), gap=GAP),
    "dwell by page": FeatureSpec("dwell", ("A", "B"), by="c", gap=GAP),
    "balance": FeatureSpec("balance", ("A",), "n", spend=("B",)),
    "expiring balance": FeatureSpec("balance", ("A",), "n", spend=("B", "C"), expire=W),
    "expiring balance of high ones": FeatureSpec("balance", ("A",), "n", where=HIGH, spend=("A",), expire=W),
}
STARTS_AT_ZERO = {"count", "sum", "unique", "sequence", "balance", "sessions", "bounces", "time_spent", "dwell"}
TIMES = {"first_time", "last_time"}


@st.composite
def streams(draw: st.DrawFn) -> list[Happened | Ticked]:
    """Events that are late, out of order, at the same instant, repeated; ticks between them."""
    clock = ticked = BEGIN
    found: list[Happened | Ticked] = []
    for place in range(draw(st.integers(1, 14))):
        clock += draw(st.sampled_from([0, 0, 1, 2, 3, GAP - 1, GAP, W - 1, W, 3 * W]))
        if draw(st.integers(0, 7)) == 0:
            ticked = clock
            found.append(Ticked(clock))
            continue
        received = max(ticked, clock - draw(st.sampled_from([0, 0, 0, 2])))
        properties = {
            "n": draw(st.sampled_from([1, 2, 3, 2.5, -1, "2", None])),
            "c": draw(st.sampled_from(["x", "y", None, "x"])),
            "l": draw(st.sampled_from([["x"], ["y", "x"], ["x", None, "x"], None])),
        }
        found.append(
            Happened(
                "1",
                received,
                received - draw(st.sampled_from([0, 0, 0, 1, 2, 5, W - 1, W, W + 1])),
                f"m{draw(st.integers(0, 20)) if draw(st.booleans()) else 100 + place}",
                draw(st.sampled_from(EVENTS)),
                {name: value for name, value in properties.items() if value is not None},
                channel=draw(st.sampled_from(["web", "app", "server", ""])),
            )
        )
    return found


def conditions(spec: FeatureSpec) -> dict[str, Any]:
    """Segments that look at the value in every way a rule can."""
    value: Any = ("part", "f", "x") if spec.by else ("feature", "f")
    found: dict[str, Any] = {"there": ("not", ("missing", value))}
    if spec.kind in TIMES:
        if not spec.by:
            found["old"] = ("compare", ">", ("since", "f"), ("duration", 3))
        return found
    if spec.kind in ("first", "last", "most_frequent"):
        return found | {"x": ("compare", "==", value, ("constant", "x"))}
    limit = ("duration", 2) if spec.kind in ("time_spent", "dwell") else ("constant", 2)
    found |= {"some": ("compare", ">=", value, limit), "two": ("compare", "==", value, limit)}
    if spec.by:
        found["best"] = ("compare", "==", ("top", "f"), ("constant", "y"))
    return found


def equal(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def shown(spec: FeatureSpec, moves: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return sorted((item["name"], item["kind"], item["at"] - BEGIN) for item in moves)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=max(8, settings().max_examples // 12), suppress_health_check=list(HealthCheck))
@given(stream=streams())
def test_values_and_instants_are_those_of_the_raw_events(name: str, stream: list[Happened | Ticked]) -> None:
    spec = CASES[name]
    whole = Spec({"f": spec}, {}, conditions(spec))
    definitions = compiled(whole)
    leaf = definitions.features["f"]
    one, oracle = Partition(definitions), Oracle(whole, "1", dense=True)
    for item in stream:
        one.feed([item])
        assert not one.letters
        if isinstance(item, Ticked):
            oracle.pass_time(item.time, simulated=False)
        else:
            oracle.receive(item)
        found = profiles.decode("1", stored) if (stored := next(iter(one.runner.state.values()), None)) else None
        if found is None:
            continue
        slot = found.slots.get(leaf.key)
        oracle.now = max(oracle.now, found.now)
        for now in range(oracle.now, oracle.now + 3 * W):
            value = bruteforce_at(oracle, now)
            assert equal(leaf.aggregate.value(slot, now), value), (name, now - BEGIN, slot)
            if slot is not None and equal(bruteforce_at(oracle, now + 1), value) is False:
                assert leaf.aggregate.next_change(slot, now) == now + 1, (name, now - BEGIN, slot)
        assert leaf.aggregate.exact(slot)
        assert slot is None or leaf.aggregate.next_change(slot, oracle.now + 100 * W) == NEVER
    last = [*stream, Ticked(BEGIN + 10_000)]
    one.feed(last[-1:])
    assert shown(spec, one.outputs.get("1", [])) == shown(spec, run(whole, last, dense=False).get("1", []))


def bruteforce_at(oracle: Oracle, now: int) -> Any:
    before, oracle.now = oracle.now, now
    try:
        return oracle.feature("f")
    finally:
        oracle.now = before
