"""Commands that run rtcdp: the demo, a worker, all processes at once, time by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import (
    WELL,
    WRONG,
    AppOption,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    SourcesOption,
    examples,
    print_json,
    settings_of,
)

commands = typer.Typer()


@commands.command(epilog=examples("rtcdp demo", "rtcdp demo --events 100000 --rate 5000", "rtcdp demo --events 20000 --json"))
def demo(
    *,
    events: Annotated[int, typer.Option(help="How many records the shop sends.", min=1)] = 20_000,
    rate: Annotated[float, typer.Option(help="Records per second; 0 for as fast as they are taken.", min=0)] = 1_500,
    seed: Annotated[int, typer.Option(help="Another seed is another shop.")] = 1,
    json: JsonOption = False,
    console: Annotated[bool, typer.Option(help="With the console in a browser, where there is a Redis.")] = True,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen as SVG.", metavar="FILE")] = None,
) -> None:
    """Watch a shop's clickstream turn into profiles, segments and triggers.

    Starts an embedded broker and a real worker, sends the events of a generated shop, and compares everything
    that was published with an offline replay of the same events. Exit code 1 if anything is missing or too much.
    The console stays open until Ctrl-C. With --json, or for a picture, there is none.
    """
    from rtcdp.simulate.demo import DemoOptions, run

    options = DemoOptions(
        events=events, rate=rate, seed=seed, live=not json, picture=picture, console=console and not json and picture is None
    )
    report = run(options)
    if json:
        print_json(report.as_json())
    raise typer.Exit(WRONG if report.lost else WELL)


@commands.command(
    epilog=examples(
        "rtcdp worker -d examples/shop -b localhost:9092",
        "RTCDP_BOOTSTRAP=kafka:9092 RTCDP_DEFINITIONS=rules rtcdp worker",
    )
)
def worker(  # noqa: PLR0913 - one parameter an option
    *,
    definitions: Annotated[
        Path | None, typer.Option("--definitions", "-d", help="Folder of YAML definitions.", metavar="DIR")
    ] = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    agents: Annotated[str | None, typer.Option(help="ingest, profile or both.", metavar="AGENTS")] = None,
    partitions: Annotated[int | None, typer.Option(help="Partitions of topics that are created.")] = None,
    instance: Annotated[str | None, typer.Option(help="Stable name of this replica.", metavar="NAME")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, /healthz, /readyz; -1 for none.")] = None,
    store: Annotated[str | None, typer.Option(help="Where profiles are kept: memory or rocksdb.", metavar="STORE")] = None,
    standby: Annotated[bool | None, typer.Option("--standby", help="Keep a copy of what other workers own.")] = None,
    config: ConfigOption = None,
) -> None:
    """Run a worker: the process people deploy."""
    from rtcdp.worker.main import run

    code = run(
        settings_of(
            config,
            definitions=definitions,
            bootstrap=bootstrap,
            app=app_name,
            sources=sources,
            agents=agents,
            partitions=partitions,
            instance=instance,
            metrics_port=metrics_port,
            store=store,
            standby=standby,
        )
    )
    raise typer.Exit(code)


@commands.command(epilog=examples("rtcdp tick --until 2025-03-01T00:00:00Z -b localhost:9092"))
def tick(
    *,
    until: Annotated[str, typer.Option(help="RFC 3339 time.", metavar="TIME", show_default=False)],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Let time run on to a given moment where it moves only with the data (event time mode)."""
    from rtcdp.control.commands import tick as send

    send(settings_of(config, bootstrap=bootstrap, app=app_name, sources=sources), until)
    print(f"time runs on to {until}")


@commands.command(
    epilog=examples(
        "rtcdp up -d examples/shop", "rtcdp up -d rules --destinations outlets -b localhost:9092", "rtcdp up --config up.toml"
    )
)
def up(
    *,
    definitions: Annotated[
        Path | None, typer.Option("--definitions", "-d", help="Folder of YAML definitions.", metavar="DIR")
    ] = None,
    destinations: Annotated[
        Path | None,
        typer.Option("--destinations", help="Folder of destinations; without it nothing is delivered.", metavar="DIR"),
    ] = None,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    config: ConfigOption = None,
) -> None:
    """Run every process on this machine, and a Kafka and a Redis where none is given. Ctrl-C ends all."""
    from rtcdp.delivery.loading import load as load_destinations
    from rtcdp.processes.lifecycle import guarded
    from rtcdp.processes.up import run
    from rtcdp.rules.loading.folder import load as load_definitions

    settings = settings_of(config, definitions=definitions, destinations=destinations, bootstrap=bootstrap, app=app_name)

    def checked() -> int:
        """What is wrong in a folder is said before anything starts."""
        if settings.definitions is not None:
            load_definitions(settings.definitions)
        if settings.destinations is not None:
            load_destinations(settings.destinations)
        return run(settings, config)

    raise typer.Exit(guarded(checked))
