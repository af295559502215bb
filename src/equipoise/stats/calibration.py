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
    Flournoy 2017). Beyond the outermost middles the line goes on to the least and the greatest confidence seen, as
    steep as beside them, but no more than half-way to 0 and to 1.

    Args:
        raw: Confidence, [n], n >= 1; rows whose confidence is not a number are left out.
        right: Whether the answer was right, [n].

    Returns:
        Knots (confidence, probability), both ascending, the confidence strictly; a single one where more confidence is
        not more often right, or no row is left.

    Example:
        >>> fit_isotonic(np.repeat([0.2, 0.9], 50), np.repeat([False, True], 50))
        ((0.2, 0.0), (0.9, 1.0))
    """
    from scipy.optimize import isotonic_regression

    known = ~np.isnan(raw)
    if not known.any():
        return ((0.0, 0.0),)
    places, codes, counts = np.unique(raw[known], return_inverse=True, return_counts=True)
    shares = np.bincount(codes, weights=right[known]) / counts
    blocks = isotonic_regression(shares, weights=counts).blocks
    steps: list[tuple[float, float, float]] = []
    weight = place = share = 0.0
    for begin, end in itertools.pairwise(blocks):
        part = counts[begin:end]
        weight += float(part.sum())
        place += float((places[begin:end] * part).sum())
        share += float((shares[begin:end] * part).sum())
        if weight >= LEAST_BLOCK:
            steps.append((weight, place, share))
            weight = place = share = 0.0
    if weight > 0 or not steps:  # too few rows are left at the end for a step of their own
        before = steps.pop() if steps else (0.0, 0.0, 0.0)
        steps.append((weight + before[0], place + before[1], share + before[2]))
    knots = [(place / weight, share / weight) for weight, place, share in steps]
    return tuple(_to_the_ends(knots, float(places[0]), float(places[-1])))


def _to_the_ends(knots: list[tuple[float, float]], least: float, greatest: float) -> list[tuple[float, float]]:
    """Lengthens a line to both ends of its range; one without a slope stays as it is."""
    if len(knots) < 2:
        return knots
    (first, low), (second, above) = knots[0], knots[1]
    (before, below), (last, high) = knots[-2], knots[-1]
    lengthened = list(knots)
    if least < first:
        fall = (above - low) / (second - first) * (first - least)
        lengthened.insert(0, (least, low - min(fall, low / 2)))
    if greatest > last:
        rise = (high - below) / (last - before) * (greatest - last)
        lengthened.append((greatest, high + min(rise, (1 - high) / 2)))
    return lengthened
