"""A linear model in front of a 500-tree forest: who answers what, what it costs, and whether quality keeps on slices.

    python examples/adult.py --out adult
    python examples/adult_cascade.py adult

It runs `equipoise optimize` on the forest with the linear model as an alternative, and prints every composition that
was measured beside the best single model, with the verdict on each sex.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from equipoise import Result, optimize


def main() -> None:
    """Run the study in the folder that `adult.py` wrote, or read the one that is there, and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder that examples/adult.py wrote")
    parser.add_argument("--budget", default="5m", help="wall time of the study (default: %(default)s)")
    options = parser.parse_args()
    out = options.folder / "cascade-study"
    if (out / "result.json").is_file():
        result = Result.model_validate_json((out / "result.json").read_text())
    else:
        result = optimize(
            options.folder / "forest.skops",
            alternative=[str(options.folder / "linear.skops")],
            data=str(options.folder / "test.csv"),
            target="income",
            slice=["sex:0.01"],
            max_drop=0.01,
            price=0.0892,
            floor=0.8,
            budget=options.budget,
            out=out,
        )
    print(result.sentence)
    print_compositions(result)
    print_slices(result)
    if result.fallback is not None:
        proof = result.fallback.certificate
        print(
            f"\nunder pressure: {result.fallback.name}, accuracy {proof.quality.value:.4f} by itself, at least "
            f"{proof.quality.low:.4f} (floor {proof.floor}): {'offered' if result.fallback.offered else 'not offered'}"
        )
    print(f"\n{out / 'report.html'}")


def print_compositions(result: Result) -> None:
    """Every plan on the frontier, with its stages, its cost and its quality; and why others are not there."""
    print(f"\n{'$ per million':>14} {'accuracy':>9}  plan")
    for candidate in result.frontier:
        accuracy = f"{candidate.quality.value:.4f}" if candidate.quality else ""
        print(f"{candidate.usd_per_million_packed:>14.5f} {accuracy:>9}  {candidate.name}")
        for stage in candidate.stages:
            print(f"{'':>26}{stage.share_answered:>7.1%} answered by {stage.name}")
    for failure in result.rejected:
        if failure.recipe.steps and failure.recipe.steps[-1].technique in ("cascade", "ensemble"):
            print(f"{'left out:':>24}  {failure.name}\n{'':>26}{failure.reason}")


def print_slices(result: Result) -> None:
    """The verdict on each slice of what was chosen."""
    certificate = result.certificate
    if certificate is None:
        return
    print(f"\ncertified on {certificate.n:,} rows: {json.dumps(certificate.passed)}")
    for verdict in certificate.slices:
        difference = verdict.difference
        seen = "" if difference is None else f"loses {difference.value:+.4f}, at most {difference.high or 0:.4f}"
        print(f"  {verdict.name}: {verdict.verdict} ({verdict.n:,} rows; {seen})")


if __name__ == "__main__":
    main()
