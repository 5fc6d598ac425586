"""The collector and its write keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcdp.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    SourcesOption,
    examples,
    print_json,
    settings_of,
)
from rtcdp.errors import SettingError

commands = typer.Typer()

collector_app = typer.Typer(invoke_without_command=True, no_args_is_help=False)


commands.add_typer(collector_app, name="collector")


write_keys = typer.Typer(help="Write keys: who may send to the collector.", no_args_is_help=True)


collector_app.add_typer(write_keys, name="keys")


KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="File of write keys (or RTCDP_COLLECTOR_KEYS).", metavar="FILE")
]


@collector_app.callback(
    epilog=examples(
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
    raise typer.Exit(run(settings_of(config, **flags)))


@write_keys.command(
    "add", epilog=examples("rtcdp collector keys add web", "rtcdp collector keys add crm --server --rate 20000")
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
    from rtcdp.control.audit import note
    from rtcdp.serving.collector.commands import add

    given = sys.stdin.readline().strip() if known else ""
    if known and not given:
        raise SettingError("key: there is none on standard input")
    settings = settings_of(config, collector_keys=keys, sources=sources)
    if settings.bootstrap:
        note(settings, "keys.add", about={"source": source})
    made, text = add(settings, source, topic=topic, server=server, rate=rate, known=given)
    if json:
        print_json({**made, "key": text})
    else:
        print(text)
        print(f"id {made['id']}, source {source}, topic {made['topic']}, tenant {made['tenant']}", file=sys.stderr)


@write_keys.command("list", epilog=examples("rtcdp collector keys list --json"))
def keys_list(
    *, keys: KeysOption = None, sources: SourcesOption = None, json: JsonOption = False, config: ConfigOption = None
) -> None:
    """List write keys, one line each: id, source, topic, tenant, since when, until when."""
    from rtcdp.serving.collector.commands import listed

    found = listed(settings_of(config, collector_keys=keys, sources=sources))
    if json:
        print_json(found)
        return
    for key in found:
        print("\t".join([*(key[name] for name in ("id", "source", "topic", "tenant", "created")), key["revoked"] or "active"]))


@write_keys.command("revoke", epilog=examples("rtcdp collector keys revoke 3f9a0c12d4e5"))
def keys_revoke(
    *,
    key_id: Annotated[str, typer.Argument(help="Its id, as listed.", metavar="ID")],
    keys: KeysOption = None,
    config: ConfigOption = None,
) -> None:
    """End a write key. A running collector refuses it within two seconds."""
    from rtcdp.control.audit import note
    from rtcdp.serving.collector.commands import revoke

    settings = settings_of(config, collector_keys=keys)
    if settings.bootstrap:
        note(settings, "keys.revoke", about={"key": key_id})
    print(f"revoked: a key of {revoke(settings, key_id)['source']}")
