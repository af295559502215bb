"""Makes a student of the size that was asked for, and teaches it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import JsonValue

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.core.tensor import ModelSpec
from equipoise.errors import TechniqueError
from equipoise.students.families import family_named
from equipoise.students.student import Student
from equipoise.students.task import Task, task_of
from equipoise.train.checkpoint import load_checkpoint
from equipoise.train.export import write_onnx
from equipoise.train.fit import Fit, FitSettings
from equipoise.train.lessons import Lessons, lessons_of
from equipoise.train.timing import row_seconds

CHOICE = "width.txt"
LEARNING_RATE = 3e-3
SHARE = 0.15
SHIFT = 2
SMALLEST_SHIFTED = 24
"""Images below so many pixels a side are not moved: two pixels are much of them."""


def teach_student(spec: ModelSpec, source: Path, step: Step, context: BuildContext, training: Training) -> None:
    """Write a student that was taught the answers of the model in `source`.

    Args:
        spec: What the model takes and gives.
        source: Its artifact folder.
        step: `family`, `width` or `share`, and perhaps `depth`, `temperature`, `learning_rate`, `epochs`, `shift`.
        context: Where to, which output, seed and threads.
        training: Rows, answers and time.

    Raises:
        TechniqueError: There is no student for such rows, too few rows, or the training diverged.
    """
    lessons = lessons_of(training, context.output, tuple(tensor.name for tensor in spec.inputs))
    task = task_of(spec.inputs, training.rows.feeds, lessons.answers.shape[1])
    torch.set_num_threads(context.threads)
    found = load_checkpoint(training.folder)
    run = TrainingRun(training, step, resumed=found is not None)
    maker = _Maker(step, task, spec, lessons, context)
    student = maker.make(maker.width(source, training))
    outputs = tuple(tensor.name for tensor in spec.outputs)
    with tool("torch"):
        trained = Fit(student, lessons, _settings(step, task), training, outputs, context.seed).run(run, found)
    write_onnx(trained, spec, context.folder)


def _settings(step: Step, task: Task) -> FitSettings:
    moved = task.kind == "image" and task.side >= SMALLEST_SHIFTED
    return FitSettings(
        learning_rate=float(str(step.parameters.get("learning_rate", LEARNING_RATE))),
        temperature=float(str(step.parameters.get("temperature", 4.0))),
        most_epochs=int(str(step.parameters.get("epochs", FitSettings.most_epochs))),
        shift=int(str(step.parameters.get("shift", SHIFT if moved else 0))),
        layout=task.layout,
    )


class _Maker:
    """Makes untrained students of one family.

    Args:
        step: Says which family.
        task: What they are fed and must give.
        spec: Of the model under study.
        lessons: What they will learn from.
        context: Which output, and the seed.
    """

    def __init__(self, step: Step, task: Task, spec: ModelSpec, lessons: Lessons, context: BuildContext) -> None:
        self.family = str(step.parameters.get("family", "mlp"))
        self._step, self._task, self._spec, self._lessons, self._context = step, task, spec, lessons, context

    def make(self, width: int) -> Student:
        """One of this width, the same for the same seed."""
        depth: JsonValue = self._step.parameters.get("depth")
        torch.manual_seed(self._context.seed)
        student = Student(
            self._task,
            self.family,
            width,
            None if depth is None else int(str(depth)),
            self._spec.outputs,
            self._context.output,
            self._lessons.kind,
        )
        if self._lessons.kind == "value":
            answers = self._lessons.answers
            student.scale(float(answers.mean()), float(answers.std().clamp(min=1e-6)))
        return student

    def width(self, source: Path, training: Training) -> int:
        """The width that was asked for, or the widest within the share of the model's time; decided once a training.

        Raises:
            TechniqueError: Even the narrowest takes longer.
        """
        if "width" in self._step.parameters:
            return int(str(self._step.parameters["width"]))
        kept = training.folder / CHOICE
        if kept.is_file():
            return int(kept.read_text())
        allowed_s = float(str(self._step.parameters.get("share", SHARE))) * row_seconds(source, training.search)
        widths = family_named(self.family).widths
        fits, narrowest_s = widest(widths, lambda width: self._row_seconds(width, training), allowed_s)
        if fits is None:
            raise TechniqueError(
                f"the narrowest takes {narrowest_s * 1e6:,.1f} us a row, and {allowed_s * 1e6:,.1f} us were allowed: "
                "the model is too fast for a student of this family to pay"
            )
        kept.write_text(str(fits))
        return fits

    def _row_seconds(self, width: int, training: Training) -> float:
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(self.make(width), self._spec, Path(folder))
            return row_seconds(Path(folder), training.search)


def widest(widths: tuple[int, ...], takes_s: Callable[[int], float], allowed_s: float) -> tuple[int | None, float]:
    """The largest width that takes no longer than is allowed, found by halving; null where none does.

    Args:
        widths: From small to large.
        takes_s: Measures one.
        allowed_s: Seconds.

    Returns:
        The width, and what the narrowest that was measured takes, in seconds.

    Example:
        >>> widest((8, 16, 24, 32), lambda width: width / 10, allowed_s=2.5)
        (24, 1.6)
    """
    chosen, low, high, measured = None, 0, len(widths) - 1, {}
    while low <= high:
        middle = (low + high) // 2
        measured[middle] = takes_s(widths[middle])
        if measured[middle] <= allowed_s:
            chosen, low = widths[middle], middle + 1
        else:
            high = middle - 1
    return chosen, measured[min(measured)]
