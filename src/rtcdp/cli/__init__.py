"""The command `rtcdp`. Each command parses its options, calls the one function behind it and prints; nothing more.

Exit codes: 0 well, 1 the thing asked about is wrong (definitions with errors, a profile that is not there, lost
outputs), 2 the command could not run (a bad option, no Kafka, an unreadable file). Imports are inside the commands, so that
`rtcdp --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rtcdp.cli import (
    auditing,
    collecting,
    dead_letters,
    definitions,
    delivering,
    drafting,
    privacy,
    profiles,
    rights,
    running,
    serving,
    state,
)
from rtcdp.cli.options import CANNOT_RUN, WRONG
from rtcdp.errors import DefinitionErrors, RtcdpError

_PANELS = {
    "Start": ("demo", "up"),
    "Processes": ("worker", "collector", "project", "serve", "deliver"),
    "Definitions": ("check", "test", "replay", "backtest", "cuts", "apply", "drafts"),
    "Profiles and people": ("profile", "why", "identity", "consent", "privacy"),
    "Operation": ("tick", "dlq", "deliveries", "tokens", "audit", "backup", "restore", "rebuild"),
}
"""Under which heading, and in which order, `rtcdp --help` lists the commands."""
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}


class _Commands(TyperGroup):
    """The commands in the order of `_PANELS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return [name for names in _PANELS.values() for name in names]


app = typer.Typer(
    name="rtcdp",
    cls=_Commands,
    help="A real-time customer data platform: events in Kafka become profiles, segments and triggers in milliseconds.",
    epilog="Start here: rtcdp demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    running,
    definitions,
    drafting,
    profiles,
    rights,
    privacy,
    state,
    dead_letters,
    collecting,
    serving,
    delivering,
    auditing,
):
    app.add_typer(group.commands)
    for command in (*group.commands.registered_commands, *group.commands.registered_groups):
        name = command.name or getattr(command.callback, "__name__", "")
        command.rich_help_panel = next(panel for panel, names in _PANELS.items() if name in names)


def _show_version(asked: bool) -> None:  # noqa: FBT001  typer calls it with the option's value
    if asked:
        print(f"rtcdp {version('rtcdp')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None: ...


def main() -> None:
    """The console script: errors that rtcdp raises on purpose, and a full disk, become one clear line and an exit code."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what cannot be written is told here, not while Python ends
    except DefinitionErrors as errors:
        print(errors, file=sys.stderr)
        sys.exit(CANNOT_RUN)
    except RtcdpError as error:
        print(f"rtcdp: {error}", file=sys.stderr)
        sys.exit(CANNOT_RUN)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        if error.errno != errno.EPIPE:  # whoever read has seen enough: no error
            print(f"rtcdp: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_RUN if error.errno != errno.EPIPE else WRONG)


def _drop_output() -> None:
    """Let Python end without trying again to write what is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
