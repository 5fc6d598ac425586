"""Commands that serve: the view in Redis, the HTTP API and its tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rtcdp.cli.options import (
    AppOption,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    examples,
    print_json,
    settings_of,
)

commands = typer.Typer()

tokens_app = typer.Typer(help="Tokens: who may ask the HTTP API what.", no_args_is_help=True)


commands.add_typer(tokens_app, name="tokens")


@commands.command(
    epilog=examples(
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
        run(settings_of(config, bootstrap=bootstrap, redis=redis, app=app_name, instance=instance, metrics_port=metrics_port))
    )


TokensOption = Annotated[Path | None, typer.Option("--tokens", help="File of tokens (or RTCDP_API_TOKENS).", metavar="FILE")]


@commands.command(
    epilog=examples(
        "rtcdp serve -b localhost:9092 --redis redis://localhost:6379/0 --link",
        "rtcdp tokens add shop --role read-masked && RTCDP_API_HOST=0.0.0.0 rtcdp serve --config rtcdp.toml",
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

    raise typer.Exit(run(settings_of(config, **flags), link=show if link else None))


@tokens_app.command(
    "add",
    epilog=examples(
        "rtcdp tokens add shop --role read-masked", "rtcdp tokens add crm --scope segments --scope stream --tenant eu"
    ),
)
def tokens_add(
    *,
    name: Annotated[str, typer.Argument(help="Whose it is.", metavar="NAME")],
    role: Annotated[list[str] | None, typer.Option("--role", help="What it is for; `rtcdp tokens roles` lists them.")] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="In detail; `rtcdp tokens scopes` lists them.")] = None,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Whose profiles (default: main).")] = None,
    expires: Annotated[str, typer.Option(help="When it ends, RFC 3339.", metavar="TIME")] = "",
    tokens: TokensOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token. It is shown once; the file keeps its hash."""
    from rtcdp.control.audit import note
    from rtcdp.serving.api.tokens import TokenFile, scopes_of

    scopes = scopes_of(role or (), scope or ())
    settings = settings_of(config, api_tokens=tokens)
    if settings.bootstrap:  # else the servers write it down when they see it
        note(settings, "tokens.add", about={"name": name, "scopes": ",".join(scopes)})
    made, text = TokenFile(settings.api_tokens).add(name, scopes, tenant or ["main"], expires)
    if json:
        print_json({"id": made.id, "name": name, "scopes": made.scopes, "tenants": made.tenants, "token": text})
    else:
        print(text)
        print(f"id {made.id}, scopes {', '.join(made.scopes)}, tenants {', '.join(made.tenants)}", file=sys.stderr)


@tokens_app.command("list", epilog=examples("rtcdp tokens list --json"))
def tokens_list(*, tokens: TokensOption = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List tokens, one line each: id, name, scopes, tenants, since when, until when."""
    import msgspec

    from rtcdp.serving.api.tokens import TokenFile

    found = TokenFile(settings_of(config, api_tokens=tokens).api_tokens).read()
    if json:
        print_json([{name: value for name, value in msgspec.structs.asdict(one).items() if name != "hash"} for one in found])
        return
    for one in found:
        until = f"revoked {one.revoked}" if one.revoked else f"until {one.expires}" if one.expires else "active"
        print("\t".join([one.id, one.name, ",".join(one.scopes), ",".join(one.tenants), one.created, until]))


@tokens_app.command("revoke", epilog=examples("rtcdp tokens revoke 3f9a0c12d4e5"))
def tokens_revoke(
    *,
    token_id: Annotated[str, typer.Argument(help="Its id, as listed.", metavar="ID")],
    tokens: TokensOption = None,
    config: ConfigOption = None,
) -> None:
    """End a token. A running server refuses it within two seconds."""
    from rtcdp.control.audit import note
    from rtcdp.serving.api.tokens import TokenFile

    settings = settings_of(config, api_tokens=tokens)
    if settings.bootstrap:
        note(settings, "tokens.revoke", about={"token": token_id})
    print(f"revoked: a token of {TokenFile(settings.api_tokens).revoke(token_id).name}")


@tokens_app.command("scopes", epilog=examples("rtcdp tokens scopes"))
def tokens_scopes() -> None:
    """List what a token may be for."""
    from rtcdp.serving.api.tokens import SCOPES

    for name, text in SCOPES.items():
        print(f"{name}\t{text}")


@tokens_app.command("roles", epilog=examples("rtcdp tokens roles"))
def tokens_roles() -> None:
    """List roles, and the scopes that each has."""
    from rtcdp.serving.api.tokens import COLLECT, ROLES

    print(f"{COLLECT}\t(a write key: rtcdp collector keys add)")
    for name, scopes in ROLES.items():
        print(f"{name}\t{','.join(scopes)}")
