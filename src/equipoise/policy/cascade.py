"""When a stage's answer stands: how sure it is, how sure it must be. The search and the server call the same functions.

A cascade asks a cheap model first and a dearer one only where the cheap one is unsure (Viola and Jones 2001; for
networks, Wang et al. 2022, arXiv 2012.01988).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import AcceptRule, Calibration, Measure
from equipoise.stats.calibration import LEAST_PROBABILITY, tempered

Floats = NDArray[np.floating[Any]]


def raw_confidence(
    measure: Measure,
    *,
    probabilities: Floats | None = None,
    members: NDArray[Any] | None = None,
    answer: NDArray[Any] | None = None,
    temperature: float = 1.0,
) -> Floats:
    """How sure a stage is of each row, before calibration: more is surer.

    `max_probability`: max p. `margin`: max p minus the second. `entropy`: 1 - H(p) / log C. `agreement`: share of
    members whose label is the stage's. `spread`: minus the standard deviation of the members' numbers.

    Args:
        measure: Which.
        probabilities: Of each class, [n, C], C >= 2; for the first three.
        members: The members' labels or numbers, [m, n]; for the last two.
        answer: The stage's labels, [n]; for `agreement`.
        temperature: Divides the logarithms of the probabilities first; more than 1 is less sure.

    Returns:
        Confidence, float64 [n].

    Raises:
        ValueError: What the measure reads is missing.

    Example:
        >>> p = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])
        >>> raw_confidence("margin", probabilities=p).round(2)
        array([0.5, 0. ])
    """
    if measure == "spread":
        return np.asarray(-np.std(_given(members, measure), axis=0, dtype=np.float64))
    if measure == "agreement":
        labels = _given(members, measure)
        return np.asarray((labels == _given(answer, measure)).mean(axis=0), dtype=np.float64)
    shares = tempered(_given(probabilities, measure), temperature)
    if measure == "max_probability":
        return np.asarray(shares.max(axis=1))
    if measure == "margin":
        highest = np.partition(shares, -2, axis=1)
        return np.asarray(highest[:, -1] - highest[:, -2])
    positive = np.maximum(shares, LEAST_PROBABILITY)
    return np.asarray(1 + (positive * np.log(positive)).sum(axis=1) / np.log(shares.shape[1]))


def calibrated(raw: Floats, calibration: Calibration) -> Floats:
    """Confidence as a probability of being right; a temperature was applied before the confidence was taken.

    Args:
        raw: From `raw_confidence`, [n].
        calibration: Of that measure.

    Example:
        >>> calibrated(np.array([0.5, 0.9]), Calibration(method="isotonic", knots=((0.4, 0.3), (0.8, 0.7))))
        array([0.4, 0.7])
    """
    if calibration.method != "isotonic":
        return raw
    places, shares = zip(*calibration.knots, strict=True)
    # A line of a single knot would make a number of what is none, and so let an unsound answer stand.
    return np.where(np.isnan(raw), np.nan, np.interp(raw, places, shares))


def stands(confidence: Floats, rule: AcceptRule | None) -> NDArray[np.bool_]:
    """Which answers stand: those at or above the threshold; a confidence that is not a number never is.

    Args:
        confidence: Calibrated, [n].
        rule: Null where every answer stands.
    """
    if rule is None:
        return np.ones(len(confidence), dtype=bool)
    return np.asarray(confidence >= rule.at_least)


def _given(value: NDArray[Any] | None, measure: Measure) -> NDArray[Any]:
    if value is None:
        raise ValueError(f"{measure} reads what was not given")
    return value
