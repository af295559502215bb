"""Intervals that need no assumption on the shape of a distribution: of proportions, medians and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, betaincinv, ndtri

from equipoise.core.estimate import Estimate

Side = Literal["two-sided", "lower", "upper"]


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of a proportion (Wilson 1927).

    Args:
        successes: Rows that count, 0 to `n`.
        n: Rows in all, at least 1.
        confidence: Two-sided, between 0 and 1.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: `n` is 0, or `successes` lies outside 0 to `n`.

    >>> low, high = wilson(90, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    """
    _check_counts(successes, n)
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n successes the ends are 0 and 1 by algebra; rounding would leave 1e-17 beside them.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95, side: Side = "two-sided") -> tuple[float, float]:
    """Exact interval of a proportion (Clopper and Pearson 1934): its coverage is never below `confidence`.

    Args:
        successes: Rows that count, 0 to `n`.
        n: Rows in all, at least 1.
        confidence: Of both ends together where two-sided, of the one end otherwise.
        side: Which ends are wanted; the other is then 0 or 1.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: `n` is 0, or `successes` lies outside 0 to `n`.

    >>> round(clopper_pearson(0, 299, 0.95, "upper")[1], 5)
    0.00997
    """
    _check_counts(successes, n)
    tail = (1 - confidence) / 2 if side == "two-sided" else 1 - confidence
    low = 0.0 if successes == 0 or side == "upper" else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n or side == "lower" else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def quantile_estimate(samples: ArrayLike, q: float, confidence: float = 0.95) -> Estimate | None:
    """A quantile with distribution-free bounds, or nothing where the samples cannot bound it from above.

    The number of n samples below the true quantile is binomial(n, q), so the k-th smallest sample is an upper bound at
    `confidence` as soon as P(binomial < k) >= confidence. Even the largest sample is one only if 1 - q^n >= confidence:
    a p99 at 95% takes 299 samples, a p50 takes 5. Fewer samples give null, never a figure, for a quantile read off too
    few samples looks better than it is.

    Args:
        samples: Measured figures, [n], in any order, independent.
        q: Which quantile, strictly between 0 and 1.
        confidence: Of each end on its own (one-sided), for it is the upper end that a limit is held against.

    Returns:
        The smallest sample with a share of at least `q` at or below it, and its bounds; null where n is too small.

    >>> quantile_estimate(range(298), 0.99) is None
    True
    >>> quantile_estimate(range(299), 0.99).high
    298.0
    """
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies strictly between 0 and 1, got {q}")
    ordered = np.sort(_figures(samples))
    n = len(ordered)
    if 1 - q**n < confidence:
        return None
    below = np.asarray(bdtr(np.arange(n), n, q))  # below[k] = P(binomial(n, q) <= k)
    upper = int(np.argmax(below >= confidence))
    provable = int(np.count_nonzero(below <= 1 - confidence))
    return Estimate(
        value=float(ordered[min(n - 1, max(0, math.ceil(n * q - 1e-9) - 1))]),
        low=float(ordered[provable - 1]) if provable else None,
        high=float(ordered[upper]),
        n=n,
        method=f"order statistic, each bound at {confidence:.3g}",
    )


def median_of_rounds(samples: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The median of repeated rounds with the order-statistic (sign test) interval.

    Args:
        samples: One figure a round, [n], at least one.
        confidence: Two-sided.

    Returns:
        The median; its ends are null below the rounds that such an interval takes (6 at 95%).

    Raises:
        ValueError: There are no samples, or some are not finite.

    >>> median_of_rounds([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]).low
    1.0
    """
    ordered = np.sort(_figures(samples))
    n = len(ordered)
    if n == 0:
        raise ValueError("a median needs at least one round")
    # Ends are the k-th smallest and k-th largest: each misses when at most k - 1 of n fair coins fall its way.
    misses = np.asarray(bdtr(np.arange(n), n, 0.5))
    k = int(np.count_nonzero(misses <= (1 - confidence) / 2))
    return Estimate(
        value=float(np.median(ordered)),
        low=float(ordered[k - 1]) if k else None,
        high=float(ordered[n - k]) if k else None,
        n=n,
        method=f"median of {n} rounds, order-statistic interval",
    )


def ratio_of_rounds(numerator: ArrayLike, denominator: ArrayLike, confidence: float = 0.95) -> Estimate:
    """How many times one figure is another, from rounds in which both were measured in turns.

    The ratio is taken within each round, so that whatever slowed that round down slows both and cancels.

    Args:
        numerator: One positive figure a round, [n].
        denominator: The other's figures in the same rounds, [n].
        confidence: Two-sided.

    Returns:
        The median ratio; its ends are null below 6 rounds at 95%.

    Raises:
        ValueError: The rounds do not pair up, or a figure is not positive.

    >>> ratio_of_rounds([4, 6, 8, 10, 12, 14], [2, 3, 4, 5, 6, 7]).value
    2.0
    """
    upper, lower = _figures(numerator), _figures(denominator)
    if len(upper) != len(lower):
        raise ValueError(f"rounds must pair up: {len(upper)} against {len(lower)}")
    if (upper <= 0).any() or (lower <= 0).any():
        raise ValueError("a ratio of rounds needs positive figures")
    estimate = median_of_rounds(upper / lower, confidence)
    return estimate.model_copy(update={"method": f"median of {estimate.n} paired rounds, order-statistic interval"})


def sum_of_estimates(parts: Sequence[Estimate]) -> Estimate:
    """The sum of independent figures with an interval from theirs (MOVER: Zou and Donner 2008).

    `low = sum - sqrt(sum((value - low)^2))` and likewise above: exact where the figures are normal, and it keeps the
    skew of each interval.

    Args:
        parts: At least one; a difference is the sum with a negated figure.

    Returns:
        The sum; an end is null where that of any part is.

    Raises:
        ValueError: There are no parts.

    >>> parts = [Estimate(value=v, low=v - h, high=v + h, n=9, method="") for v, h in ((1.0, 3.0), (2.0, 4.0))]
    >>> sum_of_estimates(parts).low
    -2.0
    """
    if not parts:
        raise ValueError("a sum needs at least one figure")
    value = sum(part.value for part in parts)
    below = [None if part.low is None else part.value - part.low for part in parts]
    above = [None if part.high is None else part.high - part.value for part in parts]
    return Estimate(
        value=value,
        low=None if None in below else value - math.hypot(*(each for each in below if each is not None)),
        high=None if None in above else value + math.hypot(*(each for each in above if each is not None)),
        n=min((part.n for part in parts if part.low != part.high), default=parts[0].n),
        method="sum of independent figures, intervals combined (MOVER)" if len(parts) > 1 else parts[0].method,
    )


def _figures(samples: ArrayLike) -> NDArray[np.float64]:
    figures: NDArray[np.float64] = np.asarray(samples, dtype=np.float64).ravel()
    if not np.isfinite(figures).all():
        raise ValueError("samples must be finite numbers")
    return figures


def _check_counts(successes: Any, n: Any) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
