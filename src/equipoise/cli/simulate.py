"""`equipoise simulate`: what a bundle's machines would do under some traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from equipoise.core.simulation import SimulationResult


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--trace", type=click.Path(path_type=Path), help="CSV of requests, replayed as it is: timestamp, key ...")
@click.option("--rate", metavar="RPS", help="Mean requests a second of made-up traffic.")
@click.option("--arrivals", metavar="KIND", help="How those arrive: poisson (default), constant or bursty.")
@click.option("--seconds", metavar="S", help="How long; of a trace, the busiest stretch of that length.")
@click.option("--machines", metavar="K", help="How many machines share the traffic (default 1).")
@click.option("--p99-ms", metavar="MS", help="The p99 limit; without it, the plan's own.")
@click.option("--price", metavar="USD", help="Price of a machine an hour; without it, the plan's own.")
@click.option("--seed", metavar="N", help="For all draws (default 0).")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for simulation.json and simulation.html.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def simulate(bundle: Path, out: Path | None, as_json: bool, **given: Any) -> None:
    """Play traffic against BUNDLE's plan on machines as it was measured, without running a model.

    Batches, stages, cache, fallback and refusals are decided as the server decides them. Without --trace and --rate the
    machines get 70% of what they could answer.
    """
    from equipoise.flow.simulate import simulate_bundle, simulate_options, write_simulation
    from equipoise.store.bundle import read_bundle

    options = simulate_options(given, lambda name: "--" + name.replace("_", "-"))
    result = simulate_bundle(read_bundle(bundle), options)
    if out is not None:
        write_simulation(result, out)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        _show(result, out)


def _show(result: SimulationResult, out: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from equipoise.report.simulation import fleet_rows, load_columns, load_rows

    console = Console(highlight=False)
    console.print(f"\n[bold]{escape(result.plan)}[/bold] under {escape(result.traffic)}\n")
    counts = [fleet.machines for fleet in result.fleets]
    headings = ["", *("1 machine" if count == 1 else f"{count:,} machines" for count in counts)]
    for columns, rows in ((headings, fleet_rows(result)), (load_columns(result), load_rows(result))):
        table = Table(show_edge=False, pad_edge=False, box=None)
        for place, heading in enumerate(columns):
            table.add_column(heading, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
        console.print()
    for note in result.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    if out is not None:
        console.print(f"\n{escape(str(out / 'simulation.html'))}  the pictures; simulation.json beside it the figures")
