"""What a training is given, what it tells while it runs, and what is said of one that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compress.build import data_use_of
from equipoise.compress.training import Training, read_record
from equipoise.core.recipe import Recipe
from equipoise.core.training import TRAIN_S, TrainingRecord
from equipoise.errors import ChildOverMemory, ChildTimedOut, SandboxError
from equipoise.flow.evidence import MAIN, Judge
from equipoise.flow.material import Material
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target
from equipoise.preprocess.rows import Rows
from equipoise.registry import techniques
from equipoise.stats.metrics import Metric, UndefinedMetric, metric_value
from equipoise.store.study import StudyFolder

Array = NDArray[Any]
MOST_SEARCH_ROWS = 5_000
"""Search rows that a training looks at its progress on: enough to rank epochs by, few enough to answer often."""
LOOK_S = 0.5
TEACHER_BATCH, TABLE_TEACHER_BATCH = 256, 4096
"""Rows that a teacher answers at once; scikit-learn's models start threads anew for each batch, and take small rows."""


@dataclass(frozen=True)
class SearchQuality:
    """The brief's metric on search rows; see `compress.training.Quality`.

    Attributes:
        metric: Which.
        meaning: What the judged output holds.
        target: The rows' true answers as the data spells them, for a person's own metric; null for none.
        right: What answers are compared with: true answers, or the original's where agreement is the metric.
    """

    metric: Metric
    meaning: OutputMeaning
    target: Array | None
    right: Array | None

    @property
    def higher_is_better(self) -> bool:
        """Which way its figures point."""
        return self.metric.higher_is_better

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        """The metric of outputs to all of the rows; NaN where it has no value on them."""
        n = len(next(iter(outputs.values())))
        try:
            return metric_value(self.metric, decode(dict(outputs), self.meaning, self.target, n), self.right)
        except UndefinedMetric:
            return float("nan")


def progress_rows(
    search: Rows, judge: Judge | None, original: Mapping[str, Array]
) -> tuple[Rows, SearchQuality | None]:
    """Search rows to look at progress on, and what judges answers to them.

    Args:
        search: The search split.
        judge: Judges candidates; null with the metric `none`.
        original: The original's outputs to the first search rows.
    """
    answered = len(next(iter(original.values()))) if original else search.n
    rows = np.flatnonzero(search.population[:answered] == MAIN)[:MOST_SEARCH_ROWS]
    some = search.take(rows)
    if judge is None:
        return some, None
    if judge.metric.name == "agreement":
        right = judge.predictions(dict(original), "search").take(rows).labels
    else:
        right = None if some.target is None else encode_target(some.target, judge.meaning)
    return some, SearchQuality(judge.metric, judge.meaning, some.target, right)


def training_of(
    recipe: Recipe,
    material: Material,
    study: StudyFolder,
    original: Mapping[str, Array],
    ask: Callable[[Rows, int], dict[str, Array]],
) -> Training:
    """What the last step of a recipe may train with.

    Args:
        recipe: Its last step trains.
        material: Of the study; it has training rows.
        study: Where the teacher's answers and checkpoints are kept.
        original: The original's outputs to the first search rows.
        ask: Has the model that the recipe starts from answer rows, in batches of a size; called once a study.
    """
    if material.train is None:
        raise RuntimeError("there are no rows to train on")
    teacher = material.originals[recipe.source]
    name = f"teacher-{teacher.artifact[:32]}"
    if not study.has_arrays(name):
        usual = TABLE_TEACHER_BATCH if teacher.format == "sklearn" else TEACHER_BATCH
        study.save_arrays(name, ask(material.train, teacher.spec.fixed_batch or usual))
    search, quality = progress_rows(material.splits["search"], material.judge, original)
    return Training(
        rows=rows_for(material.train, recipe),
        teacher=study.load_arrays(name),
        teacher_artifact=study.artifact(teacher.artifact),
        search=search,
        quality=quality,
        folder=study.checkpoints(checkpoint_name(recipe)),
        device=material.limits.train_device,
    )


def trains(recipe: Recipe) -> bool:
    """Whether the last step of a recipe trains."""
    return bool(recipe.steps) and getattr(techniques().get(recipe.steps[-1].technique), "trains", False)


def rows_for(train: Rows, recipe: Recipe) -> Rows:
    """Training rows as the last step of a recipe may see them: with true answers only where it says it reads them."""
    labelled = data_use_of(Recipe(steps=recipe.steps[-1:])) == "labelled"
    return Rows(feeds=train.feeds, target=train.target if labelled else None, population=train.population)


def checkpoint_name(recipe: Recipe) -> str:
    """Name of the folder that trainings of one recipe share, however long they are."""
    last = recipe.steps[-1]
    timeless = {name: value for name, value in last.parameters.items() if name != TRAIN_S}
    untimed = recipe.model_copy(
        update={"steps": (*recipe.steps[:-1], last.model_copy(update={"parameters": timeless}))}
    )
    return untimed.content_digest[:32]


@contextmanager
def shown(training: Training | None, name: str, metric: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell where a training stands, each time that it says so, for as long as the block lasts."""
    if training is None:
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_follow, args=(training.folder, name, metric, tell, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _follow(folder: Path, name: str, metric: str, tell: Callable[[str], None], ended: threading.Event) -> None:
    last = read_record(folder)
    while not ended.wait(LOOK_S):
        record = read_record(folder)
        if record is not None and record != last and record.points:
            last = record
            tell(f"training {name}: {standing(record, metric)}")


def standing(record: TrainingRecord, metric: str) -> str:
    """Where a training stands, in a few words.

    Example:
        >>> from equipoise.core.training import TrainingPoint
        >>> point = TrainingPoint(step=5, steps=20, elapsed_s=10.0, loss=0.25, quality=0.9)
        >>> standing(TrainingRecord(train_s=60, elapsed_s=10.0, points=(point,)), "accuracy")
        'step 5 of 20, loss 0.25, accuracy 0.9 on search rows, about 30 s left'
    """
    point = record.points[-1]
    parts = [f"step {point.step}" + ("" if point.steps is None else f" of {point.steps}")]
    if point.loss is not None:
        parts.append(f"loss {point.loss:.4g}")
    if point.quality is not None:
        parts.append(f"{metric} {point.quality:.4g} on search rows")
    left_s = record.train_s - point.elapsed_s
    if point.steps is not None:
        left_s = min(left_s, point.elapsed_s / point.step * (point.steps - point.step))
    return ", ".join([*parts, f"about {max(0.0, left_s):.0f} s left"])


def with_advice(error: SandboxError) -> SandboxError:
    """The same failure of a training, with what may be done about it."""
    if isinstance(error, ChildOverMemory):
        advice = "train on fewer rows (--train), or on a machine with more memory"
    elif isinstance(error, ChildTimedOut):
        advice = "it passed its training time by more than a tenth and was stopped; more --train-minutes give it longer"
    else:
        advice = "the log shows what its library said last"
    return type(error)(f"{error.message}; {advice}", error.log)
