"""Commands on dead letters."""

from __future__ import annotations

from typing import Annotated

import typer

from rtcdp.cli.options import (
    WELL,
    WRONG,
    AppOption,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    SourcesOption,
    examples,
    settings_of,
)
from rtcdp.errors import SettingError

commands = typer.Typer()

dead_letters = typer.Typer(help="Dead letters: events that could not be used.", no_args_is_help=True)


commands.add_typer(dead_letters, name="dlq")


OriginOption = Annotated[str | None, typer.Option(help="Only this one: TOPIC/PARTITION/OFFSET as listed.", metavar="ORIGIN")]


@dead_letters.command("list", epilog=examples("rtcdp dlq list -b localhost:9092 --json"))
def dlq_list(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    reason: ReasonOption = None,
    origin: OriginOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List dead letters, one line per origin: origin, reason, field, time, size, detail."""
    from rtcdp.control.audit import note
    from rtcdp.dlq import list_letters

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    note(settings, "letters", about=_chosen(reason, origin))
    for letter in list_letters(settings, reason=reason, origin=origin):
        print(letter.as_json() if json else letter)


@dead_letters.command(
    "replay",
    epilog=examples(
        "rtcdp dlq replay -b localhost:9092 --reason violation --dry-run", "rtcdp dlq replay -b localhost:9092 --all"
    ),
)
def dlq_replay(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    reason: ReasonOption = None,
    origin: OriginOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters, whatever their reason.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send dead letters through ingest again, as they came. Exit code 1 if one cannot be."""
    from rtcdp.control.audit import note
    from rtcdp.dlq import replay as send_again

    if everything == bool(reason or origin):
        raise SettingError("dlq replay: say which letters with --reason or --origin, or --all for every one of them")
    settings = settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources)
    note(settings, "replay", about={**_chosen(reason, origin), **({"dry_run": "true"} if dry_run else {})})
    done = send_again(settings, reason=reason, origin=origin, dry_run=dry_run)
    print(f"{'would send' if dry_run else 'sent'} again: {done}")
    raise typer.Exit(WRONG if done.refused else WELL)


def _chosen(reason: str | None, origin: str | None) -> dict[str, str]:
    """Which letters, for the audit log."""
    return {name: value for name, value in (("reason", reason), ("origin", origin)) if value}
