"""Commands on one profile: what it holds, whose it is, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import (
    WRONG,
    AppOption,
    BootstrapOption,
    ByOption,
    ConfigOption,
    JsonOption,
    KeyArgument,
    examples,
    login_name,
    print_json,
    settings_of,
)

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "rtcdp profile user_id:u000042 -b localhost:9092 -d examples/shop",
        "rtcdp profile main/user_id:u000042 -b localhost:9092 --json",
    )
)
def profile(
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
    """Show a profile as it stands, from the changelog. Exit code 1 if there is none."""
    from rtcdp.control.audit import note
    from rtcdp.queries.inspection import profile_at
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, definitions=definitions, app=app_name)
    whose = key_of(settings, key)
    found = profile_at(settings, whose)
    if found is None:
        print(f"rtcdp: there is no profile {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    note(settings, "profile", profiles=list(dict.fromkeys((whose, found.key))))
    if json:
        print_json(found.as_json())
    else:
        found.show()


identity = typer.Typer(no_args_is_help=True, help="Who is whose: the identifiers of a person.", rich_markup_mode=None)


commands.add_typer(identity, name="identity")


@identity.command(
    "show",
    epilog=examples("rtcdp identity show user_id:u000042 -b localhost:9092", "rtcdp identity show anonymous_id:a-17 --json"),
)
def identity_show(
    *,
    key: KeyArgument,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the person an identifier belongs to, and who linked what, when, by which event. Exit code 1 if there is none."""
    from rtcdp.control.audit import note
    from rtcdp.queries.inspection import people_of, show_people
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    whose = key_of(settings, key)
    found = people_of(settings, whose)
    if found is None:
        print(f"rtcdp: nothing is known of {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    note(settings, "identity", profiles=list(dict.fromkeys((whose, str(found["person"])))))
    if json:
        print_json(found)
    else:
        show_people(found)


@identity.command(
    "split",
    epilog=examples(
        'rtcdp identity split user_id:u000042 anonymous_id:a-17 --reason "shared till"',
        "rtcdp identity split user_id:u000042 email:li@example.com --by dpo --json",
    ),
)
def identity_split(
    *,
    key: KeyArgument,
    identifier: Annotated[str, typer.Argument(help="The identifier that is not theirs.", metavar="IDENTIFIER")],
    reason: Annotated[str, typer.Option(help="Why, for the record.", metavar="TEXT")] = "",
    by: ByOption = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take an identifier that is not theirs out of a person: both become what they would be without it, for good.

    A worker has to run. Exit code 1 if the identifier is not this person's.
    """
    from rtcdp.control.audit import note
    from rtcdp.privacy.splitting import show, split
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    about = {"reason": reason} if reason else None
    whose, leaving = key_of(settings, key), key_of(settings, identifier)
    note(settings, "split", profiles=[whose, leaving], about=about)
    found = split(settings, whose, leaving, by=login_name() if by is None else by, reason=reason)
    if found is None:
        print(f"rtcdp: {identifier} does not belong to {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        print_json(found.as_json())
    else:
        show(found)


@commands.command(
    epilog=examples(
        "rtcdp why user_id:u000042 lapsed_buyers -b localhost:9092",
        "rtcdp why user_id:u000042 trigger:win_back -b localhost:9092 --json",
    )
)
def why(
    *,
    key: KeyArgument,
    name: Annotated[str, typer.Argument(help="A feature, tag, segment or trigger; `trigger:NAME` in doubt.", metavar="NAME")],
    bootstrap: BootstrapOption = None,
    definitions: Annotated[
        Path | None, typer.Option("--definitions", "-d", help="In place of those in force.", metavar="DIR")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Answer for this time (RFC 3339, `now`), not the profile's own.", metavar="TIME")
    ] = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say why a profile is in a segment or not, has a tag, or got no message; and until when. Exit code 1 if there is none."""
    from rtcdp.control.audit import note
    from rtcdp.queries.keys import key_of
    from rtcdp.queries.why import explanation_of, instant_of, show

    settings = settings_of(config, bootstrap=bootstrap, definitions=definitions, app=app_name)
    instant, whose = instant_of(at), key_of(settings, key)
    found = explanation_of(settings, whose, name, instant)
    if found is None:
        print(f"rtcdp: there is no profile {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    note(settings, "why", profiles=list(dict.fromkeys((whose, found.profile))), about={"name": name})
    if json:
        print_json(found)
    else:
        show(found)
