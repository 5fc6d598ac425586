"""The demo's terminal view: drawn from the board, several times a second."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rtcdp.errors import SettingError
from rtcdp.simulate.board import Board

SEGMENTS = 12
SPARKS = 36  # seconds
WIDTH = 108
_SPARKS = " ▁▂▃▄▅▆▇█"


def draw(board: Board) -> RenderableType:
    """The whole view."""
    body = Table.grid(expand=True, padding=(0, 1))
    body.add_column(ratio=11)
    body.add_column(ratio=10)
    body.add_row(_segments(board), _triggers(list(board.triggers)))
    return Group(_head(board), body, Text(board.note or " ", style="dim"))


def save_picture(board: Board, path: Path) -> None:
    """Save the view as SVG. Raises SettingError where that file cannot be written."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(draw(board))
    try:
        path.write_text(console.export_svg(title="rtcdp demo"), "utf-8")
    except OSError as error:
        raise SettingError(f"--picture: {path} cannot be written ({error.strerror})") from None


def _head(board: Board) -> RenderableType:
    grid = Table.grid(expand=True)
    for _ in range(6):
        grid.add_column(justify="center", ratio=1)
    rate = board.rates[-1]
    figures = (
        (f"{board.sent:,}", f"of {board.total:,}"),
        (f"{rate:,}/s", "now"),
        (f"{board.gauges.profiles:,}", "profiles"),
        (f"{board.counts['profile-changes']:,}", "changes"),
        (f"{board.counts['triggers']:,}", "triggers"),
        (f"{board.counts['events-dlq']:,}", "dead letters"),
    )
    grid.add_row(*(Text(number, style="bold cyan") for number, _ in figures))
    grid.add_row(*(Text(label, style="dim") for _, label in figures))
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    latency = Text.assemble(
        ("latency ", "dim"), (f"p50 {board.gauges.p50_ms:.1f} ms", "bold green"), ("  ", ""),
        (f"p99 {board.gauges.p99_ms:.1f} ms", "bold yellow"),
    )  # fmt: skip
    line.add_row(Text(sparkline(list(board.rates)[-SPARKS:]), style="cyan"), latency)
    shop_time = _clock(board.shop_time) if board.shop_time else "not open yet"
    return Panel(Group(grid, line), title="[bold]rtcdp demo[/]", subtitle=f"in the shop it is {shop_time}", border_style="blue")


def _segments(board: Board) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    largest = [(name, size) for name, size in board.inside.most_common(SEGMENTS) if size > 0]
    top = max((size for _, size in largest), default=1)
    for name, size in largest:
        table.add_row(name, Text(f"{size:,}", style="bold"), Bar(top, 0, size, color="magenta"))
    return Panel(table, title="segments", border_style="magenta", height=SEGMENTS + 2)


def _triggers(triggers: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table.grid()
    table.add_column(no_wrap=True, overflow="ellipsis")
    for trigger in reversed(triggers):
        data = trigger["data"]
        payload = "  ".join(f"{value}" for value in data.get("payload", {}).values() if value is not None)
        table.add_row(Text.assemble((data["trigger"], "bold yellow"), "  ", (data["profile"].partition(":")[2], "dim")))
        if payload:
            table.add_row(f"  {payload}")
    return Panel(table, title="last triggers", border_style="yellow", height=SEGMENTS + 2)


def sparkline(values: Sequence[int]) -> str:
    """Bars, one character each, the highest value the full height."""
    top = max(values, default=0)
    if not top:
        return " " * len(values)
    return "".join(_SPARKS[-(-value * (len(_SPARKS) - 1) // top)] for value in values)


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%A %d %B %Y %H:%M")
