"""A linear student in place of an ensemble."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.ensembles import is_whole_ensemble, with_final_estimator
from equipoise.compress.tools import load_sklearn, open_natively, save_sklearn, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array
from equipoise.runtimes.sklearn import final_estimator

LINEAR = frozenset(
    {
        "ElasticNet", "Lasso", "LinearRegression", "LinearSVC", "LogisticRegression", "LogisticRegressionCV", "Ridge",
        "RidgeCV", "RidgeClassifier", "SGDClassifier", "SGDRegressor",
    }
)  # fmt: skip
BINS = 16
FEWEST_ROWS = 50
# Below this share a soft answer teaches nothing, and only makes the fit longer.
SMALLEST_SHARE = 1e-3


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
        if any(output.name in ("label", "value") and len(output.shape) > 1 for output in spec.outputs):
            raise TechniqueError("works on one target; this model has several")
        rows = context.calibration
        if rows.n < FEWEST_ROWS:
            raise TechniqueError(f"needs at least {FEWEST_ROWS} calibration rows, there are {rows.n}")
        session = open_natively(source)
        table = session.prepare(rows.feeds)
        answers = session.run(table)
        with tool("scikit-learn"):
            model = _dense(model)
            features = _features(model, table)
            student = _student(str(step.parameters.get("features", "binned")), features, context.seed, "value" in names)
            if "value" in names:
                student.fit(features, answers["value"])
            else:
                _fit_softly(student, features, answers, teacher.classes_)
        save_sklearn(with_final_estimator(model, student), spec, context.folder)
        return "sklearn"


def _dense(model: Any) -> Any:
    """A copy whose preprocessing gives dense arrays: bins and scales are not made for sparse ones."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if not hasattr(model, "steps"):
        return model
    changed = copy.copy(model)
    changed.steps = [(name, _dense_part(part)) for name, part in model.steps]
    return changed


def _dense_part(part: Any) -> Any:
    for name in ("sparse_output_", "sparse_output"):  # of a ColumnTransformer, of an encoder
        if hasattr(part, name):
            part = copy.copy(part)
            setattr(part, name, False)
            return part
    return _dense(part)


def _features(model: Any, table: Any) -> Any:
    """What the final estimator sees.

    Raises:
        TechniqueError: It is sparse, from a step that cannot be told to give dense arrays.
    """
    while hasattr(model, "steps"):
        for _, part in model.steps[:-1]:
            table = table if part in (None, "passthrough") else part.transform(table)
        model = model.steps[-1][1]
    if hasattr(table, "toarray"):
        raise TechniqueError("the preprocessing gives sparse features")
    return table


def _student(features: str, table: Any, seed: int, regression: bool) -> Any:
    """An unfitted pipeline: missing values filled, features made fit for a linear model, the linear model."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

    values = np.asarray(table, dtype=np.float64)
    linear = Ridge(alpha=1.0) if regression else LogisticRegression(max_iter=1000, random_state=seed)
    many = [column for column in range(values.shape[1]) if len(np.unique(values[:, column])) > 2]
    fill = [SimpleImputer(add_indicator=True, keep_empty_features=True)] if np.isnan(values).any() else []
    if features != "binned" or not many:
        return make_pipeline(*fill, StandardScaler(), linear)
    bins = KBinsDiscretizer(
        BINS, encode="onehot-dense", strategy="quantile", quantile_method="averaged_inverted_cdf", random_state=seed
    )
    binned = ColumnTransformer([("binned", bins, many)], remainder="passthrough")
    return make_pipeline(*fill, binned, linear)


def _fit_softly(student: Any, features: Any, answers: dict[str, Array], classes: Array) -> None:
    """Fit a classifier to shares of classes: each row stands once for each class, weighted by the class's share."""
    if "probabilities" in answers:
        shares = answers["probabilities"].astype(np.float64)
    else:
        shares = (answers["label"][:, None] == classes[None, :]).astype(np.float64)
    shares = np.where(shares < SMALLEST_SHARE, 0.0, shares)
    shares[0] = np.maximum(shares[0], SMALLEST_SHARE)  # every class stays known, even one never answered
    row, column = np.nonzero(shares)
    transformed = student[:-1].fit_transform(features)
    student[-1].fit(np.asarray(transformed)[row], classes[column], sample_weight=shares[row, column])
