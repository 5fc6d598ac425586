"""A back-test on the terminal: who enters and leaves, what fires on which day, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtcdp.simulate.comparing import Backtest, Cost, Fires

MOST_BARS = 60
_BLOCKS = " ▁▂▃▄▅▆▇█"


def show(found: Backtest, console: Console | None = None) -> None:
    """Print for people."""
    out = console or Console(highlight=False)
    out.print(f"{found.events:,} events, {found.new.profiles:,} profiles, up to {found.until}")
    out.print(_segments(found))
    if found.stages:
        out.print(_counts(found, "stages at the end", found.stages, "in it"))
    if found.tags:
        out.print(_counts(found, "tags at the end", found.tags, "have it"))
    if found.triggers:
        _show_triggers(found, out)
    out.print(_costs(found))
    if found.unfit:
        told = (f"{name} ({count})" for name, count in found.unfit.items())
        out.print(f"\n[yellow]values passed over, since they are no numbers:[/] {', '.join(told)}")
    for what, features in (("the past is shorter than the window of", found.short), ("after a switch warming", found.warming)):
        if features:
            told = (f"{name} ({length or 'for whoever was there before'})" for name, length in features.items())
            out.print(f"\n[yellow]{what}[/] {', '.join(told)}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if not place else "right")
    return table


def _count(value: int | None) -> str:
    return "[dim]-[/]" if value is None else f"{value:,}"


def _segments(found: Backtest) -> Table:
    if found.old is None:
        table = _table("\n[bold magenta]segments at the end[/]", "", "members", "ever", "moves")
        for name, segment in found.segments.items():
            table.add_row(name, _count(segment.new), _count(segment.ever_new), _count(segment.moves))
        return table
    columns = ("", "old", "new", "enter", "leave", "overlap", "ever, old", "ever, new", "moves")
    table = _table("\n[bold magenta]segments at the end[/]", *columns)
    for name, segment in found.segments.items():
        enter = f"[green]+{segment.enter:,}[/]" if segment.enter else _count(segment.enter)
        leave = f"[red]-{segment.leave:,}[/]" if segment.leave else _count(segment.leave)
        overlap = "[dim]-[/]" if segment.overlap is None else f"{segment.overlap:.1%}"
        ever = _count(segment.ever_old), _count(segment.ever_new)
        table.add_row(name, _count(segment.old), _count(segment.new), enter, leave, overlap, *ever, _count(segment.moves))
    return table


def _counts(found: Backtest, title: str, counts: Mapping[str, Mapping[str, int]], what: str) -> Table:
    columns = ("", what) if found.old is None else ("", "old", "new")
    table = _table(f"\n[bold magenta]{title}[/]", *columns)
    for name, sides in counts.items():
        table.add_row(name, *([] if found.old is None else [_count(sides.get("old"))]), _count(sides.get("new")))
    return table


def _show_triggers(found: Backtest, out: Console) -> None:
    """A line of bars for each trigger, old above new, one bar a day or for several."""
    days = sorted({day for fires in found.triggers.values() for side in (fires.old, fires.new) for day in side or ()})
    if not days:
        out.print("\n[bold magenta]triggers[/]\nnothing would have been sent")
        return
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    span = (last - first).days + 1
    width = -(-span // MOST_BARS)
    scale = "a day" if width == 1 else f"{width} days"
    out.print(f"\n[bold magenta]triggers sent[/], {first} to {last}, one bar {scale}")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for name, fires in found.triggers.items():
        sides = {"old": fires.old, "new": fires.new} if found.old is not None else {"": fires.new}
        bars = {which: _per_bar(side, first, span, width) for which, side in sides.items() if side is not None}
        top = max((max(counts) for counts in bars.values()), default=0)
        for place, (which, counts) in enumerate(bars.items()):
            total = sum(counts)
            label = escape(name) if not place else ""
            why_not = escape(_not_sent(fires)) if which != "old" else ""
            table.add_row(label, which, f"{total:,}", f"{total / span:,.1f} a day", _spark(counts, top), f"[dim]{why_not}[/]")
    out.print(table)


def _per_bar(days: Mapping[str, int], first: date, span: int, width: int) -> list[int]:
    counts = [0] * -(-span // width)
    for offset in range(span):
        counts[offset // width] += days.get((first + timedelta(offset)).isoformat(), 0)
    return counts


def _spark(counts: Sequence[int], top: int) -> str:
    """One character for each count, as high as it is beside the highest; what is not zero is seen."""
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(1, round(count / top * steps)) if count else 0] for count in counts)


def _not_sent(fires: Fires) -> str:
    reasons = [f"{reason} {count:,}" for reason, count in sorted(fires.not_sent.items(), key=lambda item: -item[1])]
    reasons += [f"if {fires.condition_false:,}"] if fires.condition_false else []
    return f"not sent: {', '.join(reasons)}" if reasons else ""


def _costs(found: Backtest) -> Table:
    table = _table("\n[bold magenta]cost[/]", "", "bytes a profile", "median", "p99", "most", "timers", "wakes", "events/s")
    sides: list[tuple[str, Cost]] = [("old", found.old)] if found.old is not None else []
    for which, cost in [*sides, ("new", found.new)]:
        table.add_row(
            f"{which if found.old else ''} {cost.version}".strip(),
            f"{cost.bytes_mean:,.0f}",
            f"{cost.bytes_p50:,}",
            f"{cost.bytes_p99:,}",
            f"{cost.bytes_max:,}",
            f"{cost.timers:,}",
            f"{cost.wakes:,}",
            f"{cost.events_per_s:,.0f}",
        )
    return table
