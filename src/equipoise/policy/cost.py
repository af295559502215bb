"""What answers cost: from a price of an hour, a measured speed and the traffic. Formulas only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from equipoise.core.brief import OwnedMachine

Model = TypeVar("Model", bound=Hashable)

HOURS_PER_MONTH = 730.5
"""Hours of the mean month: 365.25 days * 24 h / 12."""

SECONDS_PER_HOUR = 3600.0
MILLION = 1_000_000.0


@dataclass(frozen=True, slots=True)
class LaneUse:
    """How much a model used what it had.

    Attributes:
        busy_s: Seconds of its lanes in which they computed, added up.
        lane_s: Seconds in which they could have.
    """

    busy_s: float
    lane_s: float

    def since(self, before: LaneUse | None) -> LaneUse:
        """What was added since; all of it where counting began anew meanwhile."""
        if before is None or before.busy_s > self.busy_s or before.lane_s > self.lane_s:
            return self
        return LaneUse(self.busy_s - before.busy_s, self.lane_s - before.lane_s)


def usd_per_million_packed(usd_per_hour: float, throughput_rps: float) -> float:
    """Cost of a million answers with the machine kept full, in US dollars.

    `usd_per_hour / (throughput_rps * 3600) * 1e6`: the price of work that can wait, and a lower bound of any other.

    Args:
        usd_per_hour: Price of one machine, > 0.
        throughput_rps: Answers a second of one full machine, > 0.

    Raises:
        ValueError: A figure is not a positive number.

    Example:
        >>> round(usd_per_million_packed(0.0892, 100.0), 4)
        0.2478
    """
    _need_positive(usd_per_hour=usd_per_hour, throughput_rps=throughput_rps)
    return usd_per_hour / (throughput_rps * SECONDS_PER_HOUR) * MILLION


def machines_needed(rate_rps: float, sustained_rps: float) -> int:
    """Whole machines that answer the traffic: `ceil(rate_rps / sustained_rps)`, at least 1.

    Args:
        rate_rps: Mean requests a second of the whole traffic, > 0.
        sustained_rps: Requests a second that one machine answers within the p99 limit, > 0. A machine that sustains
            none has no such number: its candidate misses the limit.

    Raises:
        ValueError: A figure is not a positive number.

    Example:
        >>> machines_needed(100.0, 40.0)
        3
    """
    _need_positive(rate_rps=rate_rps, sustained_rps=sustained_rps)
    return max(1, math.ceil(rate_rps / sustained_rps))


def usd_per_million_provisioned(usd_per_hour: float, rate_rps: float, sustained_rps: float) -> float:
    """Cost of a million answers at the given traffic, whole machines and their idle time paid, in US dollars.

    `machines * usd_per_hour / (rate_rps * 3600) * 1e6` with `machines = ceil(rate_rps / sustained_rps)`. It is at least
    the packed cost at `sustained_rps`, and equals it where the traffic just fills its machines.

    Args:
        usd_per_hour: Price of one machine, > 0.
        rate_rps: Mean requests a second of the whole traffic, > 0.
        sustained_rps: Requests a second that one machine answers within the p99 limit, > 0.

    Raises:
        ValueError: A figure is not a positive number.

    Example:
        >>> round(usd_per_million_provisioned(0.0892, 10.0, 100.0), 4)
        2.4778
    """
    machines = machines_needed(rate_rps, sustained_rps)
    return usd_per_million_packed(usd_per_hour * machines, rate_rps)


def monthly_usd(usd_per_hour: float, rate_rps: float, sustained_rps: float) -> float:
    """A month's bill at the given traffic, in US dollars.

    `machines * usd_per_hour * 730.5`: the mean month has 365.25 * 24 / 12 = 730.5 hours, and machines run all of them.

    Args:
        usd_per_hour: Price of one machine, > 0.
        rate_rps: Mean requests a second of the whole traffic, > 0.
        sustained_rps: Requests a second that one machine answers within the p99 limit, > 0.

    Raises:
        ValueError: A figure is not a positive number.
    """
    _need_positive(usd_per_hour=usd_per_hour)
    return machines_needed(rate_rps, sustained_rps) * usd_per_hour * HOURS_PER_MONTH


def usd_per_million_correct(usd_per_million: float, share_correct: float) -> float | None:
    """Cost of a million *correct* answers, `usd_per_million / share_correct`; null where no answer is correct.

    Args:
        usd_per_million: Cost of a million answers, packed or provisioned, > 0.
        share_correct: Share of answers that are correct, 0 to 1.

    Raises:
        ValueError: A figure is out of its range.
    """
    _need_positive(usd_per_million=usd_per_million)
    if not 0 <= share_correct <= 1:
        raise ValueError(f"share_correct must lie between 0 and 1, found {share_correct}")
    cost = usd_per_million / share_correct if share_correct else math.inf
    return cost if math.isfinite(cost) else None


def break_even_rps(sustained_rps: float, other_rps: float) -> float | None:
    """Traffic above which a plan always needs fewer machines than another, in requests a second; null if it never does.

    Machines come whole, so a plan that sustains `a` where the other sustains `b < a` does not save one at every rate.
    Just above `k * a` it needs `k + 1`; the other needs more than that once `k * a >= (k + 1) * b`. The last rate at
    which both need the same number is therefore `ceil(b / (a - b)) * b`. The first machine is saved above `b`: for
    `a >= 2 * b` the two are one.

    Args:
        sustained_rps: Requests a second that one machine of the plan answers within the p99 limit, > 0.
        other_rps: The same for the plan it is compared with, > 0.

    Raises:
        ValueError: A figure is not a positive number.

    Example:
        >>> break_even_rps(250.0, 100.0)
        100.0
        >>> break_even_rps(125.0, 100.0)
        400.0
        >>> break_even_rps(100.0, 100.0) is None
        True
    """
    _need_positive(sustained_rps=sustained_rps, other_rps=other_rps)
    if sustained_rps <= other_rps:
        return None
    return math.ceil(other_rps / (sustained_rps - other_rps)) * other_rps


def owned_usd_per_hour(owned: OwnedMachine) -> float:
    """What an hour of one's own machine costs, in US dollars.

    `capex_usd / (months * 730.5) + watts / 1000 * usd_per_kwh`: its price spread over every hour of its life, and its
    electricity. A machine that is switched off for part of its life costs more an hour than this says.

    Args:
        owned: What it cost, how long it lasts, and its electricity.

    Example:
        >>> round(owned_usd_per_hour(OwnedMachine(capex_usd=1753.2, months=24, watts=100, usd_per_kwh=0.25)), 4)
        0.125
    """
    return owned.capex_usd / (owned.months * HOURS_PER_MONTH) + owned.watts / 1000 * owned.usd_per_kwh


def shared_usd(usd: float, use: Mapping[Model, LaneUse]) -> dict[Model, float]:
    """Share the price of a machine, idle or not, among the models that are served on it, in US dollars.

    Every second of a lane costs the same. A model pays for those that its batches took, and for a part of the idle ones
    in proportion to its lanes: `usd * (busy_m + idle * lane_m / lane) / (busy + idle)`, `idle = max(0, lane - busy)`.

    Args:
        usd: Price of the machine for the time that is shared.
        use: Lane-seconds of each model in that time.

    Returns:
        What each pays; together `usd`, unless no lane was there.

    Example:
        >>> shared_usd(1.0, {"busy": LaneUse(60, 100), "idle": LaneUse(0, 100)})
        {'busy': 0.65, 'idle': 0.35}
    """
    busy_s, lane_s = sum(each.busy_s for each in use.values()), sum(each.lane_s for each in use.values())
    idle_s = max(0.0, lane_s - busy_s)
    if lane_s <= 0:
        return dict.fromkeys(use, 0.0)
    return {
        model: usd * (each.busy_s + idle_s * each.lane_s / lane_s) / (busy_s + idle_s) for model, each in use.items()
    }


def _need_positive(**figures: float) -> None:
    for name, value in figures.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, found {value}")
