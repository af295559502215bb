"""The measuring child: opens a model, or several that answer together, answers rows and times batches.

These functions run inside a `host.sandbox.Sandbox`; the opened artifact is the child's only state.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import AnswerForm, DistrustAnswer, PlanStage
from equipoise.execute.stages import OpenStages, in_order, open_stages
from equipoise.preprocess.lengths import by_length
from equipoise.runtimes.base import Session

Array = NDArray[Any]
DISTINCT_BATCHES, DISTINCT_ROWS = 8, 1024
"""Batches that are timed in turn, and rows in them all, at least: a cascade takes longer for hard rows."""
FALLING = 0.85
"""Two sizes in a row below this share of the best rows a second end a sweep."""


@dataclass(frozen=True)
class Round:
    """What one round of closed-loop timing saw.

    Attributes:
        batch_s: Compute time of each batch, seconds: float64[batches].
        rows_per_s: Rows answered a second, all replicas together.
    """

    batch_s: NDArray[np.float64]
    rows_per_s: float


class _Opened:
    def __init__(self, session: Session, replicas: int, sample: Mapping[str, Array]) -> None:
        self.session = session
        self.replicas = replicas
        self.sample = sample
        self.prepared: dict[int, list[Any]] = {}


_opened: _Opened | None = None


def open_session(
    stages: Sequence[PlanStage],
    form: AnswerForm | None,
    artifacts: Mapping[str, Path],
    sample: Mapping[str, Array],
    untrusted: DistrustAnswer | None = None,
) -> None:
    """Open what is measured and answer one row, so that the caller can time a cold start.

    Args:
        stages: A model as the only stage, or a cascade or an ensemble.
        form: What the judged output holds; may be null for a model alone.
        artifacts: Digest to folder, for every model.
        sample: Real rows to time with, input name to [n, ...].
        untrusted: What is given where the last stage does not trust its answer.
    """
    global _opened
    opened = open_stages(stages, form, artifacts, untrusted)
    alone = len(stages) == 1 and len(stages[0].models) == 1 and stages[0].accept is None
    session: Session = opened.stages[0].sessions[0] if alone else opened
    _opened = _Opened(session, stages[0].lanes, sample)
    rows = session.spec.fixed_batch or 1
    session.run(session.prepare(_take(sample, 0, rows)))


def answer(feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """Answer all rows of `feeds` in batches of `batch`; a fixed batch size is filled up and the filling dropped.

    Token sequences are put together by their lengths; their answers come back in the order of the rows.
    """
    opened = _current()
    n = len(next(iter(feeds.values())))
    order = by_length(feeds, opened.session.spec)
    if order is not None:
        feeds = {name: array[order] for name, array in feeds.items()}
    fixed = opened.session.spec.fixed_batch
    size = fixed or batch
    parts: list[dict[str, Array]] = []
    for start in range(0, n, size):
        part = opened.session.run(opened.session.prepare(_take(feeds, start, size, fill=fixed is not None)))
        kept = min(size, n - start)
        parts.append({name: array[:kept] for name, array in part.items()} if fixed else part)
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return outputs if order is None else in_order(outputs, order)


def time_batches(batch: int, seconds: float, least: int = 3) -> Round:
    """Keep every replica busy with batches of real rows for `seconds`, and at least `least` batches in all.

    One batch goes before, untimed: it finds the caches as another process left them.
    """
    opened = _current()
    prepared = _prepared(opened, batch)
    opened.session.run(prepared[0])
    durations: list[list[float]] = [[] for _ in range(opened.replicas)]
    share = -(-least // opened.replicas)
    barrier = threading.Barrier(opened.replicas)
    clock = time.perf_counter

    def lane(index: int) -> None:
        mine = durations[index]
        batches = itertools.islice(itertools.cycle(prepared), index, None)
        run = opened.session.run
        barrier.wait()
        end = clock() + seconds
        while True:
            begin = clock()
            run(next(batches))
            done = clock()
            mine.append(done - begin)
            if done >= end and len(mine) >= share:
                return

    begin = clock()
    if opened.replicas == 1:
        lane(0)
    else:
        with ThreadPoolExecutor(opened.replicas) as pool:
            list(pool.map(lane, range(opened.replicas)))
    elapsed = clock() - begin
    batch_s = np.concatenate([np.asarray(mine) for mine in durations])
    return Round(batch_s=batch_s, rows_per_s=len(batch_s) * batch / elapsed)


@dataclass(frozen=True)
class Point:
    """Median speed at one batch size."""

    batch: int
    rows_per_s: float
    batch_s: float


def sweep(batches: Sequence[int], seconds: float, longest_s: float) -> list[Point]:
    """Time growing batch sizes, and stop where larger ones can no longer be of use.

    Args:
        batches: Rows a batch, ascending.
        seconds: For each size.
        longest_s: A size whose batches take longer is the last that is timed.

    Returns:
        A point for each size that was timed: at least one.
    """
    points: list[Point] = []
    for batch in batches:
        timed = time_batches(batch, seconds)
        points.append(Point(batch, timed.rows_per_s, float(np.median(timed.batch_s))))
        best = max(point.rows_per_s for point in points)
        falling = len(points) > 2 and all(point.rows_per_s < FALLING * best for point in points[-2:])
        if points[-1].batch_s > longest_s or falling:
            break
    return points


def answer_index(index: NDArray[np.intp]) -> dict[str, Array]:
    """Answer the sample's rows at `index`, wrapping around: what an open-loop load calls."""
    opened = _current()
    n = len(next(iter(opened.sample.values())))
    return opened.session.run(opened.session.prepare({name: array[index % n] for name, array in opened.sample.items()}))


def _current() -> _Opened:
    if _opened is None:
        raise RuntimeError("open_session was not called in this process")
    return _opened


def _prepared(opened: _Opened, batch: int) -> list[Any]:
    if batch not in opened.prepared:
        opened.prepared = {
            batch: [
                opened.session.prepare(_take(opened.sample, position * batch, batch, fill=True))
                for position in range(max(DISTINCT_BATCHES, -(-DISTINCT_ROWS // batch)))
            ]
        }
        if isinstance(opened.session, OpenStages):
            # What a stage passes on has another size each time, and a runtime is slow with sizes that it meets first;
            # turn by turn, the replicas meet each other's.
            for turn in range(opened.replicas):
                batches = opened.prepared[batch]
                for each in (*batches[turn:], *batches[:turn]):
                    opened.session.run(each)
    return opened.prepared[batch]


def _take(feeds: Mapping[str, Array], start: int, count: int, *, fill: bool = False) -> dict[str, Array]:
    n = len(next(iter(feeds.values())))
    index = np.arange(start, start + count) % n if fill else np.arange(start, min(start + count, n))
    return {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}
