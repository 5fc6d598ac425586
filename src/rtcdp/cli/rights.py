"""Commands on what people may ask for: what they agree to, and that what is wrong about them is put right."""

from __future__ import annotations

import sys
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
from rtcdp.cli.privacy import privacy

commands = typer.Typer()
consent = typer.Typer(no_args_is_help=True, help="What a person agrees to.", rich_markup_mode=None)
commands.add_typer(consent, name="consent")


@consent.command(
    "show",
    epilog=examples("rtcdp consent show user_id:u000042 -b localhost:9092", "rtcdp consent show email:ann@example.com --json"),
)
def consent_show(
    *,
    key: KeyArgument,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what a person agrees to: since when, by which event or request. Exit code 1 if nothing is known of them."""
    from rtcdp.control.audit import note
    from rtcdp.queries.answering import as_json, print_standing, show
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    whose = key_of(settings, key)
    found = show(settings, whose)
    if found is None:
        print(f"rtcdp: nothing is known of {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    note(settings, "consent", profiles=list(dict.fromkeys((whose, found.profile))))
    if json:
        print_json(as_json(found))
    else:
        print_standing(found)


@consent.command(
    "set",
    epilog=examples(
        'rtcdp consent set user_id:u000042 marketing=no --reason "asked by phone"',
        "rtcdp consent set user_id:u000042 @email=no marketing@sms=no -b localhost:9092",
        "rtcdp consent set user_id:u000042 @*=no --until 2027-01-10T00:00:00Z",
    ),
)
def consent_set(  # noqa: PLR0913 - one parameter an option
    *,
    key: KeyArgument,
    answers: Annotated[
        list[str],
        typer.Argument(
            help="PURPOSE=yes, @CHANNEL=no, PURPOSE@CHANNEL=no, NAME=unset.", metavar="ANSWER...", show_default=False
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why, for the record.", metavar="TEXT")] = "",
    by: ByOption = None,
    until: Annotated[str, typer.Option(help="When answers about channels end by themselves (RFC 3339).", metavar="TIME")] = "",
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set what a person agrees to. It takes effect within a second where a worker runs."""
    from rtcdp.queries.answering import set_by_hand

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    command = set_by_hand(settings, key, answers, by=login_name() if by is None else by, reason=reason, until=until)
    print_json({"request": command.id}) if json else print(f"request {command.id} is in {settings.commands}")


@privacy.command(
    epilog=examples(
        'rtcdp privacy correct user_id:u000042 --set city=Hamburg --remove birthday --reason "letter of 3 March"',
        "rtcdp privacy correct user_id:u000042 --without 0c1f7a52-order -b localhost:9092 --json",
    )
)
def correct(  # noqa: PLR0913 - one parameter an option
    *,
    key: KeyArgument,
    traits: Annotated[
        list[str] | None, typer.Option("--set", help="A trait's right value: JSON, or else text.", metavar="NAME=VALUE")
    ] = None,
    removed: Annotated[list[str] | None, typer.Option("--remove", help="A trait that goes.", metavar="NAME")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="An event that is as if it had never been.", metavar="MESSAGE_ID")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.", metavar="TEXT")] = "",
    by: ByOption = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put right what is wrong about a person. Exit code 1 if nothing is known of them.

    Events are left out of everything that was computed; for that a worker has to run. What was sent stays sent.
    """
    from rtcdp.privacy.correcting import correct as put_right
    from rtcdp.privacy.correcting import show, traits_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    wanted = traits_of(traits or [], removed or [])
    found = put_right(settings, key, wanted, without or [], by=login_name() if by is None else by, reason=reason)
    if found is None:
        print(f"rtcdp: nothing is known of {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        print_json(found.as_json())
    else:
        show(found)
