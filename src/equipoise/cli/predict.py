"""`equipoise predict`: answer a file of rows with a bundle."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--data", required=True, type=FILE, help="Rows: .npz, .csv, .parquet, texts; an image, a folder of them.")
@click.option("--out", type=FILE, help="Answers: .npz, .csv or .parquet; where it is not given, they are printed.")
@click.option("--columns", help="Column names of a CSV file without a header, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="Print answers as JSON lines; with --out, say what was written.")
def predict(bundle: Path, data: Path, out: Path | None, columns: str | None, as_json: bool) -> None:
    """Answer every row of --data with BUNDLE, a piece at a time, and write the answers to --out, or print them."""
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
    quiet = out is None or not console.is_terminal
    with TemporaryDirectory() as folder, Progress(*shown, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=1.0, rows=0)
        place = out or Path(folder) / ("answers.parquet" if as_json else "answers.csv")
        done = predict_file(
            opened, data, place, lambda rows, share: bar.update(task, completed=share, rows=rows), header=header
        )
        if out is None:
            printed = _json_lines(place) if as_json else place.read_text(encoding="utf-8")
    seconds = time.perf_counter() - began
    if out is None:
        click.echo(printed, nl=False)
    elif as_json:
        click.echo(json.dumps({"out": str(done.out), "rows": done.rows, "columns": done.columns, "seconds": seconds}))
    else:
        click.echo(f"wrote {done.rows:,} answers ({', '.join(done.columns)}) to {done.out} in {seconds:.1f} s")


def _json_lines(answers: Path) -> str:
    """Rows of a Parquet file, an object a line; null for what is no number in JSON, NaN and infinity."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(answers).to_pylist()
    return "".join(f"{json.dumps(_in_json(row), allow_nan=False)}\n" for row in rows)


def _in_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_in_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
