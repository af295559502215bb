"""What a plan is worth: its net value is minus what serving, errors, waiting and failures cost. Formulas only.

A million requests to a plan have the net value

    -(serving + 1e6 * (mean of wrong * usd_per_error[true class]
                       + usd_per_second_of_latency * mean of max(0, latency - threshold)
                       + usd_per_failed_request * failed share))

which is linear in each of its figures: where the choice flips as one of them grows is a corner of the lower envelope of
straight lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.estimate import Estimate
from equipoise.core.value import TrafficLoss, Value
from equipoise.policy.cost import MILLION
from equipoise.stats.intervals import sum_of_estimates, wilson
from equipoise.stats.mean_test import mean_interval

Floats = NDArray[np.float64]
BLOCKS = 30
"""Consecutive requests wait in the same queue: the mean's interval takes them by so many runs of neighbours."""


def error_usd_per_row(labels: NDArray[Any], target: NDArray[Any], usd_per_error: Floats) -> Floats:
    """What the errors of each row cost, in US dollars.

    Args:
        labels: Class index of each answer, [n]; with several labels a row [n, L], wrong where any is.
        target: The true ones, of the same shape.
        usd_per_error: Price of an error: one for all, shape (), or one for each true class, [C].

    Returns:
        US dollars, float64 [n].

    Example:
        >>> error_usd_per_row(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([5.0, 1.0]))
        array([0., 5., 0.])
    """
    wrong = (labels != target).reshape(len(labels), -1).any(axis=1)
    return np.where(wrong, usd_per_error if usd_per_error.ndim == 0 else usd_per_error[target], 0.0)


def traffic_loss(
    latency_s: Floats, unanswered: int, threshold_s: float, limit_s: float | None, confidence: float = 0.95
) -> TrafficLoss:
    """What requests suffered in an open-loop run.

    A request failed if it was not answered, or later than the p99 limit: a server refuses those early. Only the others
    are paid for by the second, so that nothing is paid for twice.

    Args:
        latency_s: From intended arrival to answer, in the order of arrival, [n].
        unanswered: Requests that were never answered.
        threshold_s: Latency that costs nothing.
        limit_s: The p99 limit; null for none.
        confidence: Of the intervals, two-sided.

    Raises:
        ValueError: There was no request.
    """
    requests = len(latency_s) + unanswered
    if requests == 0:
        raise ValueError("a run without requests says nothing of their latency")
    late = np.zeros(len(latency_s), dtype=bool) if limit_s is None else latency_s > limit_s
    excess_s = np.zeros(requests)
    excess_s[: len(latency_s)] = np.where(late, 0.0, np.maximum(latency_s - threshold_s, 0.0))
    mean = mean_interval(excess_s, 0.0, np.arange(requests) // max(1, requests // BLOCKS), confidence)
    failed = int(np.count_nonzero(late)) + unanswered
    low, high = wilson(failed, requests, confidence)
    return TrafficLoss(
        excess_s=mean.model_copy(
            update={
                "low": None if mean.low is None else max(0.0, mean.low),
                "method": f"mean beyond {threshold_s * 1e3:g} ms; t by runs of neighbouring requests",
            }
        ),
        failed_share=Estimate(
            value=failed / requests, low=low, high=high, n=requests, method="unanswered or past the limit; Wilson"
        ),
    )


def value_of(
    serving_usd: Estimate,
    *,
    errors_usd: Estimate | None = None,
    latency_usd: Estimate | None = None,
    failures_usd: Estimate | None = None,
    gain_usd: Estimate | None = None,
) -> Value:
    """Net value of a million requests, its interval from those of its parts.

    Args:
        serving_usd: What a million answers cost to serve, US dollars.
        errors_usd: What a million requests lose by errors; null where an error has no price.
        latency_usd: The same by waiting.
        failures_usd: The same by failed requests.
        gain_usd: Net value beyond the original's.
    """
    parts = [part for part in (serving_usd, errors_usd, latency_usd, failures_usd) if part is not None]
    return Value(
        serving_usd=serving_usd,
        errors_usd=errors_usd,
        latency_usd=latency_usd,
        failures_usd=failures_usd,
        net_usd=negated(sum_of_estimates(parts)),
        gain_usd=gain_usd,
    )


def per_million(estimate: Estimate, usd: float) -> Estimate:
    """What a million requests cost, from what one suffers on average and the price of that, which may be 0."""
    if usd == 0:
        return exactly(0.0, "it costs nothing")
    return estimate.scaled(usd * MILLION)


def exactly(value: float, method: str) -> Estimate:
    """A figure without uncertainty of its own."""
    return Estimate(value=value, low=value, high=value, n=1, method=method)


def negated(estimate: Estimate) -> Estimate:
    """The same with the other sign, so that its ends change places."""
    return estimate.model_copy(
        update={
            "value": -estimate.value,
            "low": None if estimate.high is None else -estimate.high,
            "high": None if estimate.low is None else -estimate.low,
        }
    )


def best_from(costs: Mapping[str, tuple[float, float]]) -> tuple[tuple[float, str], ...]:
    """Which plan costs the business least as one price grows from 0, the others as they are.

    Args:
        costs: Of each plan, what it costs where that price is 0, and what it costs more for each unit of the price,
            not negative. A plan whose cost is infinite is never the best.

    Returns:
        The lower envelope of these lines: from which price on, and which plan, ascending from 0. Of plans that cost the
        same the one that grows less is taken, then the first by name.

    Example:
        >>> best_from({"cheap": (1.0, 0.75), "good": (5.0, 0.25), "worse": (6.0, 0.75)})
        ((0.0, 'cheap'), (8.0, 'good'))
    """
    finite = {name: line for name, line in costs.items() if all(map(math.isfinite, line))}
    if not finite:
        return ()
    best = min(finite, key=lambda name: (*finite[name], name))
    found = [(0.0, best)]
    while True:
        fixed, growth = finite[best]
        # Whoever grows less overtakes where the lines cross: (other's fixed - fixed) / (growth - other's growth).
        crossings = [
            ((other_fixed - fixed) / (growth - other_growth), other_growth, name)
            for name, (other_fixed, other_growth) in finite.items()
            if other_growth < growth
        ]
        if not crossings or not math.isfinite(min(crossings)[0]):
            return tuple(found)
        price, _, best = min(crossings)
        found.append((price, best))


def sweep(costs: Mapping[str, tuple[float, float]], prices: Sequence[float]) -> dict[str, list[float]]:
    """What each plan costs the business at some prices of one thing: straight lines, for a picture.

    Args:
        costs: As in `best_from`.
        prices: Where to look.
    """
    return {name: [fixed + growth * price for price in prices] for name, (fixed, growth) in costs.items()}
