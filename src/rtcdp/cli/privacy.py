"""Commands on what is kept about people, and on the keys it is encrypted with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtcdp.cli.options import ConfigOption, examples, settings_of

commands = typer.Typer()
privacy = typer.Typer(no_args_is_help=True, help="A person's rights, and the keys of what is kept.", rich_markup_mode=None)
commands.add_typer(privacy, name="privacy")


@privacy.command(epilog=examples("rtcdp privacy keygen /etc/rtcdp/master.key"))
def keygen(
    *, file: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.", metavar="FILE", show_default=False)]
) -> None:
    """Make a master key (setting `master_key_file`). Keep a copy elsewhere: without it nothing can be read."""
    from rtcdp.sealing.master import make_key_file

    make_key_file(file)
    print(f"{file}: a new master key; keep a copy of it in another place")


@privacy.command(
    epilog=examples(
        "rtcdp privacy rotate --to-file /etc/rtcdp/new.key -c rtcdp.toml",
        "rtcdp privacy rotate --to-command '/usr/local/bin/kms-wrap' -c rtcdp.toml",
    )
)
def rotate(
    *,
    to_file: Annotated[Path | None, typer.Option(help="The new master key.", metavar="FILE")] = None,
    to_command: Annotated[str, typer.Option(help="The program that asks for it.", metavar="COMMAND")] = "",
    config: ConfigOption = None,
) -> None:
    """Let another master key open the key store. Running processes go on; their settings must name the new one from then on."""
    from rtcdp.sealing.opening import rotate_master

    rotate_master(settings_of(config), to_file, to_command)
    print("the key store is opened by the new master key now; the old one opens nothing any more")
