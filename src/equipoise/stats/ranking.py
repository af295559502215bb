"""Area under the ROC curve: how often a positive row is ranked above a negative one, ties counting half.

Two classes: of the positive class's probability. More: the plain mean of one-vs-rest areas over the classes that occur
in the target. Multi-label: the mean over labels that some rows have and others have not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.stats.linear import Linear, UndefinedMetric
from equipoise.stats.predictions import Predictions

Array = NDArray[np.float64]
_CELLS = 2_000_000  # weights held at once: 16 MB a temporary


def linear(positive: int, predictions: Predictions, target: NDArray[Any] | None) -> Linear:
    """The area as a mean over rows, to first order: DeLong's placements (DeLong, DeLong and Clarke-Pearson 1988)."""
    problems = list(_problems(positive, predictions, target))
    n = predictions.n
    rows = np.zeros(n)
    harm = np.zeros(n)
    for scores, is_positive in problems:
        above, below = scores[is_positive], scores[~is_positive]
        won = _share_below(below, above)
        area = float(won.mean())
        rows[is_positive] += area + n / len(above) * (won - area)
        rows[~is_positive] += area + n / len(below) * (1 - _share_below(above, below) - area)
        harm[is_positive] += n / len(above)
        harm[~is_positive] += n / len(below)
    return Linear(rows=rows / len(problems), harm=float(harm.max()) / len(problems))


def weighted(positive: int, predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
    """The area in each weighting of the rows, [B, n] to [B]; NaN where a weighting leaves it undefined.

    Rows are sorted once a class; each weighting is then one running sum over groups of tied rows.
    """
    areas = np.zeros(len(weights))
    defined = np.zeros(len(weights))
    step = max(1, _CELLS // max(1, weights.shape[1]))
    for scores, is_positive in _problems(positive, predictions, target):
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
        above = is_positive[order].astype(np.float64)
        for first in range(0, len(weights), step):
            chosen = weights[first : first + step][:, order]
            wins = np.add.reduceat(chosen * above, starts, axis=1)
            losses = np.add.reduceat(chosen * (1 - above), starts, axis=1)
            lost_to = np.cumsum(losses, axis=1) - losses / 2
            pairs = wins.sum(axis=1) * losses.sum(axis=1)
            exists = pairs > 0
            area = np.divide((wins * lost_to).sum(axis=1), pairs, out=np.zeros(len(pairs)), where=exists)
            areas[first : first + step] += area
            defined[first : first + step] += exists
    return np.where(defined > 0, areas / np.where(defined > 0, defined, 1), np.nan)


def _problems(
    positive: int, predictions: Predictions, target: NDArray[Any] | None
) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
    """Scores and who is positive, for each one-against-rest question that these rows can answer."""
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    truth = np.asarray(target)
    n, classes = probabilities.shape
    if len(truth) != n:
        raise ValueError(f"{n} rows of probabilities cannot be compared with {len(truth)} targets")
    if truth.ndim == 2:
        usable = [k for k in range(classes) if 0 < np.count_nonzero(truth[:, k] == 1) < n]
        if not usable:
            raise UndefinedMetric(f"auroc needs a label that some of the rows have and others have not ({n} rows)")
        yield from ((probabilities[:, k], truth[:, k] == 1) for k in usable)
        return
    present = np.unique(truth)
    if len(present) < 2:
        only = f"only class {present[0]}" if len(present) else "no rows"
        raise UndefinedMetric(f"auroc needs rows of at least two classes, found {only}")
    if classes == 2:
        if positive not in present:
            raise UndefinedMetric(f"auroc needs rows of the positive class {positive}, found {present.tolist()}")
        yield probabilities[:, positive], truth == positive
        return
    if present[0] < 0 or present[-1] >= classes:
        raise ValueError(f"targets hold classes {present[0]} to {present[-1]}, probabilities {classes} columns")
    yield from ((probabilities[:, k], truth == k) for k in present)


def _share_below(reference: Array, scores: Array) -> Array:
    """For each score, the share of `reference` below it, ties counting half."""
    ordered = np.sort(reference)
    left = np.searchsorted(ordered, scores, side="left")
    right = np.searchsorted(ordered, scores, side="right")
    return np.asarray((left + right) / (2 * len(ordered)))
