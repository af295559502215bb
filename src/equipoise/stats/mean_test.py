"""Tests and intervals of a mean of rows that may come in groups: Student's t and the studentised bootstrap.

Both are made to fail safe where harm is rare. A mean of differences that are nearly all zero has a sample variance that
says little of the few rows that matter, so that the squared standard error carries an allowance: z^2 harm^2 / n^2, as
though z^2 further rows had been spoilt (z the normal quantile of the confidence, 1.645 at 95%); with groups, z^2 clumps
of as many rows as the design effect says. With no difference at all the upper bound is then z^2 harm / n, which is
Tango's bound for proportions to first order, and a large sample with light tails hardly feels it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from equipoise.core.estimate import Estimate

Array = NDArray[np.float64]
Groups = NDArray[np.integer[Any]]

MIN_GROUPS = 30
_CELLS = 1_000_000  # resampled figures held at once: 8 MB a temporary


@dataclass(frozen=True)
class MeanSample:
    """Rows whose mean is under test, gathered into the blocks that are independent of each other.

    Attributes:
        sums: Sum of the rows' figures in each block, [G]; a row is its own block where there are no groups.
        sizes: Rows of each block, [G].
        n: Rows in all.
        allowance: What one spoilt row would add to the sum; with groups, as many rows as the design effect says, for
            harm that comes in clumps.
        grouped: Whether blocks are groups.
        sample_seed: Of the bootstrap.
    """

    sums: Array
    sizes: Array
    n: int
    allowance: float
    grouped: bool
    sample_seed: int = 0

    @property
    def blocks(self) -> int:
        """Number of independent blocks."""
        return len(self.sums)

    @cached_property
    def mean(self) -> float:
        """Mean over rows."""
        return float(self.sums.sum()) / self.n

    @cached_property
    def spread(self) -> float:
        """Standard deviation that one independent row would need for the mean to vary as it does here."""
        if self.blocks < 2:
            return 0.0
        residuals = self.sums - self.sizes * self.mean
        return math.sqrt(self.blocks / (self.blocks - 1) * float(residuals @ residuals) / self.n)

    def standard_error(self, z: float) -> float:
        """Of the mean, with the allowance for rare harm at the normal quantile `z`."""
        return math.sqrt(self.spread**2 / self.n + (z * self.allowance / self.n) ** 2)

    def skewness(self) -> float:
        """Skewness of the blocks' sums about the mean, over the root of their number."""
        residuals = self.sums - self.sizes * self.mean
        largest = float(np.abs(residuals).max())
        if largest == 0:
            return 0.0
        scaled = residuals / largest  # the cube of a tiny spread would underflow
        return float((scaled**3).mean()) / math.sqrt(float((scaled**2).mean()) ** 3 * self.blocks)

    def pivots(self, z: float) -> Array:
        """Studentised bootstrap replicates (mean* - mean) / standard error*, sorted, [B]."""
        rng = np.random.default_rng(self.sample_seed)
        replicates = 1999 if self.blocks <= 10_000 else 999
        # Centred, so that squares of a large mean do not drown the spread.
        centred = self.sums - self.sizes * self.mean
        pivots = []
        distinct, counts = (centred, None) if self.grouped else np.unique(centred, return_counts=True)
        if len(distinct) * 8 > self.blocks:
            counts = None
        step = max(1, _CELLS // (self.blocks if counts is None else len(distinct)))
        for first in range(0, replicates, step):
            size = min(step, replicates - first)
            rows: Array = np.full(size, float(self.n))
            if counts is not None:
                # Many equal rows: drawing how often each figure occurs is the same as drawing rows.
                drawn = rng.multinomial(self.blocks, counts / self.blocks, size=size).astype(np.float64)
                total, square = drawn @ distinct, drawn @ distinct**2
                residual = square - total**2 / rows
            else:
                chosen = rng.integers(0, self.blocks, size=(size, self.blocks))
                picked = centred[chosen]
                total, square = picked.sum(axis=1), np.einsum("bg,bg->b", picked, picked)
                residual = square - total**2 / rows
                if self.grouped:
                    sizes = self.sizes[chosen]
                    rows = sizes.sum(axis=1)
                    shift = total / rows
                    cross, squares = np.einsum("bg,bg->b", picked, sizes), np.einsum("bg,bg->b", sizes, sizes)
                    residual = square - 2 * shift * cross + shift**2 * squares
            variance = self.blocks / (self.blocks - 1) * np.maximum(residual, 0.0) + (z * self.allowance) ** 2
            error = np.sqrt(variance) / rows
            pivots.append(np.divide(total / rows, error, out=np.zeros(size), where=error > 0))
        return np.sort(np.concatenate(pivots))


def mean_sample(
    figures: Array, harm: float, groups: Groups | None, like: Array | None = None, seed: int = 0
) -> MeanSample:
    """Gather rows into blocks.

    Args:
        figures: One a row, [n], n at least 1.
        harm: What one spoilt row would add to their sum.
        groups: Which rows belong together, [n]; null where rows are independent.
        like: Figures of the baseline, [n]: unseen harm is taken to run in groups as much as these do. Null for
            `figures` themselves.
        seed: Of the bootstrap.
    """
    n = len(figures)
    if groups is None:
        return MeanSample(figures, np.ones(n), n, harm, grouped=False, sample_seed=seed)
    codes = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    effect = design_effect(figures if like is None else like, codes, sizes)
    sums: Array = np.bincount(codes, weights=figures).astype(np.float64)
    return MeanSample(sums, sizes, n, harm * effect, grouped=True, sample_seed=seed)


def design_effect(figures: Array, codes: Groups, sizes: Array) -> float:
    """How many grouped rows say as much as one independent row: 1 + (mean size of a row's group - 1) times ICC.

    ICC is the intraclass correlation by analysis of variance, held to [0, 1]; figures that do not differ at all say
    nothing of it, and then it is taken to be 1.

    Args:
        figures: One a row, [n].
        codes: Group of each row, 0 to G - 1, [n].
        sizes: Rows of each group, [G].
    """
    n, groups = len(figures), len(sizes)
    typical = float((sizes**2).sum()) / n
    if groups < 2 or groups == n:
        return typical
    centred = figures - figures.mean()
    sums = np.bincount(codes, weights=centred, minlength=groups)
    between = float((sums**2 / sizes).sum())
    within = (float(centred @ centred) - between) / (n - groups)
    between /= groups - 1
    if between + within <= 0:
        return typical
    average = (n - typical) / (groups - 1)
    icc = (between - within) / (between + (average - 1) * within)
    return 1 + (typical - 1) * min(1.0, max(0.0, icc))


def mean_interval(figures: Array, harm: float, groups: Groups | None, confidence: float) -> Estimate:
    """Two-sided Student t interval of a mean, by group where there are groups (G - 1 degrees of freedom).

    Args:
        figures: One a row, [n], n at least 1.
        harm: What one spoilt row would change in their sum.
        groups: Which rows belong together, [n]; null where rows are independent.
        confidence: Two-sided.

    Returns:
        The mean; its ends are null with fewer than two rows or groups.
    """
    sample = mean_sample(figures, harm, groups)
    method = f"cluster-robust t, {sample.blocks} groups" if sample.grouped else "Student t"
    if sample.blocks < 2:
        return Estimate(value=sample.mean, low=None, high=None, n=sample.n, method=method)
    tail = 0.5 + confidence / 2
    half = float(stdtrit(sample.blocks - 1, tail)) * sample.standard_error(float(ndtri(tail)))
    return Estimate(value=sample.mean, low=sample.mean - half, high=sample.mean + half, n=sample.n, method=method)


@dataclass(frozen=True)
class BelowTest:
    """The test that a mean lies below a bound.

    Attributes:
        p_value: Of the hypothesis that the mean is at or above the bound.
        low: One-sided lower bound of the mean; null where nothing can be said.
        high: One-sided upper bound: the smallest bound (nearly) that the test would have passed.
    """

    p_value: float
    low: float | None
    high: float | None


def mean_below(sample: MeanSample, bound: float, confidence: float, bootstrap: bool) -> BelowTest:
    """Test that a mean lies below `bound`: Student's t, and beside it one that sees skew, whichever says less.

    The t-test is liberal where rare large harm skews the rows: a sample that happens to hold little of it has both a
    low mean and a low standard error. The bootstrap of the studentised mean sees that skew (it is second-order
    accurate), and so does Hall's cubic transformation of t, in closed form (P. Hall, "On the removal of skewness by
    transformation", J. R. Statist. Soc. B 54, 1992). Neither sees harm that the sample lacks altogether; for that there
    is the allowance.

    Args:
        sample: The rows.
        bound: What the mean is held against.
        confidence: Of each one-sided bound.
        bootstrap: Whether it is the bootstrap that stands beside t, or Hall's transformation.
    """
    if sample.blocks < 2:
        return BelowTest(1.0, None, None)
    alpha = round(1 - confidence, 12)
    z = float(ndtri(confidence))
    error = sample.standard_error(z)
    if error == 0:
        return BelowTest(1.0, None, None)
    pivot = (sample.mean - bound) / error
    p_value = float(stdtr(sample.blocks - 1, pivot))
    critical = float(stdtrit(sample.blocks - 1, confidence))
    lower, upper = critical, critical
    if bootstrap:
        pivots = sample.pivots(z)
        draws = len(pivots)
        p_value = max(p_value, (1 + int(np.searchsorted(pivots, pivot, side="right"))) / (draws + 1))
        # p <= alpha takes at most alpha (B + 1) - 1 replicates at or below the pivot.
        spare = math.floor(alpha * (draws + 1) + 1e-9) - 1
        if spare < 0:
            return BelowTest(p_value, None, None)
        upper = max(critical, -float(pivots[spare]))
        lower = max(critical, float(pivots[draws - 1 - spare]))
    else:
        skew = sample.skewness()
        p_value = max(p_value, float(stdtr(sample.blocks - 1, _hall(pivot, skew))))
        upper, lower = max(critical, -_hall_inverse(-critical, skew)), max(critical, _hall_inverse(critical, skew))
    # Rounded outwards by a billionth, so that a bound of `high` passes whatever the last digit does.
    outwards = 1 + 1e-9
    return BelowTest(p_value, sample.mean - lower * outwards * error, sample.mean + upper * outwards * error)


def _hall(pivot: float, skew: float) -> float:
    """Student's t with the skew of its rows taken out: increasing in the pivot."""
    return pivot + skew * pivot**2 / 3 + skew**2 * pivot**3 / 27 + skew / 6


def _hall_inverse(transformed: float, skew: float) -> float:
    """The pivot whose transformation this is."""
    if abs(skew) < 1e-9:
        return transformed
    return 3 / skew * (float(np.cbrt(1 + skew * (transformed - skew / 6))) - 1)
