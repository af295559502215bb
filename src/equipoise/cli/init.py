"""`equipoise init`: write a commented brief to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("brief.toml"))
def init(path: Path) -> None:
    """Write a commented brief (TOML) to PATH, to be filled in and given to `equipoise optimize`."""
    from equipoise.errors import BriefError
    from equipoise.ingest.template import brief_template

    if path.exists():
        raise BriefError(str(path), "it is already there", "give another path, or move it away")
    path.write_text(brief_template(), encoding="utf-8")
    click.echo(f"wrote {path}; fill it in, then: equipoise optimize {path}")
