"""`equipoise optimize`: from a model and data to a certified, cheaper way to serve it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from equipoise.ingest.brief_keys import KEYS, BriefKey

REPEATABLE = ("alternative", "slice", "ood", "corrupt")
FLAGS = ("trust", "real_golden_rows", "show_rows")
INFEASIBLE, INTERRUPTED = 3, 130


def _option(key: BriefKey) -> click.Option:
    repeat = " Repeatable." if key.argument in REPEATABLE else ""
    shared: dict[str, Any] = {"default": None, "help": key.about + repeat}
    if key.argument in FLAGS:
        return click.Option([key.option, key.argument], is_flag=True, **shared)
    metavar = {
        "slice": "COL:DROP",
        "ood": "NAME=PATH:DROP",
        "corrupt": "NAME[:1-5][:DROP]",
        "owned": "CAPEX,MONTHS,WATTS,USD_PER_KWH",
    }
    return click.Option(
        [key.option, key.argument],
        multiple=key.argument in REPEATABLE,
        metavar=metavar.get(key.argument, "VALUE"),
        **shared,
    )


def _optimize(source: Path, out: Path | None, resume: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Find the cheapest way to serve SOURCE within the limits, prove it, and write a bundle.

    SOURCE is a model (.onnx, .xml, .tflite, .pt2, .skops, or with --trust .joblib and .pkl), a function of yours that
    makes a PyTorch module (module:function), or a brief (.toml), which options override; with --resume it may be left
    out.

    Exit status: 0 to replace or keep the model, 2 for wrong input, 3 where nothing meets the limits, 130 when
    interrupted.
    """
    from equipoise.cli.answer import show_answer
    from equipoise.cli.live import watching
    from equipoise.flow.optimize import Interrupted, optimize_from

    given = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        with watching(quiet or as_json) as watcher:
            result, folder = optimize_from(source, given, out=out, resume=resume, watcher=watcher)
    except Interrupted as stop:
        kept = "nothing was kept" if stop.folder is None else f"go on with: equipoise optimize --resume {stop.folder}"
        click.echo(f"interrupted; {kept}", err=True)
        sys.exit(INTERRUPTED)
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        show_answer(result, folder)
    if result.decision == "infeasible":
        sys.exit(INFEASIBLE)


optimize = click.Command(
    "optimize",
    callback=_optimize,
    help=_optimize.__doc__,
    params=[
        click.Argument(["source"], type=click.Path(path_type=Path), required=False),
        *(_option(key) for key in KEYS if key.argument != "model"),
        click.Option(["--out"], type=click.Path(path_type=Path), help="Folder for the answer; a new one by default."),
        click.Option(["--resume"], type=click.Path(path_type=Path), help="Folder of a study to go on with."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print result.json instead of a summary."),
        click.Option(["--quiet", "-q"], is_flag=True, help="Show no progress."),
    ],
)
