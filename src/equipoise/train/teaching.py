"""Makes a student of the size that was asked for, and teaches it."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import JsonValue

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.core.tensor import ModelSpec
from equipoise.students.families import family_named
from equipoise.students.student import Student
from equipoise.students.task import Task, task_of
from equipoise.train.checkpoint import load_checkpoint
from equipoise.train.export import write_student
from equipoise.train.fit import Fit, FitSettings, precision_of
from equipoise.train.hints import hint
from equipoise.train.lessons import Lessons, lessons_of
from equipoise.train.strength import MEASURING_SHARE, largest, model_row_seconds, module_row_seconds

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
        step: `family`, `width` or `share`, and perhaps `depth`, `hints`, `temperature`, `learning_rate`, `epochs`,
            `shift`, `precision`.
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
    student = maker.make(maker.width(source, training, run))
    outputs = tuple(tensor.name for tensor in spec.outputs)
    hints = float(str(step.parameters.get("hints", 0)))
    with tool("torch"):
        if hints and found is None:
            hint(student, source, lessons, training, run, hints, _settings(step, task), context.seed)
        trained = Fit(student, lessons, _settings(step, task), training, outputs, context.seed).run(run, found)
    write_student(trained, spec, lessons.inputs, context.folder)


def _settings(step: Step, task: Task) -> FitSettings:
    moved = task.kind == "image" and task.side >= SMALLEST_SHIFTED
    return FitSettings(
        learning_rate=float(str(step.parameters.get("learning_rate", LEARNING_RATE))),
        temperature=float(str(step.parameters.get("temperature", 4.0))),
        precision=precision_of(step),
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

    def width(self, source: Path, training: Training, run: TrainingRun) -> int:
        """The width that was asked for, or the widest within the share of the model's time; decided once a training.

        Raises:
            TechniqueError: Even the narrowest takes longer.
        """
        if "width" in self._step.parameters:
            return int(str(self._step.parameters["width"]))
        kept = training.folder / CHOICE
        if kept.is_file():
            return int(kept.read_text())
        share = float(str(self._step.parameters.get("share", SHARE)))
        allowed_s = share * model_row_seconds(source, self._spec, training.search)
        fits = largest(
            family_named(self.family).widths,
            lambda width: module_row_seconds(self.make(width), self._spec, training.search),
            allowed_s,
            lambda: run.elapsed_s < MEASURING_SHARE * run.budget_s,
        )
        kept.write_text(str(fits))
        return fits
