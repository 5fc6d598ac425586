"""Commands on definitions and on recorded events."""

from __future__ import annotations

import sys
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
    examples,
    print_json,
    settings_of,
)

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "rtcdp check examples/shop",
        "rtcdp check examples/shop --json",
        "rtcdp check examples/shop --show-code 'Product Viewed'",
    )
)
def check(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    show_code: Annotated[
        str | None, typer.Option(help="Print the function made for this event, or this segment.", metavar="NAME")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check definitions; every error with file, line and column. Exit code 1 if there is one."""
    from rtcdp.rules.loading.check import check as examine

    report = examine(folder)
    if report.ok and show_code is not None:
        from rtcdp.folding.engine import Engine
        from rtcdp.rules.compiling.compiler import compile_definitions
        from rtcdp.rules.loading.folder import load

        print(Engine(compile_definitions(load(folder))).code(show_code), end="")
    elif json:
        print_json(report.as_json())
    else:
        print(report)
    raise typer.Exit(WELL if report.ok else WRONG)


@commands.command(epilog=examples("rtcdp apply rules -b localhost:9092", "rtcdp apply rules -b localhost:9092 --wait 0 --json"))
def apply(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    bootstrap: BootstrapOption = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Evaluate beside the current definitions, not in their place.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="How long to wait for the switch in every partition's log (s).", min=0, metavar="S")
    ] = 10.0,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make definitions current: running workers switch to them. Exit code 1 if a partition has not within the wait."""
    from rtcdp.control.applying import apply_folder

    done = apply_folder(settings_of(config, bootstrap=bootstrap, app=app_name), folder, shadow=shadow, wait_s=wait)
    if json:
        print_json(done.as_json())
    else:
        print(done)
    raise typer.Exit(WELL if done.switched == done.partitions else WRONG)


@commands.command(
    epilog=examples(
        "rtcdp backtest rules --against rules-in-force events.jsonl.gz --until +30d",
        "rtcdp backtest rules --against rules-in-force topic:profile-events -b localhost:9092 --from 2026-01-01",
        "rtcdp backtest rules rows.csv --map user_id=uid,event=name,timestamp=at,properties=* --json",
    )
)
def backtest(  # noqa: PLR0913 - one parameter an option
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    events: Annotated[
        str, typer.Argument(help="JSON lines or CSV, also .gz; or `topic:NAME`.", metavar="EVENTS", show_default=False)
    ],
    against: Annotated[Path | None, typer.Option(help="Compare with this folder.", metavar="OLD_DIR")] = None,
    until: Annotated[
        str | None, typer.Option(help="Where time runs to after the last event: RFC 3339, or `+30d` after it.", metavar="TIME")
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Of a topic: records from here on.", metavar="TIME")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Of a topic: records before this.", metavar="TIME")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="For CSV, as for `rtcdp replay`.", metavar="MAP")] = None,
    profile_events: Annotated[
        bool, typer.Option("--profile-events", help="The file is a recorded profile-events log.")
    ] = False,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Run definitions over the past: who would enter and leave, what would be sent on which day, what it costs."""
    from rtcdp.simulate import backtest as back

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    history = back.history(settings, events, is_log=profile_events, mapping=map_, since=from_, until=to)
    found = back.run(folder, against, history, until)
    if json:
        print_json(found)
        return
    from rtcdp.simulate.backtest_view import show

    show(found)


@commands.command(
    epilog=examples(
        "rtcdp cuts rules -b localhost:9092",
        "rtcdp cuts rules -b localhost:9092 --write",
        "rtcdp cuts rules -b localhost:9092 --apply",
    )
)
def cuts(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    bootstrap: BootstrapOption = None,
    write: Annotated[bool, typer.Option("--write", help="Put the new cuts into the folder's files.")] = False,
    apply_: Annotated[bool, typer.Option("--apply", help="Write them, and make the folder current.")] = False,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compute the cuts of scores and tiers from the live population, so that each step holds as many profiles."""
    from rtcdp.queries import cutting

    settings = settings_of(config, bootstrap=bootstrap, app=app_name)
    found = cutting.compute(folder, cutting.population(settings))
    if json:
        print_json([one.as_json() for one in found])
    else:
        cutting.show(found)
    if write or apply_:
        cutting.write(folder, found)
    if apply_:
        from rtcdp.control.applying import apply_folder

        print(apply_folder(settings, folder), file=sys.stderr)


@commands.command(
    "test",
    epilog=examples(
        "rtcdp test examples/shop",
        "rtcdp test rules --watch",
        "rtcdp test rules --strict --junit report.xml",
        "rtcdp test rules -k cart",
    ),
)
def run_scenarios(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    only: Annotated[str, typer.Option("-k", help="Only scenarios with this in their name.", metavar="TEXT")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Run again whenever a file changes.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 also where a definition has no scenario.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write a report as CI servers read it.", metavar="FILE")] = None,
    json: JsonOption = False,
) -> None:
    """Run the scenarios beside the definitions. Exit code 1 if one is not as expected."""
    from rtcdp.simulate import scenarios

    if watch:
        scenarios.watch(folder, only)
        return
    result = scenarios.run_folder(folder, only)
    if junit is not None:
        junit.write_bytes(scenarios.junit(result))
    if json:
        print_json(result.as_json())
    else:
        scenarios.print_result(result)
    raise typer.Exit(WRONG if result.failed or (strict and result.uncovered) else WELL)


@commands.command(
    epilog=examples(
        "rtcdp replay events.jsonl -d examples/shop --until 2025-03-01T00:00:00Z",
        "zcat *.gz | rtcdp replay - -d DIR --until +30d",
        "rtcdp replay rows.csv -d DIR --map user_id=uid,event=name,timestamp=at,message_id=@row,properties=*",
        "rtcdp replay topic:profile-events --profile-events -d DIR --config rtcdp.toml",
        "rtcdp replay log.jsonl -d DIR --profile-events",
    )
)
def replay(  # noqa: PLR0913 - one parameter an option
    *,
    events: Annotated[str, typer.Argument(help="JSON lines or CSV, also .gz; `-` for standard input.", metavar="EVENTS")],
    definitions: Annotated[
        list[Path],
        typer.Option("--definitions", "-d", help="Folder of YAML definitions; several for a log.", metavar="DIR"),
    ],
    until: Annotated[
        str | None, typer.Option(help="Where time runs to after the last event: RFC 3339, or `+30d` after it.", metavar="TIME")
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="For CSV: FIELD=COLUMN,... with `@row` for the row number, 'text' for a constant, "
            "`properties=*` for all other columns, `properties.price:number=price` for a number.",
            metavar="MAP",
        ),
    ] = None,
    profile_events: Annotated[
        bool,
        typer.Option("--profile-events", help="It is a recorded profile-events log, or topic:NAME: the log where it lies."),
    ] = False,
    topics: Annotated[bool, typer.Option("--topics", help="Each line with its topic and key.")] = False,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the engine over a file, without a worker; prints each record a worker would publish as one JSON line, in order.

    The settings are those of the deployment whose log it is, where personal data in it is encrypted.
    """
    from rtcdp.simulate.replay import ReplayOptions, run

    settings = settings_of(config, bootstrap=bootstrap, app=app_name) if profile_events else None
    options = ReplayOptions(events, tuple(definitions), until, map_, profile_events, topics, settings)
    summary = run(options, sys.stdout.buffer)
    print(summary, file=sys.stderr)
