"""Compare Equipoise with the optimisers people use: same model, same rows, same machine, same time budget.

Everything that a tool makes is judged by the same test on the same rows, which none of the tools has seen, and timed in
turns with everything else: once as the tool leaves it, and once with the best threads, replicas and batch that our own
sweep finds for it. Only ratios of things timed side by side are printed.

    python benchmarks/optimizers/run.py        # ResNet-56 and a 500-tree forest, 4 minutes a tool, about 25 in all
    python benchmarks/optimizers/run.py --model m.onnx --data test.npz --calibration calibration.npz
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contest import Case, contest
from table import dearer_than, markdown, verdict

from equipoise.errors import InputError
from equipoise.host.environment import environment
from equipoise.ingest.spellings import duration_s

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUDGET, RACE_SHARE = "4m", 0.5
QUICK_BUDGET_S = 20.0
MAX_DROP = 0.01


def main() -> None:
    """Run the contests and print a table and a verdict for each."""
    options = _options()
    budget_s = QUICK_BUDGET_S if options.quick else duration_s(options.budget, "--budget")
    out = options.out or Path(tempfile.mkdtemp(prefix="equipoise-optimizers-"))
    out.mkdir(parents=True, exist_ok=True)
    # Children must find the tools, and the person's register of opened rows is none of a benchmark's business.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    os.environ["EQUIPOISE_STORE"] = f"sqlite:///{out.resolve() / 'store.db'}"

    machine = environment()
    report: dict[str, Any] = {"budget_s": budget_s, "environment": machine.model_dump(), "cases": {}}
    print(f"{machine.cpu_model}, {machine.cores} cores; {budget_s:g} s for each tool; files in {out}\n")
    begin = time.monotonic()

    def tell(doing: str) -> None:
        print(f"[{time.monotonic() - begin:5.0f} s] {doing}", file=sys.stderr, flush=True)

    holds = True
    for case in _cases(options, out):
        rows = contest(case, budget_s, RACE_SHARE * budget_s, out / case.name, tell)
        breaks = dearer_than(rows)
        holds = holds and not breaks
        report["cases"][case.name] = {"rows": [row.model_dump() for row in rows], "dearer_than": breaks}
        (out / "result.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
        print(f"## {case.name}\n\n{markdown(rows)}\n\n{verdict(case.name, breaks)}\n", flush=True)
    print(f"ours is never dearer at equal certified quality: {str(holds).lower()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    data = Path(os.environ.get("EQUIPOISE_DATA", REPOSITORY.parent / "shared" / "data"))
    parser.add_argument("--budget", default=BUDGET, help="wall time for each tool (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_BUDGET_S:g} s a tool: to see that it runs at all")
    parser.add_argument("--out", type=Path, help="new folder for everything (default: a temporary one)")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one (default: all)")
    parser.add_argument("--shared", type=Path, default=data, help="folder of the real data (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="compare on a model of your own instead")
    parser.add_argument("--data", type=Path, help="its rows")
    parser.add_argument("--target", help="its target")
    parser.add_argument("--calibration", type=Path, help="rows to calibrate with")
    parser.add_argument("--max-drop", default=str(MAX_DROP), help="loss that is acceptable (default: %(default)s)")
    options = parser.parse_args()
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        parser.error(f"--out {options.out} is not empty; give a new folder")
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data go together")
    if options.model is None and not options.shared.is_dir():
        parser.error(f"no real data at {options.shared}; set EQUIPOISE_DATA, or give --model and --data")
    return options


def _cases(options: argparse.Namespace, out: Path) -> list[Case]:
    if options.model is None:
        return [CASES[name](options.shared, out, options.max_drop) for name in options.case or CASES]
    given = {name: getattr(options, name) for name in ("model", "data", "target", "calibration", "max_drop")}
    return [Case(options.model.stem, given)]


def _resnet56(shared: Path, out: Path, max_drop: str) -> Case:  # noqa: ARG001
    """A trained ResNet-56 on images of another compression than it was trained on."""
    images = shared / "cifar10"
    return Case(
        "resnet56",
        {
            "model": images / "resnet56.onnx",
            "data": images / "test.npz",
            "calibration": images / "calibration.npz",
            "max_drop": max_drop,
        },
    )


def _adult_forest(shared: Path, out: Path, max_drop: str) -> Case:
    """A scikit-learn pipeline with a forest of 500 trees, trained by one of the examples."""
    folder = out / "adult"
    example = REPOSITORY / "examples" / "adult.py"
    subprocess.run(
        [sys.executable, str(example), "--data", str(shared / "adult"), "--out", str(folder)],
        check=True,
        stdout=sys.stderr,
    )
    return Case(
        "adult-forest",
        {
            "model": folder / "forest.skops",
            "data": folder / "test.csv",
            "target": "income",
            "max_drop": max_drop,
        },
    )


CASES = {"resnet56": _resnet56, "adult-forest": _adult_forest}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"run.py: {error}")
