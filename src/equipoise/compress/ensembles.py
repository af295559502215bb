"""Where the tree ensemble in a scikit-learn model is, and how large it is."""

from __future__ import annotations

import copy
from typing import Any

from equipoise.compress.base import ModelFacts
from equipoise.core.recipe import Recipe

FORESTS = frozenset({"RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"})
BOOSTED = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
HISTOGRAM_BOOSTED = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})


def with_final_estimator(model: Any, replacement: Any) -> Any:
    """A copy of the model with another final estimator; a search becomes the best that it found."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if not hasattr(model, "steps"):
        return replacement
    changed = copy.copy(model)
    changed.steps = [*model.steps[:-1], (model.steps[-1][0], with_final_estimator(model.steps[-1][1], replacement))]
    return changed


def is_whole_ensemble(model: ModelFacts, recipe: Recipe) -> bool:
    """Whether it is an ensemble of trees in scikit-learn that no step has made smaller or replaced."""
    done = {"smaller_forest", "linear_form"} & {step.technique for step in recipe.steps}
    return model.format == "sklearn" and model.estimators is not None and not done


def ensemble_size(estimator: Any) -> int | None:
    """Trees of a forest, rounds of a boosted ensemble; null for anything else."""
    kind = type(estimator).__name__
    if kind in FORESTS | BOOSTED:
        return len(estimator.estimators_)
    return len(estimator._predictors) if kind in HISTOGRAM_BOOSTED else None
