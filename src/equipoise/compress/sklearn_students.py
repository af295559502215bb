"""Students in place of a scikit-learn model's final estimator: what they learn from, and what they answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.compress.base import BuildContext, ModelFacts
from equipoise.compress.ensembles import with_final_estimator
from equipoise.compress.tools import load_sklearn, save_sklearn, tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Recipe
from equipoise.core.tensor import ModelSpec
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array, Rows
from equipoise.runtimes.sklearn import SklearnSession, final_estimator

LINEAR = frozenset(
    {
        "ElasticNet", "Lasso", "LinearRegression", "LinearSVC", "LogisticRegression", "LogisticRegressionCV", "Ridge",
        "RidgeCV", "RidgeClassifier", "SGDClassifier", "SGDRegressor",
    }
)  # fmt: skip
FEWEST_ROWS = 50
SMALLEST_SHARE = 1e-3
"""Below this a class's share teaches nothing, and only makes the fit longer."""
MOST_CLASSES_A_ROW = 5
"""The largest shares of a row that are taught; of many classes the others hold next to nothing."""


@dataclass(frozen=True)
class Lesson:
    """What a student in place of the final estimator learns.

    Attributes:
        model: The teacher's pipeline, its preprocessing made dense; its final estimator is what is replaced.
        spec: What it takes and gives.
        features: What the final estimator sees of the training rows, [n, features].
        values: Regression: what the teacher answers, [n]; null for classes.
        shares: Classes: the teacher's share of each, [n, classes], each row's sum 1; null for numbers.
        classes: Names of the columns of `shares`; null for numbers.
        search_features: The same features of the search rows.
    """

    model: Any
    spec: ModelSpec
    features: Array
    values: Array | None
    shares: Array | None
    classes: Array | None
    search_features: Array

    def quality_of(self, student: Any, training: Training) -> float | None:
        """The brief's metric of a fitted student on the search rows; null where nothing is judged."""
        return None if training.quality is None else training.quality(self.outputs_of(student))

    def outputs_of(self, student: Any) -> dict[str, Array]:
        """What a fitted student answers to the search rows, by the teacher's output names."""
        if self.values is not None:
            return {"value": np.asarray(student.predict(self.search_features))}
        names = {output.name for output in self.spec.outputs}
        outputs = {"label": np.asarray(student.predict(self.search_features))}
        if "probabilities" in names:
            outputs["probabilities"] = np.asarray(student.predict_proba(self.search_features))
        return outputs


def lesson(source: Path, training: Training) -> Lesson:
    """Read the teacher and what it says of the training rows.

    Raises:
        TechniqueError: It has several targets, gives sparse features, or there are too few rows.
    """
    model, spec = load_sklearn(source)
    refuse_several_targets(spec)
    if training.rows.n < FEWEST_ROWS:
        raise TechniqueError(f"needs at least {FEWEST_ROWS} training rows, there are {training.rows.n}: give --train")
    with tool("scikit-learn"):
        model = dense(model)
        features, search = (
            np.asarray(features_of(model, _table(rows, spec, model)), dtype=np.float64)
            for rows in (training.rows, training.search)
        )
    if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in training.teacher.values()):
        raise TechniqueError("the model answers some training rows with no finite number: there is nothing to learn")
    teacher = final_estimator(model)
    classes = None if "value" in training.teacher else np.asarray(teacher.classes_)
    return Lesson(
        model=model,
        spec=spec,
        features=features,
        values=np.asarray(training.teacher["value"], np.float64) if classes is None else None,
        shares=None if classes is None else shares_of(training.teacher, classes),
        classes=classes,
        search_features=search,
    )


def save_student(lesson: Lesson, student: Any, context: BuildContext) -> None:
    """Save the teacher's pipeline with a fitted student in place of its final estimator."""
    save_sklearn(with_final_estimator(lesson.model, student), lesson.spec, context.folder)


def may_be_taught(model: ModelFacts, recipe: Recipe) -> bool:
    """Whether a scikit-learn student is worth training: for models as they were given, not linear, with one target."""
    several = any(output.name in ("label", "value") and len(output.shape) > 1 for output in model.spec.outputs)
    return model.format == "sklearn" and not recipe.steps and not several and not LINEAR & model.operators.keys()


def refuse_several_targets(spec: ModelSpec) -> None:
    """Refuse models with several answers a row.

    Raises:
        TechniqueError: It is one.
    """
    if any(output.name in ("label", "value") and len(output.shape) > 1 for output in spec.outputs):
        raise TechniqueError("works on one target; this model has several")


def shares_of(answers: Mapping[str, Array], classes: Array) -> Array:
    """The share of each class in a teacher's answers, [n, classes]; labels alone give all to one."""
    if "probabilities" in answers:
        return answers["probabilities"].astype(np.float64)
    return np.asarray(answers["label"][:, None] == classes[None, :], dtype=np.float64)


def weighted_rows(shares: Array) -> tuple[Array, Array, Array]:
    """Rows of hard labels that say the same as soft ones: each row stands once for each class, weighted by its share.

    A weighted log loss, or an impurity, of these rows is exactly that of the shares.

    Args:
        shares: [n, classes].

    Returns:
        Row, class and weight of each, [m]; every class is among them.
    """
    least = np.sort(shares, axis=1)[:, -MOST_CLASSES_A_ROW:][:, :1]
    kept = np.where((shares >= SMALLEST_SHARE) & (shares >= least), shares, 0.0)
    kept[0] = np.maximum(kept[0], SMALLEST_SHARE)  # every class stays known, even one never answered
    row, column = np.nonzero(kept)
    return row, column, kept[row, column]


def filled(features: Array) -> list[Any]:
    """The first steps of a student that needs whole rows: an imputer where values are missing, else nothing."""
    from sklearn.impute import SimpleImputer

    return [SimpleImputer(add_indicator=True, keep_empty_features=True)] if np.isnan(features).any() else []


def dense(model: Any) -> Any:
    """A copy whose preprocessing gives dense arrays: bins and scales are not made for sparse ones."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if not hasattr(model, "steps"):
        return model
    changed = copy.copy(model)
    changed.steps = [(name, _dense_part(part)) for name, part in model.steps]
    return changed


def features_of(model: Any, table: Any) -> Any:
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


def note_progress(run: TrainingRun, lesson: Lesson, student: Any, training: Training, **told: Any) -> bool:
    """Tell where a student stands; whether it is the best so far."""
    return run.tell(quality=lesson.quality_of(student, training), **told)


def _table(rows: Rows, spec: ModelSpec, model: Any) -> Any:
    return SklearnSession(model, spec, None).prepare(rows.feeds)


def _dense_part(part: Any) -> Any:
    for name in ("sparse_output_", "sparse_output"):  # of a ColumnTransformer, of an encoder
        if hasattr(part, name):
            part = copy.copy(part)
            setattr(part, name, False)
            return part
    return dense(part)
