"""Balanced accuracy and the F1 scores: figures of how often each class is right, missed and falsely given.

All are functions of three totals a class: rows of the class that are right, rows of the class, rows given the class.
Averages run over the classes that occur in the target (of those rows, in that weighting), so that one stray answer of a
class that these rows do not hold costs what it should, and not a whole class's share of the average. For multi-label
answers each label is a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from equipoise.stats.linear import Linear, UndefinedMetric
from equipoise.stats.predictions import Predictions

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Problem:
    """Who is what: for one answer a row, class codes [n]; for multi-label, 0/1 indicators [n, L]."""

    target: NDArray[Any]
    labels: NDArray[Any]
    classes: int
    multi_label: bool
    positive: int  # code of the positive class; -1 where it does not occur

    def totals(self, weights: Array) -> tuple[Array, Array, Array]:
        """Right, present and given rows of each class, [B, classes], in each weighting."""
        if self.multi_label:
            both = (self.target * self.labels).astype(np.float64)
            return weights @ both, weights @ self.target.astype(np.float64), weights @ self.labels.astype(np.float64)
        right = np.flatnonzero(self.target == self.labels)
        return (
            self._sum(weights[:, right], self.target[right]),
            self._sum(weights, self.target),
            self._sum(weights, self.labels),
        )

    def _sum(self, weights: Array, codes: NDArray[Any]) -> Array:
        n = len(codes)
        indicator = csr_array((np.ones(n), (codes, np.arange(n))), shape=(self.classes, n))
        return np.ascontiguousarray(np.asarray(indicator @ weights.T).T)


def _problem(name: str, predictions: Predictions, target: NDArray[Any] | None, positive: int) -> _Problem:
    labels = np.asarray(predictions.labels)
    truth = np.asarray(target)
    if truth.shape != labels.shape:
        raise ValueError(f"labels of shape {labels.shape} cannot be compared with a target of shape {truth.shape}")
    if len(labels) == 0:
        raise UndefinedMetric(f"{name} has no value on no rows")
    if labels.ndim == 2:
        if name in ("f1_binary", "balanced_accuracy"):
            raise ValueError(f"{name} is not defined for multi-label answers; use f1_macro, auroc or accuracy")
        return _Problem(truth, labels, labels.shape[1], True, -1)
    classes, codes = np.unique(np.concatenate([truth, labels]), return_inverse=True)
    where = np.flatnonzero(classes == positive)
    position = int(where[0]) if len(where) else -1
    return _Problem(codes[: len(truth)], codes[len(truth) :], len(classes), False, position)


def _divide(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _figure(name: str, positive: int, right: Array, present: Array, given: Array) -> Array:
    """The metric from its totals, [B, classes] to [B]; NaN where it has none."""
    occurs = present > 0
    if name == "balanced_accuracy":
        return _mean(_divide(right, present), occurs.astype(np.float64))
    f1 = _divide(2 * right, present + given)
    if name == "f1_binary":
        return f1[:, positive] if positive >= 0 else np.zeros(len(f1))
    return _mean(f1, occurs.astype(np.float64) if name == "f1_macro" else present)


def _mean(figures: Array, weights: Array) -> Array:
    total = weights.sum(axis=1)
    return np.where(total > 0, (figures * weights).sum(axis=1) / np.where(total > 0, total, 1), np.nan)


def weighted(name: str, positive: int, predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
    """The metric in each weighting of the rows, [B, n] to [B]."""
    problem = _problem(name, predictions, target, positive)
    return _figure(name, problem.positive, *problem.totals(weights))


def linear(name: str, positive: int, predictions: Predictions, target: NDArray[Any] | None) -> Linear:
    """The metric as a mean over rows, to first order.

    The metric does not change when all weights double, so that a row's influence is n times the gradient by its own
    weight, with nothing to subtract.
    """
    problem = _problem(name, predictions, target, positive)
    n = len(problem.target)
    totals = tuple(total[0] for total in problem.totals(np.ones((1, n))))
    value = float(_figure(name, problem.positive, *(total[None] for total in totals))[0])
    if np.isnan(value):
        raise UndefinedMetric(f"{name} has no value: none of the labels occurs in these {n} rows")
    if name == "f1_binary" and (problem.positive < 0 or totals[1][problem.positive] == 0):
        raise UndefinedMetric(f"f1_binary cannot be compared: the positive class does not occur in these {n} rows")
    by_right, by_present, by_given = _gradient(name, problem.positive, value, *totals)
    if problem.multi_label:
        both = problem.target * problem.labels
        influence = both @ by_right + problem.target @ by_present + problem.labels @ by_given
        # A spoilt row misses each label it has and is given each that it has not.
        spoilt = np.where(problem.target == 1, np.maximum(by_right + by_given, 0), np.maximum(-by_given, 0))
        harm = float(spoilt.sum(axis=1).max())
    else:
        same = problem.target == problem.labels
        influence = by_right[problem.target] * same + by_present[problem.target] + by_given[problem.labels]
        occurs = totals[1] > 0
        harm = float((by_right + by_given)[occurs].max() - min(0.0, float(by_given.min())))
    return Linear(rows=value + n * influence, harm=max(n * harm, 1.0))


def _gradient(
    name: str, positive: int, value: float, right: Array, present: Array, given: Array
) -> tuple[Array, Array, Array]:
    """Derivatives of the metric by right, present and given rows of each class, each [classes]."""
    zeros = np.zeros_like(right)
    occurs = (present > 0).astype(np.float64)
    if name == "balanced_accuracy":
        share = occurs / occurs.sum()
        return share * _divide(np.ones_like(right), present), -share * _divide(right, present**2), zeros
    both = present + given
    by_right, by_both = _divide(np.full_like(right, 2.0), both), -_divide(2 * right, both**2)
    if name == "f1_binary":
        share = zeros.copy()
        if positive >= 0:
            share[positive] = 1.0
    else:
        share = occurs / occurs.sum() if name == "f1_macro" else present / present.sum()
    by_present = share * by_both
    if name == "f1_weighted":
        by_present = by_present + (_divide(2 * right, both) - value) / present.sum()
    return share * by_right, by_present, share * by_both
