"""Calibration: confidence that means what it says, fitted on rows whose answers are known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
LEAST_PROBABILITY = 1e-12
COLDEST, HOTTEST = 0.05, 20.0
LEAST_BLOCK = 10
"""Rows that a step of the isotonic line rests on, at least: fewer would follow noise."""


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities as they are when the logits behind them are divided by a temperature, [n, C].

    Example:
        >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3)
        array([[0.667, 0.333]])
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    if temperature == 1.0:
        return shares
    logits = np.log(np.maximum(shares, LEAST_PROBABILITY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probabilities: Floats, target: NDArray[np.integer[Any]]) -> float:
    """The temperature with the least log loss (Guo et al. 2017, arXiv 1706.04599), between 0.05 and 20.

    Args:
        probabilities: Of each class, [n, C].
        target: True classes, [n]; rows whose class is none of them are left out.

    Returns:
        The temperature; 1 where no row is left.
    """
    from scipy.optimize import minimize_scalar

    known = (target >= 0) & (target < probabilities.shape[1])
    if not known.any():
        return 1.0
    shares, classes = probabilities[known], target[known]
    rows = np.arange(len(classes))

    def loss(log_temperature: float) -> float:
        right = tempered(shares, float(np.exp(log_temperature)))[rows, classes]
        return float(-np.log(np.maximum(right, LEAST_PROBABILITY)).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def fit_isotonic(raw: Floats, right: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """A rising line from confidence to the share of right answers, straight between the middles of its steps.

    Isotonic regression has flat steps, on which a threshold could not tell rows apart. Here each step stands at its
    middle and its neighbours are joined, so that more confidence is always more (centred isotonic regression, Oron and
    Flournoy 2017).

    Args:
        raw: Confidence, [n], n >= 1.
        right: Whether the answer was right, [n].

    Returns:
        Knots (confidence, probability), both ascending.

    Example:
        >>> fit_isotonic(np.repeat([0.2, 0.9], 50), np.repeat([False, True], 50))
        ((0.2, 0.0), (0.9, 1.0))
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(raw, kind="stable")
    places, first = np.unique(raw[order], return_index=True)
    counts = np.diff(np.append(first, len(raw)))
    shares = np.add.reduceat(right[order].astype(np.float64), first) / counts
    blocks = isotonic_regression(shares, weights=counts).blocks
    knots: list[tuple[float, float]] = []
    weight = place = share = 0.0
    for begin, end in itertools.pairwise(blocks):
        part = counts[begin:end]
        weight += float(part.sum())
        place += float((places[begin:end] * part).sum())
        share += float((shares[begin:end] * part).sum())
        if weight >= LEAST_BLOCK or end == len(places):
            knots.append((place / weight, share / weight))
            weight = place = share = 0.0
    return tuple(knots)
