"""What serving costs a model that has something to compute: served throughput beside a tight loop on the same core.

A ResNet-56 (CIFAR-10) and a model shaped like a ResNet-50 are asked over HTTP, binary tensors, by enough connections to
keep batches full. Then the same plan computes batches of the very sizes that the server made, in their order, in a
loop in one process on the server's core. The two take turns; the ratio of rows a second is taken within a turn.

    python benchmarks/serving/engine_overhead.py [--quick]        # about 4 minutes
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bundles import CIFAR, Made, StageOf, cifar_images, make_bundle, on_core, real, resnet50
from claims import at_least, at_most, options_of, report
from load import closed, pin
from observed import PROGRAM
from questions import target
from server import GENERATOR_CORE, SERVER_CORE, free_port, started

LEAST_SHARE = 0.95
CONNECTIONS_PER_ROW = 3
"""Connections over rows of a batch: the next batch is whole when the one before has ended."""


@dataclass(frozen=True)
class Case:
    """A model and what is asked of it."""

    name: str
    made: Made
    rows: Any
    batch: int


@dataclass(frozen=True)
class Turn:
    """Served, and then looped.

    Attributes:
        served_rps: Rows a second over HTTP.
        looped_rps: Rows a second of the loop.
        mean_rows: Of a batch.
        wrong: Requests without the right answer.
    """

    served_rps: float
    looped_rps: float
    mean_rows: float
    wrong: int


def main() -> None:
    """Run the turns of each case."""
    parser = options_of(__doc__)
    parser.add_argument("--turns", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part of a turn (default: %(default)s)")
    options = parser.parse_args()
    turns, seconds = (1, 2.0) if options.quick else (options.turns, options.seconds)
    claims, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="equipoise-overhead-") as place:
        for case in cases(Path(place)):
            pin(GENERATOR_CORE)
            seen = [turn(case, seconds, Path(place) / f"{case.name}-{number}.npz") for number in range(turns)]
            share = median(each.served_rps / each.looped_rps for each in seen)
            say(f"{case.name}: {median(each.served_rps for each in seen):.1f} rows/s served")
            rows = median(each.mean_rows for each in seen)
            claims.append(at_least(f"{case.name}, batches of {rows:.1f}: served / looped", share, LEAST_SHARE))
            claims.append(at_most(f"{case.name}: requests without the right answer", sum(e.wrong for e in seen), 0))
            figures[case.name] = [vars(each) for each in seen]
    report("What serving costs, beside a tight loop", claims, figures, options)


def cases(folder: Path) -> list[Case]:
    """The models, in bundles."""
    images = cifar_images(64)
    small = make_bundle(
        folder / "resnet56", "resnet56", [StageOf(real(CIFAR / "resnet56.onnx"), 8)], {"image": images}, limit_s=None
    )
    large_images = np.random.default_rng(0).standard_normal((8, 3, 224, 224), dtype=np.float32)
    large = make_bundle(
        folder / "resnet50",
        "resnet50",
        [StageOf(resnet50(folder / "resnet50.onnx"), 4)],
        {"image": large_images},
        limit_s=None,
    )
    return [Case("resnet56", small, images, 8), Case("resnet50", large, large_images, 4)]


def turn(case: Case, seconds: float, file: Path) -> Turn:
    """Serve for some seconds, then loop over the same batches."""
    port = free_port()
    command = [sys.executable, PROGRAM, f"m={case.made.folder}", str(port), str(file)]
    with started(command, port):
        asked = target(port, "m", case.made.direct, case.rows, "binary")
        seen = closed(asked, CONNECTIONS_PER_ROW * case.batch, seconds, warm_up_s=1.0)
    with np.load(file) as saved:
        sizes = saved["batch"][:, 1].astype(int).tolist()
    with on_core(SERVER_CORE):
        looped_rps = loop(case, sizes, seconds)
    wrong = len(seen) - int(np.count_nonzero(seen.right))
    return Turn(seen.steady_rps, looped_rps, float(np.mean(sizes)), wrong)


def loop(case: Case, sizes: list[int], seconds: float) -> float:
    """Rows a second of the plan's stage, asked batches of these sizes again and again."""
    (stage,) = case.made.direct.stages.stages
    (tensor,) = case.made.direct.spec.inputs
    feeds = {size: {tensor.name: np.resize(case.rows, (size, *case.rows.shape[1:]))} for size in set(sizes)}
    for warm in feeds.values():
        stage.ask(warm, stage.prepare(warm))
    rows, start_s = 0, time.perf_counter()
    while True:
        for size in sizes:
            stage.ask(feeds[size], stage.prepare(feeds[size]))
            rows += size
            spent_s = time.perf_counter() - start_s
            if spent_s > seconds:
                return rows / spent_s


def say(what: str) -> None:
    """Tell what was found."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
