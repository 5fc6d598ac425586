"""`rtcdp why KEY NAME`: the explanation of a definition's value for a profile, as it stands in the changelog."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from rtcdp.errors import SettingError
from rtcdp.explanation.explained import Explanation, Need, Part
from rtcdp.explanation.explaining import explain
from rtcdp.folding.engine import Engine
from rtcdp.folding.warming import of_profile
from rtcdp.queries.inspection import Stored, definitions_of, stored_at
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

NEWEST = 5
"""Events shown of each feature; `--json` has all that are held."""


def explanation_of(settings: Settings, key: str, name: str, instant: int | None = None) -> Explanation | None:
    """Why a definition has its value for a profile; None where there is no such profile.

    key: as for `rtcdp profile`. name: a definition; `trigger:NAME` where a segment has the same name.
    instant: the time to answer for (ms); without it the latest that the profile's partition knows.

    Raises SettingError, ClusterError, UnknownName.
    """
    stored = stored_at(settings, key)
    if stored is None:
        return None
    compiled = definitions_of(settings, stored)
    if compiled is None:
        raise SettingError("definitions: those that the profile was folded under are not known; give a folder (--definitions)")
    return explanation_from(stored, compiled, name, instant)


def explanation_from(stored: Stored, compiled: Compiled, name: str, at: int | None) -> Explanation:
    """As `explanation_of`, of a profile that was read already. at: ms; None: the latest that its partition knows."""
    since = of_profile(stored.position.came, stored.profile)
    return explain(stored.profile, Engine(compiled), name, at=stored.position.tick if at is None else at, warming=since)


def instant_of(at: str | None) -> int | None:
    """A time given by hand (RFC 3339 or `now`), in ms. Raises SettingError."""
    if at is None:
        return None
    instant = time.time_ns() // 1_000_000 if at == "now" else timestamps.parse(at)
    if instant is None:
        raise SettingError(f"at: {at!r} is no time (RFC 3339, for example 2025-03-01T00:00:00Z, or now)")
    return instant


def show(explanation: Explanation, console: Console | None = None) -> None:
    """Print for people."""
    out = console or Console(highlight=False)
    one = explanation
    out.print(f"[bold]{escape(one.profile)}[/]   as of {one.at}   (definitions {one.version})")
    if one.description:
        out.print(f"[dim]{escape(one.description)}[/]")
    out.print(_headline(one))
    if one.precision != "exact":
        out.print(f"[yellow]{escape(one.precision)}[/]")
    if one.consent:
        out.print(f"[cyan]{escape(one.consent)}[/]")
    if one.gates:
        gates = Tree("[bold]gates[/]")
        for gate in one.gates:
            tail = f"   [cyan]{escape(gate.state)}[/]" if gate.state else ""
            gates.add(f"{gate.gate} {escape(gate.text)}{tail}{_until(gate.until)}")
        out.print(gates)
    if one.tree is not None:
        out.print(_tree(one.tree))
    if one.change is not None:
        needed = Tree("[bold]to change it[/]")
        _add_need(one.change, needed)
        out.print(needed)
    if one.decisions:
        decided = Tree("[bold]decided[/]")
        for decision in one.decisions:
            times = f", {decision.times} times" if decision.times > 1 else ""
            what = "[green]sent[/]" if decision.gate == "sent" else f"[red]{escape(decision.gate)}[/]"
            decided.add(f"{what}   {decision.at}{times}")
        out.print(decided)


def _headline(one: Explanation) -> str:
    if one.kind == "segment":
        state = f"[bold green]in[/] since {one.since}" if one.value else "[bold red]not in[/]"
    elif one.kind == "trigger":
        state = "[bold green]waits[/]" if one.value else "[bold]nothing waits[/]"
    else:
        state = f"= [bold]{_shown(one.value)}[/]" + (f" since {one.since}" if one.since else "")
    tail = ""
    if one.until:
        becomes = "" if one.kind in ("segment", "trigger") else f", then {_shown(one.becomes)}"
        tail = f"   until {one.until}{becomes}, if nothing arrives"
    return f"{one.kind} [bold]{one.name}[/]: {state}{tail}"


def _tree(part: Part) -> Tree:
    """A part and what it is made of."""
    mark = "" if part.holds is None else "[green]✔[/] " if part.holds else "[red]✘[/] "
    value = "" if part.holds is not None else f" = [bold]{_shown(part.value)}[/]"
    notes = [part.definition] if part.definition and part.kind != "tag" else []
    notes += [part.precision] if part.precision not in ("", "exact") else []
    tail = f"   [dim]{escape('; '.join(notes))}[/]" if notes else ""
    tree = Tree(f"{mark}{escape(part.text)}{value}{tail}{_until(part.until)}")
    for inner in part.parts:
        tree.add(_tree(inner))
    for text, count in part.counts[:NEWEST]:
        tree.add(f"[dim]{count} x {_shown(text)}[/]")
    if not part.counts:
        for event in part.events[-NEWEST:]:
            told = [event.at, f"message {event.message_id}" if event.message_id else ""]
            told += [_shown(event.value)] if event.value is not None else []
            tree.add(f"[dim]{'  '.join(escape(text) for text in told if text)}[/]")
        hidden = len(part.events[:-NEWEST]) + (part.more or 0) * bool(part.events)
        if hidden:
            tree.add(f"[dim]and {hidden} before[/]")
    return tree


def _add_need(need: Need, tree: Tree) -> None:
    """What would have to change; alternatives under `any of`."""
    if need.text:
        alone = f"   [magenta]by itself at {need.at}[/]" if need.at else ""
        tree = tree.add(f"{escape(need.text)}{alone}")
    for inner in need.all:
        _add_need(inner, tree)
    if need.any:
        below = tree.add("any of") if len(need.any) > 1 else tree
        for inner in need.any:
            _add_need(inner, below)


def _until(at: str) -> str:
    return f"   [magenta]until {at}[/]" if at else ""


def _shown(value: object) -> str:
    return "missing" if value is None else escape(str(value))
