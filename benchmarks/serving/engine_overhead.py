"""What serving costs a model that has something to compute: served throughput beside tight loops on the same core.

A ResNet-56 (CIFAR-10) and a model shaped like a ResNet-50 are asked over HTTP, binary tensors, by enough connections to
keep batches full. Then batches of the very sizes that the server made, in their order, are computed in one process on
the server's core: by the same engine, asked in process, one request a batch, one after the other; and by the plan's
runtime alone. They take turns; ratios of rows a second are taken within a turn.

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
import uvloop
from bundles import CIFAR, Made, StageOf, cifar_images, make_bundle, on_core, real, resnet50
from claims import at_least, at_most, options_of, report
from load import closed, pin
from observed import PROGRAM
from questions import target
from server import GENERATOR_CORE, SERVER_CORE, free_port, started

from equipoise.serve import Engine, load_plan

Feeds = dict[int, dict[str, Any]]
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
        engine_rps: Rows a second of the engine, asked in process.
        looped_rps: Rows a second of the runtime alone.
        mean_rows: Of a batch.
        wrong: Requests without the right answer.
    """

    served_rps: float
    engine_rps: float
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
            share = median(each.served_rps / each.engine_rps for each in seen)
            bare = median(each.served_rps / each.looped_rps for each in seen)
            say(f"{case.name}: {median(each.served_rps for each in seen):.1f} rows/s served")
            say(f"{case.name}: {bare:.3f} of the runtime alone")
            rows = median(each.mean_rows for each in seen)
            claims.append(at_least(f"{case.name}, batches of {rows:.1f}: served / in process", share, LEAST_SHARE))
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
    feeds = batches(case, sizes)
    with on_core(SERVER_CORE):
        engine_rps = uvloop.run(ask_engine(case, sizes, feeds, seconds))
        looped_rps = loop(case, sizes, feeds, seconds)
    wrong = len(seen) - int(np.count_nonzero(seen.right))
    return Turn(seen.steady_rps, engine_rps, looped_rps, float(np.mean(sizes)), wrong)


def batches(case: Case, sizes: list[int]) -> Feeds:
    """A batch of each size."""
    (tensor,) = case.made.direct.spec.inputs
    return {size: {tensor.name: np.resize(case.rows, (size, *case.rows.shape[1:]))} for size in set(sizes)}


async def ask_engine(case: Case, sizes: list[int], feeds: Feeds, seconds: float) -> float:
    """Rows a second of the engine, asked batches of these sizes again and again."""
    async with Engine([load_plan(case.made.folder, "m")]) as engine:
        for warm in feeds.values():
            await engine.infer("m", warm)
        rows, start_s = 0, time.perf_counter()
        while True:
            for size in sizes:
                await engine.infer("m", feeds[size])
                rows += size
                spent_s = time.perf_counter() - start_s
                if spent_s > seconds:
                    return rows / spent_s


def loop(case: Case, sizes: list[int], feeds: Feeds, seconds: float) -> float:
    """Rows a second of the plan's stage, asked batches of these sizes again and again."""
    (stage,) = case.made.direct.stages.stages
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
