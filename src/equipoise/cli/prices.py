"""`equipoise prices`: what machines cost, and where that is known from."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def prices() -> None:
    """Show the prices that `--instance` knows, or add some of your own."""


@prices.command("list")
@click.option("--filter", "wanted", default="", help="Only instances whose name contains this, such as c7i or aws:.")
def list_prices(wanted: str) -> None:
    """List instances with their price an hour, its source and its date."""
    from equipoise.ingest.prices import known_prices

    rows = [row for row in known_prices() if wanted.lower() in row.name.lower()]
    if not rows:
        click.echo(f"no known instance has {wanted!r} in its name")
        return
    width = max(len(row.name) for row in rows)
    click.echo(f"{'instance':<{width}}  {'vCPUs':>5}  {'GiB':>7}  {'arch':<6}  {'USD/h':>9}  {'dated':<10}  source")
    for row in rows:
        memory = "" if row.memory_mib is None else f"{row.memory_mib / 1024:g}"
        gpu = f"; GPU {row.gpu}" if row.gpu else ""
        click.echo(
            f"{row.name:<{width}}  {row.vcpus:>5}  {memory:>7}  {row.arch:<6}  {row.usd_per_hour:>9.5g}  "
            f"{row.dated:<10}  {row.source}{gpu}"
        )


@prices.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--provider", help="Where the machines can be had, such as aws, where the file does not say it.")
@click.option("--dated", help="Day the prices are of, YYYY-MM-DD, where neither the file nor its name says it.")
def import_(file: Path, provider: str | None, dated: str | None) -> None:
    """Add a CSV file of prices to your own table, which is looked in first."""
    from equipoise.ingest.prices import import_prices, own_table

    count = import_prices(file, provider, dated)
    click.echo(f"{count:,} prices taken in; they are kept in {own_table()}")
