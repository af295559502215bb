"""A linear model, taught a larger model's answers to the training rows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.linear_form import linear_student
from equipoise.compress.sklearn_students import Lesson, lesson, may_be_taught, save_student, weighted_rows
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun, required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format

ITERATIONS_A_STEP, MOST_ITERATIONS = 40, 1000


class DistilLinear:
    """Replaces the final estimator by a logistic or ridge regression that learns its answers on the training rows.

    What `linear_form` does with a few calibration rows and no training budget, on as many rows as there are: the more
    rows, the finer the bins' weights can be told apart. `features=binned` makes an additive model (each number cut into
    quantile bins), `features=scaled` a plain linear one. Soft answers are taught exactly, without labels (Bucila et al.
    2006; arXiv 1503.02531).
    """

    name: ClassVar[str] = "distil_linear"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"
    trains: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For whatever is not linear, binned first."""
        if not may_be_taught(model, recipe):
            return []
        return [Step(technique=self.name, parameters={"features": features}) for features in ("binned", "scaled")]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the student.

        Raises:
            TechniqueError: There is no training budget, several targets, or too few rows.
        """
        import threadpoolctl

        training = required_training(context.training, self.name)
        run = TrainingRun(training, step)
        taught = lesson(source, training)
        with tool("scikit-learn"), threadpoolctl.threadpool_limits(context.threads):
            regression = taught.classes is None
            kind = str(step.parameters.get("features", "binned"))
            student = linear_student(kind, taught.features, context.seed, regression)
            fit = _ridge if regression else _logistic
            student = fit(student, taught, training, run)
        save_student(taught, student, context)
        return "sklearn"


def _ridge(student: Any, taught: Lesson, training: Training, run: TrainingRun) -> Any:
    """Solved in one go: least squares."""
    student.fit(taught.features, taught.values)
    run.tell(step=1, steps=1, quality=taught.quality_of(student, training))
    run.finish(finished=True)
    return student


def _logistic(student: Any, taught: Lesson, training: Training, run: TrainingRun) -> Any:
    """Gradient steps (L-BFGS) by the dozen, from where the last dozen ended, until they change nothing."""
    if taught.shares is None or taught.classes is None:
        raise RuntimeError("a logistic regression learns classes")
    row, column, weight = weighted_rows(taught.shares)
    answers = taught.classes[column]
    features = np.asarray(student[:-1].fit_transform(taught.features))
    run.begin_steps()
    regression = student[-1].set_params(warm_start=True, max_iter=ITERATIONS_A_STEP)
    done, converged = 0, False
    best = regression
    while done < MOST_ITERATIONS and not converged and (done == 0 or run.goes_on()):
        regression.fit(features[row], answers, sample_weight=weight)
        taken = int(np.max(regression.n_iter_))
        done, converged = done + max(1, taken), taken < ITERATIONS_A_STEP
        run.tell(step=done, quality=taught.quality_of(student, training))
        best = copy.deepcopy(regression)
    run.finish(finished=converged or done >= MOST_ITERATIONS)
    student.steps[-1] = (student.steps[-1][0], best.set_params(warm_start=False))
    return student
