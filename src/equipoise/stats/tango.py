"""The score test for the difference of two paired proportions (Tango 1998)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_GRID = np.linspace(0.0, 1.0, 33)


def null_variance(harmed: ArrayLike, helped: ArrayLike, n: ArrayLike, drop: ArrayLike) -> Array:
    """Variance of one row's difference if the true drop were `drop`, the rest estimated by maximum likelihood.

    With p the share of rows that only the candidate gets right, the share that only the baseline does is p + drop; p
    solves 2 n p^2 + (2 n drop - (harmed + helped) - (harmed - helped) drop) p - helped drop (1 - drop) = 0, and the
    variance is 2 p + drop (1 - drop).

    Args:
        harmed: Rows that the baseline gets right and the candidate wrong; need not be whole.
        helped: Rows that the candidate gets right and the baseline wrong.
        n: Rows in all, more than 0.
        drop: The true drop to suppose, strictly between -1 and 1.

    Returns:
        The variance, of the arguments' broadcast shape.
    """
    b, c, rows, delta = (np.asarray(argument, dtype=np.float64) for argument in (harmed, helped, n, drop))
    linear = 2 * rows * delta - (b + c) - (b - c) * delta
    root = np.sqrt(np.maximum(linear * linear + 8 * rows * c * delta * (1 - delta), 0.0))
    # The root with the larger denominator: subtracting nearly equal numbers would lose p when it is small.
    cancels = linear > 0
    safe = np.where(cancels, linear + root, 1.0)
    p = np.where(cancels, 2 * c * delta * (1 - delta) / safe, (root - linear) / (4 * rows))
    variance: Array = np.maximum(2 * p + delta * (1 - delta), 0.0)
    return variance


def tango_z(harmed: ArrayLike, helped: ArrayLike, n: ArrayLike, drop: ArrayLike) -> Array:
    """The score statistic of the hypothesis that the true drop is `drop`; standard normal if it is.

    z = (harmed - helped - n drop) / sqrt(n (2 p + drop (1 - drop))), p from the constrained likelihood. Far below zero
    is evidence that the drop is smaller. All arguments broadcast. Reference: T. Tango, "Equivalence test and confidence
    interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17 (1998).

    Args:
        harmed: Rows that the baseline gets right and the candidate wrong; need not be whole.
        helped: Rows that the candidate gets right and the baseline wrong.
        n: Rows in all, more than 0.
        drop: The true drop to suppose, strictly between -1 and 1.

    Returns:
        The statistic, of the arguments' broadcast shape.

    >>> float(tango_z(0, 0, 268, 0.01).round(3))  # no loss at all, one point: 268 rows are just enough at 95%
    -1.645
    """
    b, c, rows, delta = (np.asarray(argument, dtype=np.float64) for argument in (harmed, helped, n, drop))
    spread = np.sqrt(rows * null_variance(b, c, rows, delta))
    excess = b - c - rows * delta
    # No discordant row and no margin: the rows say nothing either way, which is z = 0.
    certain = np.where(excess == 0, 0.0, np.copysign(np.inf, excess))
    z: Array = np.where(spread > 0, excess / np.where(spread > 0, spread, 1.0), certain)
    return z


@lru_cache(maxsize=65_536)  # many thresholds of a cascade change the same numbers of answers
def tango_bounds(harmed: float, helped: float, n: float, z: float) -> tuple[float, float]:
    """The two one-sided score bounds of the drop: where `tango_z` passes +z and -z.

    Args:
        harmed: Rows that the baseline gets right and the candidate wrong.
        helped: Rows that the candidate gets right and the baseline wrong.
        n: Rows in all, more than 0.
        z: Normal quantile of the confidence of each bound (1.645 for 95%), positive.

    Returns:
        Lower and upper bound, each within 1e-9 and rounded away from the estimate.
    """
    wanted = np.array([[z], [-z]])
    estimate = (harmed - helped) / n
    edge = 1 - 1e-12
    # The statistic falls as the drop grows: a grid brackets the crossing, then a finer one inside the bracket.
    left = np.array([[-edge], [max(-edge, min(edge, estimate))]])
    right = np.array([[max(-edge, min(edge, estimate))], [edge]])
    for _ in range(7):
        grid = left + (right - left) * _GRID
        above: NDArray[Any] = tango_z(harmed, helped, n, grid) > wanted
        last = np.clip(above.sum(axis=1) - 1, 0, len(_GRID) - 2)
        left = np.take_along_axis(grid, last[:, None], axis=1)
        right = np.take_along_axis(grid, last[:, None] + 1, axis=1)
        if float((right - left).max()) < 1e-10:
            break
    return min(float(left[0, 0]), estimate), max(float(right[1, 0]), estimate)
