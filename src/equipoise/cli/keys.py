"""`equipoise keys`: make and remove the keys that a server asks its callers for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

FILE = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("keys.json"),
    show_default=True,
    help="Where keys are known.",
)


@click.group()
def keys() -> None:
    """Make and remove keys for `equipoise serve --keys FILE`.

    FILE holds hashes: a key is shown once, when it is made. A server that runs notices a change within about a second.
    """


@keys.command()
@click.argument("name")
@FILE
@click.option(
    "--role",
    type=click.Choice(["infer", "admin"]),
    default="infer",
    show_default=True,
    help="Ask for answers, or also change what is served.",
)
@click.option("--rate", metavar="N/s|m|h", help="At most N requests a second, minute or hour. [default: no limit]")
def add(name: str, path: Path, role: Literal["infer", "admin"], rate: str | None) -> None:
    """Make a key, called NAME in logs and metrics, and print it."""
    from equipoise.endpoint.keys import add_key

    key = add_key(path, name, role, rate)
    click.echo(f"{path} knows {name} ({role}) from now on; this is the key, which is kept nowhere else:", err=True)
    click.echo(key)


@keys.command()
@click.argument("name")
@FILE
def remove(name: str, path: Path) -> None:
    """Forget the key of NAME."""
    from equipoise.endpoint.keys import remove_key

    remove_key(path, name)
    click.echo(f"{path} no longer knows {name}")


@keys.command(name="list")
@FILE
def list_(path: Path) -> None:
    """Print whose keys are known, their roles and rates."""
    from equipoise.endpoint.keys import read_keys

    for entry in read_keys(path):
        click.echo(f"{entry.name}\t{entry.role}\t{entry.rate or 'no limit'}")
