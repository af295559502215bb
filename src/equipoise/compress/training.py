"""What a technique that trains is given, and the run in which it keeps its time and says where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from equipoise.core.recipe import Step
from equipoise.core.training import TRAIN_S, TrainDevice, TrainingPoint, TrainingRecord
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array, Rows

RECORD = "record.json"
TOLERANCE = 1.1
"""A training may end this many times its budget after it began: so much is forgiven, never planned with."""
MOST_POINTS = 400


class Quality(Protocol):
    """Judges a student on the search rows; an instance can be pickled."""

    @property
    def higher_is_better(self) -> bool:
        """Which way its figures point."""

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        """The brief's metric of a student's outputs, output name to answers to all of `Training.search`."""


@dataclass(frozen=True)
class Training:
    """What a technique that trains may use. No row of the certify split is in it.

    Attributes:
        rows: Rows to train on. They have targets only where the technique's `data_use` is `labelled`.
        teacher: Output name to the answers of the model that the recipe starts from, to `rows`, in their order.
        teacher_artifact: Artifact folder of that model, to ask it more (hidden layers, changed inputs).
        search: Rows to look at progress on, never to fit: for early stopping and learning curves.
        quality: Judges outputs to `search`; null with the metric `none`.
        folder: Where checkpoints are kept. A later, longer training of the same recipe is given the same folder, and so
            is one that was interrupted; what lies in it is the technique's own, but for `record.json`.
        clock: Tells seconds; injected, so that tests decide how fast time goes.
        device: Where torch trains: `cpu`, `cuda`, or `auto` for a GPU where it finds one.
    """

    rows: Rows
    teacher: Mapping[str, Array]
    teacher_artifact: Path
    search: Rows
    quality: Quality | None
    folder: Path
    clock: Callable[[], float] = time.monotonic
    device: TrainDevice = "auto"


class TrainingRun:
    """One training: its budget, its learning curve, and its end.

    Every call of `tell` writes the record, which whoever waits for the training reads to show where it stands.

    Args:
        training: What it may use.
        step: The step of the recipe; its parameter `train_s` is the budget, in seconds.
        resumed: Whether it goes on from what an earlier training left in `training.folder`, whose time then counts.

    Attributes:
        budget_s: Seconds it may train in all.

    Raises:
        TechniqueError: The step has no budget.

    Example:
        >>> import tempfile
        >>> from equipoise.core.recipe import Step
        >>> from equipoise.preprocess.rows import Rows
        >>> import numpy as np
        >>> rows, folder = Rows({"x": np.zeros((4, 1))}, None), Path(tempfile.mkdtemp())
        >>> ticks = iter(range(100))
        >>> training = Training(rows, {}, folder, rows, None, folder, clock=lambda: float(next(ticks)))
        >>> run = TrainingRun(training, Step(technique="mine", parameters={"train_s": 10}))
        >>> while run.goes_on():
        ...     improved = run.tell(loss=0.5, steps=20)
        >>> run.done, read_record(folder).elapsed_s
        (4, 8.0)
    """

    def __init__(self, training: Training, step: Step, *, resumed: bool = False) -> None:
        budget_s = step.parameters.get(TRAIN_S)
        if isinstance(budget_s, bool) or not isinstance(budget_s, int | float) or not budget_s > 0:
            raise TechniqueError(f"{step.technique} trains, and its parameter {TRAIN_S} is {budget_s!r}: needs seconds")
        self.budget_s = float(budget_s)
        self._training = training
        before = read_record(training.folder) if resumed else None
        self._points = [] if before is None else list(before.points)
        earlier_s = 0.0 if before is None else before.elapsed_s
        self._begin_s = training.clock() - earlier_s
        self._last_s = earlier_s
        self._longest_s = 0.0
        self._best: float | None = None
        for point in self._points:
            self._is_best(point.quality)
        self._write(earlier_s, finished=False)

    @property
    def done(self) -> int:
        """Steps done, those of the training that it goes on from included."""
        return self._points[-1].step if self._points else 0

    @property
    def elapsed_s(self) -> float:
        """Seconds trained, those of the training that it goes on from included."""
        return self._training.clock() - self._begin_s

    @property
    def left_s(self) -> float:
        """Seconds left of the budget; below 0 where it has ended."""
        return self.budget_s - self.elapsed_s

    def begin_steps(self) -> None:
        """Note that what comes now are steps: reading the model and the rows took time too, but no step is as long."""
        self._last_s = self.elapsed_s

    def goes_on(self, times_as_long: float = 1.0) -> bool:
        """Whether another step, so many times as long as the longest so far, still fits in the budget."""
        left_s = self.left_s
        return left_s > 0 and left_s >= times_as_long * self._longest_s

    def tell(
        self,
        *,
        step: int | None = None,
        steps: int | None = None,
        loss: float | None = None,
        quality: float | None = None,
    ) -> bool:
        """Note that a step is done.

        Args:
            step: How many are done; null for one more.
            steps: How many there will be, where that is known.
            loss: Of the training rows.
            quality: What `Training.quality` says.

        Returns:
            Whether this quality is the best so far; true where there is none.

        Raises:
            TechniqueError: The loss is not finite: the training diverged.
        """
        number = self.done + 1 if step is None else step
        if loss is not None and not math.isfinite(loss):
            raise TechniqueError(
                f"the training diverged: the loss is {loss} at step {number}; a smaller learning rate, scaled inputs "
                "or inputs without missing values may help"
            )
        elapsed_s = self.elapsed_s
        self._longest_s = max(self._longest_s, elapsed_s - self._last_s)
        self._last_s = elapsed_s
        point = TrainingPoint(
            step=number,
            steps=steps,
            elapsed_s=elapsed_s,
            loss=loss,
            quality=quality if quality is None or math.isfinite(quality) else None,
        )
        self._points.append(point)
        self._write(elapsed_s, finished=False)
        return self._is_best(point.quality) or point.quality is None

    def finish(self, *, finished: bool) -> None:
        """Note the end: `finished` says that more time would change nothing."""
        self._write(self.elapsed_s, finished=finished)

    def _is_best(self, quality: float | None) -> bool:
        judge = self._training.quality
        if quality is None or judge is None:
            return False
        if self._best is None or (quality > self._best if judge.higher_is_better else quality < self._best):
            self._best = quality
            return True
        return False

    def _write(self, elapsed_s: float, *, finished: bool) -> None:
        every = math.ceil(len(self._points) / MOST_POINTS)
        points = tuple(self._points[::-1][::every][::-1]) if every > 1 else tuple(self._points)
        record = TrainingRecord(train_s=self.budget_s, elapsed_s=elapsed_s, finished=finished, points=points)
        partial = self._training.folder / f"{RECORD}.partial"
        partial.write_text(record.model_dump_json(), encoding="utf-8")
        partial.rename(self._training.folder / RECORD)


def read_record(folder: Path) -> TrainingRecord | None:
    """What a training in this folder has told so far; null before its first word."""
    try:
        return TrainingRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def required_training(training: Training | None, technique: str) -> Training:
    """What a technique that trains was given.

    Raises:
        TechniqueError: Nothing: the study has no training budget.
    """
    if training is None:
        raise TechniqueError(f"{technique} trains: give it time with --train-minutes and rows with --train")
    return training
