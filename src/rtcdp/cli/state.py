"""Commands on a whole deployment while no worker runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import (
    AppOption,
    BootstrapOption,
    ConfigOption,
    SourcesOption,
    examples,
    settings_of,
)

commands = typer.Typer()


@commands.command(epilog=examples("rtcdp rebuild -b localhost:9092"))
def rebuild(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a damaged or lost changelog anew from the log. The workers must be stopped."""
    from rtcdp.worker.offline.rebuild import rebuild as make

    print(make(settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources), print))


FileArgument = Annotated[Path, typer.Argument(help="The backup.", metavar="FILE", show_default=False)]


@commands.command(epilog=examples("rtcdp backup shop.rtcdp -b localhost:9092"))
def backup(
    *,
    file: FileArgument,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a deployment's state and position into a file. The workers must be stopped."""
    from rtcdp.control.audit import note
    from rtcdp.worker.offline.backup import backup as take

    settings = settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources)
    note(settings, "backup", about={"file": file.name})
    print(take(settings, file))


@commands.command(epilog=examples("rtcdp restore shop.rtcdp -b other:9092"))
def restore(
    *,
    file: FileArgument,
    receipt: Annotated[
        list[Path] | None,
        typer.Option(
            help="Receipts (`rtcdp privacy receipt ID --json`) of who was erased since; with encryption none is needed.",
            metavar="FILE",
        ),
    ] = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Put a backup back: on another cluster, or under another app name with topics of its own."""
    from rtcdp.control.audit import note
    from rtcdp.worker.offline.restoring import restore as put_back

    settings = settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources)
    note(settings, "restore", about={"file": file.name})
    print(put_back(settings, file, receipt or ()))
