"""Commands on drafts of definitions: propose, look, review, put in force, withdraw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import (
    CANNOT_RUN,
    WELL,
    WRONG,
    AppOption,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    examples,
    print_json,
    settings_of,
)

commands = typer.Typer()

drafts_app = typer.Typer(help="Drafts of definitions: proposed, reviewed, put in force.", no_args_is_help=True)


commands.add_typer(drafts_app, name="drafts")

VersionArgument = Annotated[str, typer.Argument(help="Of the draft, as listed.", metavar="VERSION")]
NoteOption = Annotated[str, typer.Option(help="What to say about it.", metavar="TEXT")]


@drafts_app.command("propose", epilog=examples('rtcdp drafts propose rules -b localhost:9092 --note "spring campaign"'))
def propose(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    note: NoteOption = "",
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Propose a folder's definitions; nothing changes yet."""
    from rtcdp.control.audit import person
    from rtcdp.control.drafts import Drafts

    found = Drafts(settings_of(config, bootstrap=bootstrap, app=app_name)).propose(folder, person(), note)
    print_json(found) if json else print(found)


@drafts_app.command("list", epilog=examples("rtcdp drafts list -b localhost:9092"))
def list_drafts(
    *, bootstrap: BootstrapOption = None, app_name: AppOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """List drafts, newest first: version, state, who, when, reviews, note."""
    from rtcdp.control.drafts import Drafts

    found = Drafts(settings_of(config, bootstrap=bootstrap, app=app_name)).all()
    if json:
        print_json(found)
        return
    for one in found:
        print(one)


@drafts_app.command(
    "show",
    epilog=examples("rtcdp drafts show 62d0c1a4b7e9f310 -b localhost:9092", "rtcdp drafts show 62d0c1a4b7e9f310 --to DIR"),
)
def show(
    *,
    version: VersionArgument,
    to: Annotated[Path | None, typer.Option(help="Write its files into this new folder.", metavar="DIR")] = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a draft's files, for reading or for `rtcdp backtest`."""
    from rtcdp.control.drafts import Drafts, write_files

    draft, standing = Drafts(settings_of(config, bootstrap=bootstrap, app=app_name)).draft(version)
    if to is not None:
        write_files(to, draft.files)
    if json:
        print_json({"draft": standing, "files": draft.files})
        return
    print(standing)
    for name, text in draft.files.items() if to is None else ():
        print(f"\n# {name}\n{text}")


@drafts_app.command("review", epilog=examples("rtcdp drafts review 62d0c1a4b7e9f310 --approve -b localhost:9092"))
def review(
    *,
    version: VersionArgument,
    approve: Annotated[bool | None, typer.Option("--approve/--reject", help="What you say.")] = None,
    note: NoteOption = "",
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    config: ConfigOption = None,
) -> None:
    """Approve or reject a draft."""
    from rtcdp.control.audit import person
    from rtcdp.control.drafts import Drafts

    if approve is None:
        print("rtcdp: say --approve or --reject")
        raise typer.Exit(CANNOT_RUN)
    drafts = Drafts(settings_of(config, bootstrap=bootstrap, app=app_name))
    print(drafts.review(version, person(), "approve" if approve else "reject", note))


@drafts_app.command("publish", epilog=examples("rtcdp drafts publish 62d0c1a4b7e9f310 -b localhost:9092"))
def publish(
    *,
    version: VersionArgument,
    wait: Annotated[
        float, typer.Option(help="How long to wait for the switch in every partition's log (s).", min=0, metavar="S")
    ] = 10.0,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put a draft in force. Exit code 1 if a partition has not switched within the wait."""
    from rtcdp.control.audit import person
    from rtcdp.control.drafts import Drafts

    done = Drafts(settings_of(config, bootstrap=bootstrap, app=app_name)).publish(version, person(), wait_s=wait)
    print_json(done.as_json()) if json else print(done)
    raise typer.Exit(WELL if done.switched == done.partitions else WRONG)


@drafts_app.command("withdraw", epilog=examples("rtcdp drafts withdraw 62d0c1a4b7e9f310 -b localhost:9092"))
def withdraw(
    *, version: VersionArgument, bootstrap: BootstrapOption = None, app_name: AppOption = None, config: ConfigOption = None
) -> None:
    """Take a draft away."""
    from rtcdp.control.audit import person
    from rtcdp.control.drafts import Drafts

    Drafts(settings_of(config, bootstrap=bootstrap, app=app_name)).withdraw(version, person())
    print(f"withdrawn: {version}")
