"""Distil the 500-tree census forest into small trees, a linear model and a small network; see which of them may serve.

Run `examples/adult.py` first. The study trains students on the forest's own answers to the training rows, judges each
on rows that none of them saw, for men and women apart, and serves the cheapest that provably loses at most a point on
either; or it says which student fails where.

    python examples/adult.py --out adult
    python examples/adult_distilled.py adult
"""

from __future__ import annotations

import argparse
from pathlib import Path

from equipoise.flow.optimize import optimize_from
from equipoise.flow.progress import Progress

STUDENTS = ("distil_trees", "distil_linear", "distil_mlp")


def main() -> None:
    """Run the study, and print what became of each student."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder that adult.py wrote to")
    parser.add_argument("--budget", default="6m", help="wall time of the study, training apart (default: %(default)s)")
    parser.add_argument("--train-minutes", type=float, default=4.0, help="wall time of training (default: %(default)s)")
    options = parser.parse_args()
    if not (options.folder / "forest.skops").is_file():
        parser.error(f"{options.folder} holds no forest.skops; run examples/adult.py --out {options.folder} first")
    wishes = {
        "data": str(options.folder / "test.csv"),
        "train": str(options.folder / "train.csv"),
        "target": "income",
        "slice": ["sex:0.01"],
        "budget": options.budget,
        "train_minutes": options.train_minutes,
    }
    out = options.folder / "forest-distilled"
    result, folder = optimize_from(options.folder / "forest.skops", wishes, out=out, watcher=say)
    print(f"\n{result.sentence}\n")
    for candidate in result.frontier:
        if any(student in candidate.name for student in STUDENTS):
            quality = "" if candidate.quality is None else f", accuracy {candidate.quality.value:.4f}"
            print(f"on the frontier: {candidate.name}: ${candidate.usd_per_million_packed:.4g} a million{quality}")
    for failure in result.rejected:
        if any(student in failure.name for student in STUDENTS):
            print(f"rejected: {failure.name}: {failure.reason}")
    print(f"\n{folder / 'report.html'}")


def say(progress: Progress) -> None:
    """Print what the study is doing."""
    print(f"[{progress.elapsed_s:4.0f} s] {progress.doing}", flush=True)


if __name__ == "__main__":
    main()
