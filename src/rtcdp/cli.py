"""The command `rtcdp`. Each command parses its options, calls the one function behind it and prints; nothing more.

Exit codes: 0 well, 1 the thing asked about is wrong (definitions with errors, a profile that is not there, lost
outputs), 2 the command could not run (a bad option, no Kafka, an unreadable file). Imports are inside the commands, so that
`rtcdp --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcdp.errors import DefinitionErrors, RtcdpError, SettingError

if TYPE_CHECKING:
    from rtcdp.config import Settings

WELL, WRONG, CANNOT_RUN = 0, 1, 2
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}


def _examples(*lines: str) -> str:
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *lines))


app = typer.Typer(
    name="rtcdp",
    help="A real-time customer data platform: events in Kafka become profiles, segments and triggers in milliseconds.",
    epilog="Start here: rtcdp demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(help="Dead letters: events that could not be used.", no_args_is_help=True)
app.add_typer(dead_letters, name="dlq")
tokens_app = typer.Typer(help="Tokens: who may ask the HTTP API what.", no_args_is_help=True)
app.add_typer(tokens_app, name="tokens")
collector_app = typer.Typer(invoke_without_command=True, no_args_is_help=False)
app.add_typer(collector_app, name="collector")
write_keys = typer.Typer(help="Write keys: who may send to the collector.", no_args_is_help=True)
collector_app.add_typer(write_keys, name="keys")
deliveries = typer.Typer(help="Deliveries to other tools: destinations, and what was given up.", no_args_is_help=True)
app.add_typer(deliveries, name="deliveries")

BootstrapOption = Annotated[
    str | None, typer.Option("--bootstrap", "-b", help="Kafka's addresses, host:port,... (or RTCDP_BOOTSTRAP).", metavar="B")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings as TOML (or RTCDP_CONFIG).", metavar="FILE")]
AppOption = Annotated[str | None, typer.Option("--app", help="Name of the deployment (default `rtcdp`).", metavar="NAME")]
SourcesOption = Annotated[
    str | None, typer.Option(help="Topics of raw events, TOPIC or TOPIC:event, comma-separated.", metavar="TOPICS")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def main() -> None:
    """The console script: errors that rtcdp raises on purpose, and a full disk, become one clear line and an exit code."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what cannot be written is told here, not while Python ends
    except DefinitionErrors as errors:
        print(errors, file=sys.stderr)
        sys.exit(CANNOT_RUN)
    except RtcdpError as error:
        print(f"rtcdp: {error}", file=sys.stderr)
        sys.exit(CANNOT_RUN)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        if error.errno != errno.EPIPE:  # whoever read has seen enough: no error
            print(f"rtcdp: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_RUN if error.errno != errno.EPIPE else WRONG)


def _drop_output() -> None:
    """Let Python end without trying again to write what is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _settings(config: Path | None, **flags: Any) -> Settings:
    from rtcdp.config import Settings

    return Settings.load(flags, file=config)


def _print_json(value: Any) -> None:
    import msgspec
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=msgspec.to_builtins).decode())


@app.command(epilog=_examples("rtcdp demo", "rtcdp demo --events 100000 --rate 5000", "rtcdp demo --events 20000 --json"))
def demo(
    *,
    events: Annotated[int, typer.Option(help="How many records the shop sends.", min=1)] = 20_000,
    rate: Annotated[float, typer.Option(help="Records per second; 0 for as fast as they are taken.", min=0)] = 1_500,
    seed: Annotated[int, typer.Option(help="Another seed is another shop.")] = 1,
    json: JsonOption = False,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen as SVG.", metavar="FILE")] = None,
) -> None:
    """Watch a shop's clickstream turn into profiles, segments and triggers.

    Starts an embedded broker and a real worker, sends the events of a generated shop, and compares everything
    that was published with an offline replay of the same events. Exit code 1 if anything is missing or too much.
    """
    from rtcdp.simulate.demo import DemoOptions, run

    report = run(DemoOptions(events=events, rate=rate, seed=seed, live=not json, picture=picture))
    if json:
        _print_json(report.as_json())
    raise typer.Exit(WRONG if report.lost else WELL)


@app.command(
    epilog=_examples(
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
    redis: Annotated[str | None, typer.Option(help="Serving view, redis://...", metavar="URL")] = None,
    store: Annotated[str | None, typer.Option(help="Where profiles are kept: memory or rocksdb.", metavar="STORE")] = None,
    standby: Annotated[bool | None, typer.Option("--standby", help="Keep a copy of what other workers own.")] = None,
    config: ConfigOption = None,
) -> None:
    """Run a worker: the process people deploy."""
    from rtcdp.worker.main import run

    code = run(
        _settings(
            config,
            definitions=definitions,
            bootstrap=bootstrap,
            app=app_name,
            sources=sources,
            agents=agents,
            partitions=partitions,
            instance=instance,
            metrics_port=metrics_port,
            redis=redis,
            store=store,
            standby=standby,
        )
    )
    raise typer.Exit(code)


@app.command(
    epilog=_examples(
        "rtcdp project -b localhost:9092 --redis redis://localhost:6379/0",
        "RTCDP_BOOTSTRAP=kafka:9092 RTCDP_REDIS=redis://redis:6379/0 rtcdp project",
    )
)
def project(
    *,
    bootstrap: BootstrapOption = None,
    redis: Annotated[str | None, typer.Option(help="Where the serving view is kept, redis://...", metavar="URL")] = None,
    app_name: AppOption = None,
    instance: Annotated[str | None, typer.Option(help="Name of this replica, for messages.", metavar="NAME")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, /healthz, /readyz; -1 for none.")] = None,
    config: ConfigOption = None,
) -> None:
    """Keep the serving view in Redis in step with the log: profiles, segments, identifiers, what happened last."""
    from rtcdp.projector.main import run

    raise typer.Exit(
        run(_settings(config, bootstrap=bootstrap, redis=redis, app=app_name, instance=instance, metrics_port=metrics_port))
    )


@app.command(epilog=_examples("rtcdp check examples/shop", "rtcdp check examples/shop --json"))
def check(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of YAML definitions.", metavar="DIR", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Check definitions; every error with file, line and column. Exit code 1 if there is one."""
    from rtcdp.rules.check import check as examine

    report = examine(folder)
    if json:
        _print_json(report.as_json())
    else:
        print(report)
    raise typer.Exit(WELL if report.ok else WRONG)


@app.command(epilog=_examples("rtcdp apply rules -b localhost:9092", "rtcdp apply rules -b localhost:9092 --wait 0 --json"))
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
    from rtcdp.applying import apply_folder

    done = apply_folder(_settings(config, bootstrap=bootstrap, app=app_name), folder, shadow=shadow, wait_s=wait)
    if json:
        _print_json(done.as_json())
    else:
        print(done)
    raise typer.Exit(WELL if done.switched == done.partitions else WRONG)


@app.command(
    epilog=_examples(
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

    settings = _settings(config, bootstrap=bootstrap, app=app_name)
    history = back.history(settings, events, is_log=profile_events, mapping=map_, since=from_, until=to)
    found = back.run(folder, against, history, until)
    if json:
        _print_json(found)
        return
    from rtcdp.simulate.backtest_view import show

    show(found)


@app.command(
    epilog=_examples(
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
    from rtcdp import cutting

    settings = _settings(config, bootstrap=bootstrap, app=app_name)
    found = cutting.compute(folder, cutting.population(settings))
    if json:
        _print_json([one.as_json() for one in found])
    else:
        cutting.show(found)
    if write or apply_:
        cutting.write(folder, found)
    if apply_:
        from rtcdp.applying import apply_folder

        print(apply_folder(settings, folder), file=sys.stderr)


@app.command(
    "test",
    epilog=_examples(
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
        _print_json(result.as_json())
    else:
        scenarios.print_result(result)
    raise typer.Exit(WRONG if result.failed or (strict and result.uncovered) else WELL)


@app.command(
    epilog=_examples(
        "rtcdp replay events.jsonl -d examples/shop --until 2025-03-01T00:00:00Z",
        "zcat *.gz | rtcdp replay - -d DIR --until +30d",
        "rtcdp replay rows.csv -d DIR --map user_id=uid,event=name,timestamp=at,message_id=@row,properties=*",
        "rtcdp replay log.jsonl -d DIR --profile-events",
    )
)
def replay(
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
        bool, typer.Option("--profile-events", help="The file is a recorded profile-events log.")
    ] = False,
    topics: Annotated[bool, typer.Option("--topics", help="Each line with its topic and key.")] = False,
) -> None:
    """Run the engine over a file, without Kafka; prints each record a worker would publish as one JSON line, in order."""
    from rtcdp.simulate.replay import ReplayOptions, run

    summary = run(ReplayOptions(events, tuple(definitions), until, map_, profile_events, topics), sys.stdout.buffer)
    print(summary, file=sys.stderr)


@app.command(
    epilog=_examples(
        "rtcdp profile user_id:u000042 -b localhost:9092 -d examples/shop",
        "rtcdp profile main/user_id:u000042 -b localhost:9092 --json",
    )
)
def profile(
    *,
    key: Annotated[str, typer.Argument(help="NAMESPACE:VALUE, or the whole key TENANT/NAMESPACE:VALUE.", metavar="KEY")],
    bootstrap: BootstrapOption = None,
    definitions: Annotated[
        Path | None, typer.Option("--definitions", "-d", help="Names for what the profile holds.", metavar="DIR")
    ] = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a profile as it stands, from the changelog. Exit code 1 if there is none."""
    from rtcdp.inspection import profile_at

    found = profile_at(_settings(config, bootstrap=bootstrap, definitions=definitions, app=app_name), key)
    if found is None:
        print(f"rtcdp: there is no profile {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        _print_json(found.as_json())
    else:
        found.show()


identity = typer.Typer(no_args_is_help=True, help="Who is whose: the identifiers of a person.", rich_markup_mode=None)
app.add_typer(identity, name="identity")


@identity.command(
    "show",
    epilog=_examples("rtcdp identity show user_id:u000042 -b localhost:9092", "rtcdp identity show anonymous_id:a-17 --json"),
)
def identity_show(
    *,
    key: Annotated[str, typer.Argument(help="NAMESPACE:VALUE of any of them, or TENANT/NAMESPACE:VALUE.", metavar="KEY")],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the person an identifier belongs to, and who linked what, when, by which event. Exit code 1 if there is none."""
    from rtcdp.inspection import people_of, show_people

    found = people_of(_settings(config, bootstrap=bootstrap, app=app_name), key)
    if found is None:
        print(f"rtcdp: nothing is known of {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        _print_json(found)
    else:
        show_people(found)


@app.command(
    epilog=_examples(
        "rtcdp why user_id:u000042 lapsed_buyers -b localhost:9092",
        "rtcdp why user_id:u000042 trigger:win_back -b localhost:9092 --json",
    )
)
def why(
    *,
    key: Annotated[str, typer.Argument(help="NAMESPACE:VALUE, or the whole key TENANT/NAMESPACE:VALUE.", metavar="KEY")],
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
    from rtcdp.why import explanation_of, show

    found = explanation_of(_settings(config, bootstrap=bootstrap, definitions=definitions, app=app_name), key, name, at)
    if found is None:
        print(f"rtcdp: there is no profile {key}", file=sys.stderr)
        raise typer.Exit(WRONG)
    if json:
        _print_json(found)
    else:
        show(found)


@app.command(epilog=_examples("rtcdp tick --until 2025-03-01T00:00:00Z -b localhost:9092"))
def tick(
    *,
    until: Annotated[str, typer.Option(help="RFC 3339 time.", metavar="TIME", show_default=False)],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Let time run on to a given moment where it moves only with the data (event time mode)."""
    from rtcdp.commands import tick as send

    send(_settings(config, bootstrap=bootstrap, app=app_name, sources=sources), until)
    print(f"time runs on to {until}")


@app.command(epilog=_examples("rtcdp rebuild -b localhost:9092"))
def rebuild(
    *,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a damaged or lost changelog anew from the log. The workers must be stopped."""
    from rtcdp.worker.rebuild import rebuild as make

    print(make(_settings(config, bootstrap=bootstrap, app=app_name, sources=sources), print))


FileArgument = Annotated[Path, typer.Argument(help="The backup.", metavar="FILE", show_default=False)]


@app.command(epilog=_examples("rtcdp backup shop.rtcdp -b localhost:9092"))
def backup(
    *,
    file: FileArgument,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a deployment's state and position into a file. The workers must be stopped."""
    from rtcdp.worker.backup import backup as take

    print(take(_settings(config, bootstrap=bootstrap, app=app_name, sources=sources), file))


@app.command(epilog=_examples("rtcdp restore shop.rtcdp -b other:9092"))
def restore(
    *,
    file: FileArgument,
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    sources: SourcesOption = None,
    config: ConfigOption = None,
) -> None:
    """Put a backup back: on another cluster, or under another app name with topics of its own."""
    from rtcdp.worker.backup import restore as put_back

    print(put_back(_settings(config, bootstrap=bootstrap, app=app_name, sources=sources), file))


ReasonOption = Annotated[str | None, typer.Option(help="Only letters with this reason.", metavar="WORD")]
OriginOption = Annotated[str | None, typer.Option(help="Only this one: TOPIC/PARTITION/OFFSET as listed.", metavar="ORIGIN")]


@dead_letters.command("list", epilog=_examples("rtcdp dlq list -b localhost:9092 --json"))
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
    from rtcdp.dlq import list_letters

    for letter in list_letters(_settings(config, bootstrap=bootstrap, app=app_name), reason=reason, origin=origin):
        print(letter.as_json() if json else letter)


@dead_letters.command(
    "replay",
    epilog=_examples(
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
    from rtcdp.dlq import replay as send_again

    if everything == bool(reason or origin):
        raise SettingError("dlq replay: say which letters with --reason or --origin, or --all for every one of them")
    settings = _settings(config, bootstrap=bootstrap, app=app_name, sources=sources)
    done = send_again(settings, reason=reason, origin=origin, dry_run=dry_run)
    print(f"{'would send' if dry_run else 'sent'} again: {done}")
    raise typer.Exit(WRONG if done.refused else WELL)


KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="File of write keys (or RTCDP_COLLECTOR_KEYS).", metavar="FILE")
]


@collector_app.callback(
    epilog=_examples(
        "rtcdp collector keys add web && rtcdp collector -b localhost:9092 --origins https://shop.example",
        "RTCDP_BOOTSTRAP=kafka:9092 RTCDP_COLLECTOR_HOST=0.0.0.0 rtcdp collector",
    )
)
def collector(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    bootstrap: BootstrapOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).", metavar="HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8080).")] = None,
    keys: KeysOption = None,
    origins: Annotated[
        str | None, typer.Option(help="Web pages that may send: https://shop.example,...", metavar="ORIGINS")
    ] = None,
    sources: SourcesOption = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, /healthz, /readyz; -1 for none.")] = None,
    config: ConfigOption = None,
) -> None:
    """Take events over HTTP, as Segment's SDKs send them, and write them to Kafka."""
    if context.invoked_subcommand is not None:
        return
    from rtcdp.serving.collector.main import run

    flags: dict[str, Any] = {"bootstrap": bootstrap, "sources": sources, "metrics_port": metrics_port}
    flags |= {"collector_host": host, "collector_port": port, "collector_keys": keys, "collector_origins": origins}
    raise typer.Exit(run(_settings(config, **flags)))


@write_keys.command(
    "add", epilog=_examples("rtcdp collector keys add web", "rtcdp collector keys add crm --server --rate 20000")
)
def keys_add(  # noqa: PLR0913 - one parameter an option
    *,
    source: Annotated[str, typer.Argument(help="Who sends: web, ios, crm, ...", metavar="SOURCE")],
    topic: Annotated[str | None, typer.Option(help="Which of the sources' topics (default: the first).")] = None,
    server: Annotated[bool, typer.Option("--server", help="A server sends: its address is no user's.")] = False,
    rate: Annotated[int | None, typer.Option(help="Events per second; 0 for any.", min=0)] = None,
    known: Annotated[bool, typer.Option("--known", help="Read the key from standard input; make none.")] = False,
    keys: KeysOption = None,
    sources: SourcesOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a write key. It is shown once; the file keeps its hash. A source has at most two."""
    from rtcdp.serving.collector.commands import add

    given = sys.stdin.readline().strip() if known else ""
    if known and not given:
        raise SettingError("key: there is none on standard input")
    settings = _settings(config, collector_keys=keys, sources=sources)
    made, text = add(settings, source, topic=topic, server=server, rate=rate, known=given)
    if json:
        _print_json({**made, "key": text})
    else:
        print(text)
        print(f"id {made['id']}, source {source}, topic {made['topic']}, tenant {made['tenant']}", file=sys.stderr)


@write_keys.command("list", epilog=_examples("rtcdp collector keys list --json"))
def keys_list(
    *, keys: KeysOption = None, sources: SourcesOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """List write keys, one line each: id, source, topic, tenant, since when, until when."""
    from rtcdp.serving.collector.commands import listed

    found = listed(_settings(config, collector_keys=keys, sources=sources))
    if json:
        _print_json(found)
        return
    for key in found:
        print("\t".join([*(key[name] for name in ("id", "source", "topic", "tenant", "created")), key["revoked"] or "active"]))


@write_keys.command("revoke", epilog=_examples("rtcdp collector keys revoke 3f9a0c12d4e5"))
def keys_revoke(
    *,
    key_id: Annotated[str, typer.Argument(help="Its id, as listed.", metavar="ID")],
    keys: KeysOption = None,
    config: ConfigOption = None,
) -> None:
    """End a write key. A running collector refuses it within two seconds."""
    from rtcdp.serving.collector.commands import revoke

    print(f"revoked: a key of {revoke(_settings(config, collector_keys=keys), key_id)['source']}")


@app.command(
    epilog=_examples(
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
    from rtcdp.up import run

    settings = _settings(config, definitions=definitions, destinations=destinations, bootstrap=bootstrap, app=app_name)
    raise typer.Exit(run(settings, config))


DestinationsOption = Annotated[
    Path | None, typer.Option("--destinations", help="Folder of YAML that says where to send what.", metavar="DIR")
]


@app.command(
    epilog=_examples(
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

    settings = _settings(
        config,
        destinations=destinations,
        bootstrap=bootstrap,
        app=app_name,
        sources=sources,
        instance=instance,
        metrics_port=metrics_port,
    )
    raise typer.Exit(run(settings))


@deliveries.command("check", epilog=_examples("rtcdp deliveries check examples/destinations"))
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


@deliveries.command("secret", epilog=_examples("rtcdp deliveries secret > /run/secrets/crm"))
def deliveries_secret() -> None:
    """Make a secret to sign webhooks with."""
    from rtcdp.delivery.dead import new_secret

    print(new_secret())


DestinationOption = Annotated[str | None, typer.Option(help="Only of this destination.", metavar="NAME")]
DeliveryOption = Annotated[str | None, typer.Option("--id", help="Only this delivery.", metavar="ID")]


@deliveries.command("list", epilog=_examples("rtcdp deliveries list -b localhost:9092 --destination crm --json"))
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
    from rtcdp.delivery.dead import Choice, as_json, list_dead, shown

    for dead in list_dead(_settings(config, bootstrap=bootstrap, app=app_name), Choice(destination, reason, delivery)):
        print(as_json(dead) if json else shown(dead))


@deliveries.command("replay", epilog=_examples("rtcdp deliveries replay -b localhost:9092 --destination crm --dry-run"))
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
    from rtcdp.delivery.dead import Choice, replay

    if everything == bool(destination or reason or delivery):
        raise SettingError("deliveries replay: say which with --destination, --reason or --id, or --all for every one")
    settings = _settings(config, bootstrap=bootstrap, app=app_name)
    done = replay(settings, Choice(destination, reason, delivery), dry_run=dry_run)
    print(f"{'would be' if dry_run else 'will be'} delivered again: {done}")


@deliveries.command("enable", epilog=_examples("rtcdp deliveries enable crm -b localhost:9092"))
def deliveries_enable(
    *,
    destination: Annotated[str, typer.Argument(help="Its name.", metavar="NAME", show_default=False)],
    bootstrap: BootstrapOption = None,
    app_name: AppOption = None,
    config: ConfigOption = None,
) -> None:
    """Turn a destination on again that said 410 (gone)."""
    from rtcdp.delivery.dead import enable

    enable(_settings(config, bootstrap=bootstrap, app=app_name), destination)
    print(f"{destination} is on again")


TokensOption = Annotated[Path | None, typer.Option("--tokens", help="File of tokens (or RTCDP_API_TOKENS).", metavar="FILE")]


@app.command(
    epilog=_examples(
        "rtcdp serve -b localhost:9092 --redis redis://localhost:6379/0 --link",
        "rtcdp tokens add shop --scope profiles && RTCDP_API_HOST=0.0.0.0 rtcdp serve --config rtcdp.toml",
    )
)
def serve(  # noqa: PLR0913 - one parameter an option
    *,
    bootstrap: BootstrapOption = None,
    redis: Annotated[str | None, typer.Option(help="Where the serving view is kept, redis://...", metavar="URL")] = None,
    app_name: AppOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).", metavar="HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8090).")] = None,
    tokens: TokensOption = None,
    link: Annotated[bool, typer.Option("--link", help="Print a link with a token for as long as this runs.")] = False,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, /healthz, /readyz; -1 for none.")] = None,
    config: ConfigOption = None,
) -> None:
    """Answer questions about profiles, segments and triggers over HTTP."""
    from rtcdp.serving.api.main import run

    flags: dict[str, Any] = {"bootstrap": bootstrap, "redis": redis, "app": app_name, "metrics_port": metrics_port}
    flags |= {"api_host": host, "api_port": port, "api_tokens": tokens}

    def show(address: str) -> None:
        print(address, flush=True)

    raise typer.Exit(run(_settings(config, **flags), link=show if link else None))


@tokens_app.command(
    "add",
    epilog=_examples(
        "rtcdp tokens add shop --scope profiles", "rtcdp tokens add crm --scope segments --scope stream --tenant eu"
    ),
)
def tokens_add(
    *,
    name: Annotated[str, typer.Argument(help="Whose it is.", metavar="NAME")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it is for; `rtcdp tokens scopes` lists them.")],
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Whose profiles (default: main).")] = None,
    expires: Annotated[str, typer.Option(help="When it ends, RFC 3339.", metavar="TIME")] = "",
    tokens: TokensOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token. It is shown once; the file keeps its hash."""
    from rtcdp.serving.api.tokens import TokenFile

    made, text = TokenFile(_settings(config, api_tokens=tokens).api_tokens).add(name, scope, tenant or ["main"], expires)
    if json:
        _print_json({"id": made.id, "name": name, "scopes": made.scopes, "tenants": made.tenants, "token": text})
    else:
        print(text)
        print(f"id {made.id}, scopes {', '.join(made.scopes)}, tenants {', '.join(made.tenants)}", file=sys.stderr)


@tokens_app.command("list", epilog=_examples("rtcdp tokens list --json"))
def tokens_list(*, tokens: TokensOption = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List tokens, one line each: id, name, scopes, tenants, since when, until when."""
    import msgspec

    from rtcdp.serving.api.tokens import TokenFile

    found = TokenFile(_settings(config, api_tokens=tokens).api_tokens).read()
    if json:
        _print_json([{name: value for name, value in msgspec.structs.asdict(one).items() if name != "hash"} for one in found])
        return
    for one in found:
        until = f"revoked {one.revoked}" if one.revoked else f"until {one.expires}" if one.expires else "active"
        print("\t".join([one.id, one.name, ",".join(one.scopes), ",".join(one.tenants), one.created, until]))


@tokens_app.command("revoke", epilog=_examples("rtcdp tokens revoke 3f9a0c12d4e5"))
def tokens_revoke(
    *,
    token_id: Annotated[str, typer.Argument(help="Its id, as listed.", metavar="ID")],
    tokens: TokensOption = None,
    config: ConfigOption = None,
) -> None:
    """End a token. A running server refuses it within two seconds."""
    from rtcdp.serving.api.tokens import TokenFile

    print(f"revoked: a token of {TokenFile(_settings(config, api_tokens=tokens).api_tokens).revoke(token_id).name}")


@tokens_app.command("scopes")
def tokens_scopes() -> None:
    """List what a token may be for."""
    from rtcdp.serving.api.tokens import SCOPES

    for name, text in SCOPES.items():
        print(f"{name}\t{text}")


if __name__ == "__main__":
    main()
