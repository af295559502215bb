"""Is a model, by itself, no worse than a floor? One sample, no comparison with another model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.stats.intervals import clopper_pearson
from equipoise.stats.linear import UndefinedMetric
from equipoise.stats.mean_test import MIN_GROUPS, mean_below, mean_sample
from equipoise.stats.metrics import Metric
from equipoise.stats.predictions import Predictions


def floor_test(
    metric: Metric,
    answers: Predictions,
    target: NDArray[Any] | None,
    floor: float,
    groups: NDArray[np.integer[Any]] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> FloorCertificate:
    """Test that a model's metric is above a floor (for metrics where lower is better: below it).

    - A proportion of independent rows (accuracy; agreement with the original): the exact binomial test, with the
      Clopper-Pearson bound.
    - Any other metric: Student's t together with the studentised bootstrap of the rows' figures (for a functional, of
      its influences), as `stats.paired` tests differences; the larger p-value counts.
    - With groups: cluster-robust t with G - 1 degrees of freedom; fewer than 30 groups cannot certify.

    Args:
        metric: What is measured; must be certifiable.
        answers: The model's answers to n rows.
        target: True answers, [n] or [n, L]; for agreement the original's labels.
        floor: In the metric's units.
        groups: Which rows belong together, [n]; null where rows are independent.
        confidence: One minus the test's level.
        seed: Of the bootstrap.

    Returns:
        The claim, and whether it holds.

    Raises:
        ValueError: The metric may not be certified, or answers that it reads are missing.
    """
    if not metric.certifiable:
        raise ValueError(f"{metric.name} is reported, not certified")
    n = answers.n
    if n == 0:
        return _certificate(metric, floor, confidence, _unknown(floor, 0, "no rows"), 1.0)
    if groups is None and metric.kind == "proportion":
        right = int(metric.per_row(answers, target).sum())
        low = clopper_pearson(right, n, confidence, "lower")[0]
        high = clopper_pearson(right, n, confidence, "upper")[1]
        p_value = float(betainc(right, n - right + 1, min(1.0, max(0.0, floor)))) if right else 1.0
        quality = Estimate(value=right / n, low=low, high=high, n=n, method="Clopper-Pearson bounds")
        return _certificate(metric, floor, confidence, quality, p_value)
    try:
        linear = metric.linear(answers, target)
    except UndefinedMetric as undefined:
        return _certificate(metric, floor, confidence, _unknown(floor, n, str(undefined)), 1.0)
    if not np.isfinite(linear.rows).all():
        return _certificate(metric, floor, confidence, _unknown(floor, n, "an answer is not a number"), 1.0)
    losses = metric.loss(np.full(n, floor), linear.rows)
    sample = mean_sample(losses, linear.scale, groups, like=linear.rows, seed=seed)
    bound = mean_below(sample, 0.0, confidence, bootstrap=metric.kind == "functional" or groups is None)
    enough = not sample.grouped or sample.blocks >= MIN_GROUPS
    lowest: float | None = None
    highest: float | None = None
    if enough and bound.low is not None and bound.high is not None:
        sign = -1.0 if metric.higher_is_better else 1.0
        lowest, highest = sorted((floor + sign * bound.high, floor + sign * bound.low))
    method = "one-sample t and studentised bootstrap" if enough else f"cannot certify: {sample.blocks} groups"
    quality = Estimate(value=float(linear.rows.mean()), low=lowest, high=highest, n=n, method=method)
    return _certificate(metric, floor, confidence, quality, bound.p_value if enough else 1.0)


def _unknown(floor: float, n: int, reason: str) -> Estimate:
    return Estimate(value=floor, low=None, high=None, n=n, method=f"cannot certify: {reason}")


def _certificate(
    metric: Metric, floor: float, confidence: float, quality: Estimate, p_value: float
) -> FloorCertificate:
    return FloorCertificate(
        metric=metric.name,
        floor=floor,
        confidence=confidence,
        n=quality.n,
        quality=quality,
        p_value=p_value,
        method="exact binomial test" if quality.method.startswith("Clopper") else quality.method,
        passed=p_value <= 1 - confidence + 1e-12,
    )
