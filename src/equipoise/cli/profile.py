"""`equipoise profile`: which layers and operators of a model cost what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from equipoise.core.anatomy import Anatomy

MOST_LAYERS, MOST_KINDS = 12, 12


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Rows, images or texts to feed; random rows without it.")
@click.option("--preprocess", metavar="FILE", help="How images or texts become inputs, as in a study.")
@click.option("--text-column", metavar="NAME", help="The column of text, or two (A,B) for pairs.")
@click.option("--state-dict", type=click.Path(path_type=Path), help="Weights, where MODEL is module:function.")
@click.option("--columns", metavar="A,B,C", help="Column names of a CSV file that has no header.")
@click.option(
    "--runtime", metavar="NAME", help="onnxruntime, openvino, torch or sklearn; the model's native one without it."
)
@click.option("--precision", metavar="NAME", help="f32, bf16, f16 or int8; the model's own without it.")
@click.option("--batch", metavar="N", help="Rows at once (default 1).")
@click.option("--threads", metavar="N", help="Threads that compute (default: every core; 1 for scikit-learn).")
@click.option("--length", metavar="N", help="Size of every axis that the model leaves free, a text's length say.")
@click.option("--shape", metavar="INPUT=N,N", multiple=True, help="Shape of a row of one input. Repeatable.")
@click.option("--seconds", metavar="S", help="How long to measure, about (default 10).")
@click.option("--seed", metavar="N", help="For random rows (default 0).")
@click.option("--trust", is_flag=True, help="Open a pickle, which can run any code.")
@click.option("--remeasure", is_flag=True, help="Measure again what this machine can do at most.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for anatomy.json and anatomy.html.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def profile(model: Path, out: Path | None, as_json: bool, **given: Any) -> None:
    """Find out which layers and operators of MODEL cost what on this machine: time, FLOPs, weights, bytes.

    MODEL is an .onnx, .xml, .tflite, .pt2 or .skops file, or module:function, which needs --data. How near each layer
    comes to what the machine can do is told by its roofline, which is measured once and kept.
    """
    from contextlib import nullcontext

    from rich.console import Console

    from equipoise.flow.profile import profile_model, write_anatomy
    from equipoise.flow.profile_options import profile_options

    options = profile_options(model, given, lambda name: "--" + name.replace("_", "-"))
    progress = Console(stderr=True)
    status = progress.status("starting") if progress.is_terminal else None
    with status or nullcontext():
        anatomy = profile_model(options, nobody if status is None else status.update)
    if out is not None:
        write_anatomy(anatomy, out)
    if as_json:
        click.echo(anatomy.model_dump_json(indent=1))
    else:
        _show(anatomy, out)


def nobody(_: str) -> None:
    """Whom to tell where nobody watches."""


def _show(anatomy: Anatomy, out: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    from equipoise.report.anatomy import LAYER_COLUMNS, OPERATOR_COLUMNS, dearest, key_rows, layer_rows, operator_rows

    console = Console(highlight=False)
    console.print(f"\n[bold]{escape(anatomy.model)}[/bold]\n")
    _print_table(console, ("", ""), key_rows(anatomy), left=(0, 1))
    _print_table(console, OPERATOR_COLUMNS, operator_rows(anatomy)[:MOST_KINDS])
    rows = layer_rows(dearest(anatomy, MOST_LAYERS))
    _print_table(console, _shown(LAYER_COLUMNS), [_shown(row) for row in rows], left=(0, 1))
    if len(anatomy.layers) > MOST_LAYERS:
        every = "anatomy.html" if out is not None else "--out FOLDER"
        console.print(f"the {MOST_LAYERS} dearest of {len(anatomy.layers):,} layers; all of them: {every}\n")
    for note in anatomy.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    if out is not None:
        console.print(f"\n{escape(str(out / 'anatomy.html'))}  the pictures; anatomy.json beside it the figures")


def _shown(cells: tuple[str, ...]) -> tuple[str, ...]:
    """What fits on a terminal of 80 characters."""
    return (*cells[:5], cells[-1])


def _print_table(
    console: Console, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = (0,)
) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, box=None, show_header=any(columns))
    for place, heading in enumerate(columns):
        folds = place == 0 or not heading
        table.add_column(heading, justify="left" if place in left else "right", overflow="fold", no_wrap=not folds)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    console.print()
