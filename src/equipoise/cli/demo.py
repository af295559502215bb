"""`equipoise demo`: the whole loop on scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the demo; a new one by default.")
@click.option("--budget", default="60s", show_default=True, help="Wall time for the study.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def demo(out: Path | None, budget: str, quiet: bool) -> None:
    """Train a 200-tree forest on real handwritten digits, and find the cheapest way to serve it."""
    from equipoise.cli.answer import show_answer
    from equipoise.cli.live import watching
    from equipoise.flow.demo import write_demo_inputs
    from equipoise.flow.optimize import new_folder, optimize_from

    folder = out or new_folder(Path("demo"))
    model, data = write_demo_inputs(folder)
    options = {"data": str(data), "max_drop": "0.02", "budget": budget}
    with watching(quiet) as watcher:
        result, answer = optimize_from(model, options, out=folder / "answer", watcher=watcher)
    show_answer(result, answer)
