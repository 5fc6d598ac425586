"""The deliverer, and what it delivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import (
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
from rtcdp.errors import DefinitionErrors, SettingError

commands = typer.Typer()

deliveries = typer.Typer(help="Deliveries to other tools: destinations, and what was given up.", no_args_is_help=True)


commands.add_typer(deliveries, name="deliveries")


DestinationsOption = Annotated[
    Path | None, typer.Option("--destinations", help="Folder of YAML that says where to send what.", metavar="DIR")
]


@commands.command(
    epilog=examples(
        "rtcdp deliver --destinations examples/destinations -b localhost:9092",
        "RTCDP_BOOTSTRAP=kafka:9092 RTCDP_DESTINATIONS=outlets RTCDP_METRICS_PORT=9465 rtcdp deliver",
    )
)
def deliver(
    *,
    destinations: DestinationsOption = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    instance: Annotated[str | None, typer.Option(help="Stable name of this replica.", metavar="NAME")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, /healthz, /readyz; -1 for none.")] = None,
    config: ConfigOption = None,
) -> None:
    """Send triggers and changes to other tools: webhooks, messengers, e-mail, files."""
    from rtcdp.delivery.main import run

    settings = settings_of(
        config,
        destinations=destinations,
        bootstrap=bootstrap,
        app=app_name,
        sources=sources,
        instance=instance,
        metrics_port=metrics_port,
    )
    raise typer.Exit(run(settings))


@deliveries.command("check", epilog=examples("rtcdp deliveries check examples/destinations"))
def deliveries_check(
    *, folder: Annotated[Path, typer.Argument(help="Folder of YAML, or one file.", metavar="DIR", show_default=False)]
) -> None:
    """Check destinations; every error with file, line and column. Secrets need not be there. Exit code 1 if one is found."""
    from rtcdp.delivery.loading import load

    try:
        found = load(folder, secrets=False)
    except DefinitionErrors as errors:
        print(errors)
        raise typer.Exit(WRONG) from None
    print(", ".join(f"{count} {name}" for name, count in found.summary().items()))


@deliveries.command("secret", epilog=examples("rtcdp deliveries secret > /run/secrets/crm"))
def deliveries_secret() -> None:
    """Make a secret to sign webhooks with."""
    from rtcdp.delivery.dead import new_secret

    print(new_secret())


DestinationOption = Annotated[str | None, typer.Option(help="Only of this destination.", metavar="NAME")]


DeliveryOption = Annotated[str | None, typer.Option("--id", help="Only this delivery.", metavar="ID")]


@deliveries.command("list", epilog=examples("rtcdp deliveries list -b localhost:9092 --destination crm --json"))
def deliveries_list(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    destination: DestinationOption = None,
    reason: ReasonOption = None,
    delivery: DeliveryOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List deliveries that were given up: id, destination, reason, last error, attempts, time."""
    from rtcdp.control.audit import note
    from rtcdp.delivery.dead import Choice, as_json, list_dead, shown

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    note(settings, "dead_deliveries", about=_chosen(destination, reason, delivery))
    for dead in list_dead(settings, Choice(destination, reason, delivery)):
        print(as_json(dead) if json else shown(dead))


@deliveries.command("replay", epilog=examples("rtcdp deliveries replay -b localhost:9092 --destination crm --dry-run"))
def deliveries_replay(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    destination: DestinationOption = None,
    reason: ReasonOption = None,
    delivery: DeliveryOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Make deliveries again that were given up, with the same id and body."""
    from rtcdp.control.audit import note
    from rtcdp.delivery.dead import Choice, replay

    if everything == bool(destination or reason or delivery):
        raise SettingError("deliveries replay: say which with --destination, --reason or --id, or --all for every one")
    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    note(settings, "resend", about={**_chosen(destination, reason, delivery), **({"dry_run": "true"} if dry_run else {})})
    done = replay(settings, Choice(destination, reason, delivery), dry_run=dry_run)
    print(f"{'would be' if dry_run else 'will be'} delivered again: {done}")


@deliveries.command("enable", epilog=examples("rtcdp deliveries enable crm -b localhost:9092"))
def deliveries_enable(
    *,
    destination: Annotated[str, typer.Argument(help="Its name.", metavar="NAME", show_default=False)],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    config: ConfigOption = None,
) -> None:
    """Turn a destination on again that said 410 (gone)."""
    from rtcdp.control.audit import note
    from rtcdp.delivery.dead import enable

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    note(settings, "enable", about={"destination": destination})
    enable(settings, destination)
    print(f"{destination} is on again")


def _chosen(destination: str | None, reason: str | None, delivery: str | None) -> dict[str, str]:
    """Which deliveries, for the audit log."""
    named = (("destination", destination), ("reason", reason), ("id", delivery))
    return {name: value for name, value in named if value}
