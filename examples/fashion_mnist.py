"""Teach small networks what the Fashion-MNIST teacher knows, and see what the cheapest that provably does saves.

Run `examples/fashion_mnist_teacher.py` first. The study tries the forms that need no training (int8, bfloat16, other
runtimes) beside students, pruned, factorised and shallower forms of the teacher, each with its own int8 forms, and
certifies the cheapest within one point of accuracy.

    python examples/fashion_mnist_teacher.py --out fashion
    python examples/fashion_mnist.py fashion
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from equipoise.flow.optimize import optimize_from
from equipoise.flow.progress import Progress


def main() -> None:
    """Run the study, and print what it found."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "fashion_mnist"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder that fashion_mnist_teacher.py wrote to")
    parser.add_argument("--data", type=Path, default=default, help="folder with train.npz and test.npz")
    parser.add_argument("--budget", default="10m", help="wall time of the study, training apart (default: %(default)s)")
    parser.add_argument(
        "--train-minutes", type=float, default=15.0, help="wall time of training (default: %(default)s)"
    )
    options = parser.parse_args()
    teacher = options.folder / "teacher.pt2"
    if not teacher.is_file():
        parser.error(
            f"{options.folder} holds no teacher.pt2; run fashion_mnist_teacher.py --out {options.folder} first"
        )
    wishes = {
        "data": str(options.data / "test.npz"),
        "train": str(options.data / "train.npz"),
        "max_drop": "0.01",
        "budget": options.budget,
        "train_minutes": options.train_minutes,
    }
    result, folder = optimize_from(teacher, wishes, out=options.folder / "study", watcher=say)
    print(f"\n{result.sentence}\n")
    tuned = result.baseline_tuned.usd_per_million_packed
    print(f"the teacher, tuned: ${tuned:.4g} a million answers")
    for candidate in sorted(result.frontier, key=lambda each: each.usd_per_million_packed):
        usd, quality = candidate.usd_per_million_packed, candidate.quality
        accuracy = "" if quality is None else f", accuracy {quality.value:.4f}"
        print(f"{tuned / usd:5.1f} times cheaper: {candidate.name}: ${usd:.4g}{accuracy}")
    if result.payback is not None and result.payback.saved_per_million_usd is not None:
        payback = result.payback
        print(f"against the best without training, {payback.instead_of}:")
        print(f"  {payback.plan} saves ${payback.saved_per_million_usd:.4g} a million answers")
        answers = "never" if payback.requests is None else f"after {payback.requests:,.0f} answers"
        print(f"  training cost ${payback.training_usd:.4g}, paid back {answers}")
    print(f"\n{folder / 'report.html'}")


def say(progress: Progress) -> None:
    """Print what the study is doing."""
    print(f"[{progress.elapsed_s:4.0f} s] {progress.doing}", flush=True)


if __name__ == "__main__":
    main()
