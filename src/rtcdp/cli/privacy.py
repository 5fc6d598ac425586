"""Commands on what is kept about people, and on the keys it is encrypted with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtcdp.cli.options import (
    WRONG,
    AppOption,
    BootstrapOption,
    ByOption,
    ConfigOption,
    JsonOption,
    KeyArgument,
    SourcesOption,
    examples,
    login_name,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from rtcdp.privacy.erasure import Receipt

commands = typer.Typer()
privacy = typer.Typer(no_args_is_help=True, help="A person's rights, and the keys of what is kept.", rich_markup_mode=None)
commands.add_typer(privacy, name="privacy")


@privacy.command(epilog=examples("rtcdp privacy keygen /etc/rtcdp/master.key"))
def keygen(
    *, file: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.", metavar="FILE", show_default=False)]
) -> None:
    """Make a master key (setting `master_key_file`). Keep a copy elsewhere: without it nothing can be read."""
    from rtcdp.sealing.master import make_key_file

    make_key_file(file)
    print(f"{file}: a new master key; keep a copy of it in another place")


@privacy.command(
    epilog=examples(
        "rtcdp privacy rotate --to-file /etc/rtcdp/new.key -c rtcdp.toml",
        "rtcdp privacy rotate --to-command '/usr/local/bin/kms-wrap' -c rtcdp.toml",
    )
)
def rotate(
    *,
    to_file: Annotated[Path | None, typer.Option(help="The new master key.", metavar="FILE")] = None,
    to_command: Annotated[str, typer.Option(help="The program that asks for it.", metavar="COMMAND")] = "",
    config: ConfigOption = None,
) -> None:
    """Let another master key open the key store. Running processes go on; their settings must name the new one from then on."""
    from rtcdp.sealing.opening import rotate_master

    rotate_master(settings_of(config), to_file, to_command)
    print("the key store is opened by the new master key now; the old one opens nothing any more")


@privacy.command(
    epilog=examples(
        "rtcdp privacy export user_id:u000042 -b localhost:9092 -d examples/shop",
        "rtcdp privacy export email:ann@example.com --json > ann.json",
    )
)
def export(
    *,
    key: KeyArgument,
    bootstrap: BootstrapOption = None,
    definitions: Annotated[
        Path | None, typer.Option("--definitions", "-d", help="Names for what the profile holds.", metavar="DIR")
    ] = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Everything that is held about a person. Exit code 1 if that is nothing."""
    from rtcdp.control.audit import note
    from rtcdp.privacy.export import export as make
    from rtcdp.privacy.export import show
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, definitions=definitions, app=app_name)
    found = make(settings, key_of(settings, key))
    if found is None:
        print(f"rtcdp: nothing is held about {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    note(settings, "export", profiles=list(dict.fromkeys((found["asked"], found["profile"]["key"]))))
    if json:
        print_json(found)
    else:
        show(found)


@privacy.command(
    epilog=examples(
        "rtcdp privacy erase user_id:u000042 --by dpo --reason 'request 4711' -b localhost:9092",
        "rtcdp privacy erase email:ann@example.com --wait 0 --json",
    )
)
def erase(  # noqa: PLR0913 # options
    *,
    key: KeyArgument,
    reason: Annotated[str, typer.Option(help="Why; name nobody here, it is kept.", metavar="TEXT")] = "",
    by: ByOption = None,
    request: Annotated[
        str, typer.Option("--id", help="An id of your own; sent again, it is done once more.", metavar="ID")
    ] = "",
    wait: Annotated[float, typer.Option(help="How long to wait for the receipt (s).", metavar="SECONDS")] = 120.0,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Erase a person and every identifier that was ever linked, and print the receipt. Exit code 1 where it is not complete."""
    from rtcdp.control.audit import note
    from rtcdp.control.commands import new_id
    from rtcdp.privacy import erasure
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources)
    whose, identity = key_of(settings, key), request or new_id()
    command = erasure.command_of(identity, by=login_name() if by is None else by, reason=reason)
    note(settings, "erase", profiles=[whose], about={"request": identity, **({"reason": reason} if reason else {})})
    partitions = erasure.erase(settings, whose, command)
    if wait <= 0:
        print_json({"request": identity}) if json else print(f"asked for: `rtcdp privacy receipt {identity}`")
        return
    _tell(erasure.wait(settings, identity, partitions, wait), identity, json=json)


@privacy.command(epilog=examples("rtcdp privacy receipt 0b6f6c1e-6a52-4f6e-9a0c-3a52f1f0a6ce -b localhost:9092 --json"))
def receipt(
    *,
    request: Annotated[str, typer.Argument(help="The id of the request.", metavar="ID", show_default=False)],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what is left of an erased person, and for how long. Exit code 1 where the erasure is not complete."""
    from rtcdp.privacy import erasure

    settings = settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources)
    _tell(erasure.receipt(settings, request), request, json=json)


def _tell(found: Receipt | None, request: str, *, json: bool) -> None:
    from rtcdp.privacy import erasure

    if found is None:
        print(f"rtcdp: there is no mark of {request} (yet): do workers run?", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        print_json(found)
    else:
        erasure.show(found)
    if not found.complete:
        raise typer.Exit(WRONG)
