"""After how many answers a training has paid for itself. Formulas only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from equipoise.policy.cost import MILLION, SECONDS_PER_HOUR

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class PaidBack:
    """When a training has paid for itself.

    Attributes:
        requests: Answers after which it has; null for never.
        days: Days of the given traffic after which it has; null for never, and without a rate.
        in_time: Whether that is soon enough; without a rate, whether it happens at all.
    """

    requests: float | None
    days: float | None
    in_time: bool


def training_usd(usd_per_hour: float, trained_s: float) -> float:
    """Price of a training: the machine's price times the time it took, in US dollars.

    Args:
        usd_per_hour: Price of the machine that trained, > 0.
        trained_s: Seconds trained, >= 0.

    Raises:
        ValueError: A figure is out of its range.

    Example:
        >>> training_usd(0.0892, 1800)
        0.0446
    """
    if not 0 < usd_per_hour < math.inf or not 0 <= trained_s < math.inf:
        raise ValueError(f"needs a price above 0 and a time of at least 0, found {usd_per_hour} and {trained_s}")
    return usd_per_hour * trained_s / SECONDS_PER_HOUR


def paid_back(usd: float, saved_per_million_usd: float, rate_rps: float | None, within_days: float) -> PaidBack:
    """When a training that cost `usd` has paid for itself.

    `requests = usd / saved_per_million_usd * 1e6`; `days = requests / (rate_rps * 86400)`.

    Args:
        usd: What the training cost, >= 0.
        saved_per_million_usd: What a million answers of the trained plan cost less than those of the best plan that
            needs no training; infinite where there is no such plan, and then it pays at once.
        rate_rps: Mean requests a second, > 0; null where nothing is known of the traffic.
        within_days: Days within which it must have paid, > 0.

    Raises:
        ValueError: A figure is out of its range.

    Example:
        >>> paid_back(0.5, 2.0, rate_rps=1.0, within_days=90)
        PaidBack(requests=250000.0, days=2.8935185185185186, in_time=True)
        >>> paid_back(0.02, 0.0, rate_rps=1.0, within_days=90)
        PaidBack(requests=None, days=None, in_time=False)
    """
    if not 0 <= usd < math.inf or not within_days > 0 or math.isnan(saved_per_million_usd):
        raise ValueError(f"needs a cost of at least 0 and days above 0, found {usd}, {within_days}")
    if rate_rps is not None and not 0 < rate_rps < math.inf:
        raise ValueError(f"rate_rps must be a positive number, found {rate_rps}")
    if saved_per_million_usd <= 0:
        return PaidBack(requests=None, days=None, in_time=False)
    requests = usd / saved_per_million_usd * MILLION
    days = None if rate_rps is None else requests / (rate_rps * SECONDS_PER_DAY)
    return PaidBack(requests=requests, days=days, in_time=days is None or days <= within_days)
