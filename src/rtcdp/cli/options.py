"""What several commands share: exit codes, options, settings, JSON on standard output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rtcdp.settings.config import Settings

WELL, WRONG, CANNOT_RUN = 0, 1, 2


def examples(*lines: str) -> str:
    """The end of a command's help: one example a line."""
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *lines))


BootstrapOption = Annotated[
    str | None, typer.Option("--bootstrap", "-b", help="Kafka's addresses, host:port,... (or RTCDP_BOOTSTRAP).", metavar="B")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings as TOML (or RTCDP_CONFIG).", metavar="FILE")]
AppOption = Annotated[str | None, typer.Option("--app", help="Name of the deployment (default `rtcdp`).", metavar="NAME")]
SourcesOption = Annotated[
    str | None, typer.Option(help="Topics of raw events, TOPIC or TOPIC:event, comma-separated.", metavar="TOPICS")
]
KeyArgument = Annotated[
    str, typer.Argument(help="NAMESPACE:VALUE of any identifier, or TENANT/NAMESPACE:VALUE.", metavar="KEY", show_default=False)
]
ByOption = Annotated[str | None, typer.Option(help="Who asks for it (default: your login name).", metavar="NAME")]
ReasonOption = Annotated[str | None, typer.Option(help="Only letters with this reason.", metavar="WORD")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def settings_of(config: Path | None, **flags: Any) -> Settings:
    """Settings from flags, the environment and one TOML file."""
    from rtcdp.settings.config import Settings

    return Settings.load(flags, file=config)


def login_name() -> str:
    """Who runs the command, as far as the machine knows."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return ""


def print_json(value: Any) -> None:
    """Write a value for machines."""
    import msgspec
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=msgspec.to_builtins).decode())
