"""A linear student in place of an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.ensembles import is_whole_ensemble, with_final_estimator
from equipoise.compress.sklearn_students import (
    FEWEST_ROWS,
    LINEAR,
    dense,
    features_of,
    filled,
    refuse_several_targets,
    shares_of,
    weighted_rows,
)
from equipoise.compress.tools import load_sklearn, open_natively, save_sklearn, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.runtimes.sklearn import final_estimator

BINS = 16


class LinearForm:
    """Replaces the final estimator by a logistic or ridge regression, taught the original's own answers.

    Distillation (Bucila et al. 2006; arXiv 1503.02531): the student learns the teacher's probabilities, which say more
    than labels do, on calibration rows that need none. The preprocessing stays; what follows it is made fit for a
    linear model: `features=binned` cuts every number into quantile bins, so that the student is an additive model and
    can follow steps and humps as trees do; `features=scaled` leaves numbers as they are, on one scale.
    """

    name: ClassVar[str] = "linear_form"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For ensembles of trees, binned first."""
        if not is_whole_ensemble(model, recipe):
            return []
        return [Step(technique=self.name, parameters={"features": features}) for features in ("binned", "scaled")]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the student.

        Raises:
            TechniqueError: The model is linear already, has several targets, or there are too few calibration rows.
        """
        model, spec = load_sklearn(source)
        teacher = final_estimator(model)
        names = {output.name for output in spec.outputs}
        if type(teacher).__name__ in LINEAR:
            raise TechniqueError(f"the final estimator is a {type(teacher).__name__}, which is linear already")
        refuse_several_targets(spec)
        rows = context.calibration
        if rows.n < FEWEST_ROWS:
            raise TechniqueError(f"needs at least {FEWEST_ROWS} calibration rows, there are {rows.n}")
        session = open_natively(source)
        table = session.prepare(rows.feeds)
        answers = session.run(table)
        with tool("scikit-learn"):
            model = dense(model)
            features = features_of(model, table)
            student = linear_student(
                str(step.parameters.get("features", "binned")), features, context.seed, "value" in names
            )
            if "value" in names:
                student.fit(features, answers["value"])
            else:
                row, column, weight = weighted_rows(shares_of(answers, teacher.classes_))
                transformed = np.asarray(student[:-1].fit_transform(features))
                student[-1].fit(transformed[row], teacher.classes_[column], sample_weight=weight)
        save_sklearn(with_final_estimator(model, student), spec, context.folder)
        return "sklearn"


def linear_student(features: str, table: Any, seed: int, regression: bool) -> Any:
    """An unfitted pipeline: missing values filled, features made fit for a linear model, the linear model."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

    values = np.asarray(table, dtype=np.float64)
    linear = Ridge(alpha=1.0) if regression else LogisticRegression(max_iter=1000, random_state=seed)
    many = [column for column in range(values.shape[1]) if len(np.unique(values[:, column])) > 2]
    fill = filled(values)
    if features != "binned" or not many:
        return make_pipeline(*fill, StandardScaler(), linear)
    bins = KBinsDiscretizer(
        BINS, encode="onehot-dense", strategy="quantile", quantile_method="averaged_inverted_cdf", random_state=seed
    )
    binned = ColumnTransformer([("binned", bins, many)], remainder="passthrough")
    return make_pipeline(*fill, binned, linear)
