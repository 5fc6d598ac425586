"""The command `rtcdp`. Each command parses its options, calls the one function behind it and prints; nothing more.

Exit codes: 0 well, 1 the thing asked about is wrong (definitions with errors, a profile that is not there, lost
outputs), 2 the command could not run (a bad option, no Kafka, an unreadable file). Imports are inside the commands, so that
`rtcdp --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys

import typer

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

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}


app = typer.Typer(
    name="rtcdp",
    help="A real-time customer data platform: events in Kafka become profiles, segments and triggers in milliseconds.",
    epilog="Start here: rtcdp demo",
    no_args_is_help=True,
    add_completion=False,
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
