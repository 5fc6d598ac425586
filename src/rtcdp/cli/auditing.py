"""Commands on the audit log."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rtcdp.cli.options import AppOption, BootstrapOption, ConfigOption, JsonOption, examples, print_json, settings_of

commands = typer.Typer()

audit_app = typer.Typer(help="The audit log: who read whom, and who changed what.", no_args_is_help=True)


commands.add_typer(audit_app, name="audit")


@audit_app.command(
    "list",
    epilog=examples(
        "rtcdp audit list -b localhost:9092",
        "rtcdp audit list -b localhost:9092 --profile user_id:u42 --from 2027-01-01",
        "rtcdp audit list -b localhost:9092 --what apply --json",
    ),
)
def audit_list(  # noqa: PLR0913 - one parameter an option
    *,
    bootstrap: BootstrapOption = None,
    since: Annotated[str, typer.Option("--from", help="RFC 3339; left out: a day before.", metavar="TIME")] = "",
    until: Annotated[str, typer.Option(help="RFC 3339; left out: now.", metavar="TIME")] = "",
    profile: Annotated[str, typer.Option(help="Only what is about this profile.", metavar="KEY")] = "",
    who: Annotated[str, typer.Option(help="Part of a token's id or name, or of user@host.", metavar="TEXT")] = "",
    what: Annotated[str, typer.Option(help="One operation: profile, members, apply, ...", metavar="NAME")] = "",
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1)] = 1_000,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List entries, newest first: time, who, what, outcome, tenant, whom (as pseudonyms), the rest."""
    from rtcdp.control.audit import Asked, entries
    from rtcdp.queries.keys import key_of

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    asked = Asked(since, until, who, what, key_of(settings, profile) if profile else "", limit)
    found, more = entries(settings, asked)
    if json:
        print_json({"entries": found, "more": more})
        return
    for entry in found:
        print(entry)
    if more:
        print("there are older ones: narrow the time, or raise --limit", file=sys.stderr)
