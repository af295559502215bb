"""`equipoise predict`: answer a file of rows with a bundle."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Rows: .npz, .csv or .parquet.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Answers: .npz, .csv or .parquet.")
@click.option("--columns", help="Column names of a CSV file without a header, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def predict(bundle: Path, data: Path, out: Path, columns: str | None, as_json: bool) -> None:
    """Answer every row of --data with BUNDLE, a piece at a time, and write the answers to --out."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from equipoise.execute.predict_file import predict_file
    from equipoise.ingest.spellings import names
    from equipoise.store.bundle import read_bundle

    began = time.perf_counter()
    header = None if columns is None else names(columns, "--columns")
    opened = read_bundle(bundle)
    shown = (TextColumn("{task.fields[rows]:,} rows"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0, rows=0)
        done = predict_file(
            opened, data, out, lambda rows, share: bar.update(task, completed=share, rows=rows), header=header
        )
    seconds = time.perf_counter() - began
    if as_json:
        click.echo(json.dumps({"out": str(done.out), "rows": done.rows, "columns": done.columns, "seconds": seconds}))
    else:
        click.echo(f"wrote {done.rows:,} answers ({', '.join(done.columns)}) to {done.out} in {seconds:.1f} s")
