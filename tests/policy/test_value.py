from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.estimate import Estimate
from equipoise.policy.value import (
    best_from,
    error_usd_per_row,
    exactly,
    negated,
    per_million,
    sweep,
    traffic_loss,
    value_of,
)
from equipoise.stats.intervals import sum_of_estimates

LINES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.floats(0, 1e6, allow_subnormal=False), st.floats(0, 1e3, allow_subnormal=False)),
    min_size=1,
)


def estimate(value: float, spread: float) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=50, method="known")


def test_an_error_costs_what_its_true_class_says() -> None:
    labels, target = np.array([0, 1, 2, 0]), np.array([0, 0, 2, 1])
    assert error_usd_per_row(labels, target, np.asarray(2.0)).tolist() == [0, 2, 0, 2]
    assert error_usd_per_row(labels, target, np.array([5.0, 0.5, 9.0])).tolist() == [0, 5, 0, 0.5]


def test_a_row_of_several_labels_is_wrong_where_any_is() -> None:
    target = np.array([[1, 0], [1, 1]])
    assert error_usd_per_row(np.array([[1, 0], [1, 0]]), target, np.asarray(3.0)).tolist() == [0, 3]


def test_only_latency_beyond_the_threshold_counts_and_failures_are_paid_once() -> None:
    latency_s = np.array([0.05, 0.15, 0.30, 5.0] * 30)
    loss = traffic_loss(latency_s, unanswered=5, threshold_s=0.1, limit_s=1.0)
    assert loss.excess_s.value == pytest.approx((0.05 + 0.20) * 30 / 125)
    assert loss.failed_share.value == pytest.approx(35 / 125)
    assert loss.excess_s.low is not None
    assert 0 < loss.excess_s.low < loss.excess_s.value
    without = traffic_loss(latency_s, unanswered=0, threshold_s=0.1, limit_s=None)
    assert (without.failed_share.value, without.excess_s.value) == (0, pytest.approx((0.05 + 0.2 + 4.9) / 4))


def test_neighbours_that_wait_together_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    waits = np.where(np.arange(3000) // 100 % 2, 0.2, 0.0)  # whole queues are late, or none
    together = traffic_loss(waits, 0, 0.0, None).excess_s
    alone = traffic_loss(rng.permutation(waits), 0, 0.0, None).excess_s
    assert together.value == pytest.approx(alone.value)
    assert together.high is not None
    assert alone.high is not None
    assert together.high - together.value > 3 * (alone.high - alone.value)


def test_a_run_without_requests_is_refused() -> None:
    with pytest.raises(ValueError, match="without requests"):
        traffic_loss(np.empty(0), 0, 0.0, None)


def test_net_value_is_minus_all_that_is_lost() -> None:
    value = value_of(
        estimate(2.0, 0.3), errors_usd=per_million(estimate(1e-5, 4e-7), 1.0), failures_usd=exactly(1.0, "counted")
    )
    assert value.net_usd.value == pytest.approx(-13.0)
    assert value.net_usd.low == pytest.approx(-13.5)
    assert value.net_usd.high == pytest.approx(-12.5)
    assert value.latency_usd is None


def test_what_costs_nothing_is_known_exactly() -> None:
    free = per_million(estimate(0.3, 0.1), 0.0)
    assert (free.low, free.value, free.high) == (0, 0, 0)


def test_an_unknown_part_leaves_the_sum_unbounded() -> None:
    unknown = Estimate(value=1.0, low=None, high=3.0, n=2, method="too few")
    total = sum_of_estimates([estimate(1.0, 0.5), negated(unknown)])
    assert (total.value, total.high) == (0, None)
    assert total.low is not None
    with pytest.raises(ValueError, match="at least one"):
        sum_of_estimates([])


def test_the_interval_of_a_difference_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        ends = []
        for mean, n in ((3.0, 40), (2.0, 90)):
            drawn = rng.normal(mean, 1, n)
            half = 1.96 * drawn.std(ddof=1) / math.sqrt(n)
            ends.append(estimate(float(drawn.mean()), half))
        gap = sum_of_estimates([ends[0], negated(ends[1])])
        assert gap.low is not None
        assert gap.high is not None
        covered += gap.low <= 1.0 <= gap.high
    assert 0.92 <= covered / 400 <= 0.98


@given(LINES, st.floats(0, 1e5, allow_subnormal=False))
def test_the_envelope_names_whoever_costs_least_at_any_price(
    costs: dict[str, tuple[float, float]], price: float
) -> None:
    steps = best_from(costs)
    assert steps[0][0] == 0
    assert [at for at, _ in steps] == sorted(at for at, _ in steps)
    named = [name for at, name in steps if at <= price][-1]
    fixed, growth = costs[named]
    least = min(a + b * price for a, b in costs.values())
    assert fixed + growth * price <= least + 1e-9 * (1 + abs(least))


def test_a_plan_that_cannot_serve_is_never_the_best() -> None:
    assert best_from({"a": (math.inf, 0.0), "b": (1.0, 1.0)}) == ((0.0, "b"),)
    assert best_from({"a": (math.inf, 0.0)}) == ()
    assert best_from({"b": (1.0, 1.0), "a": (1.0, 1.0)}) == ((0.0, "a"),)


def test_a_sweep_is_a_line_for_each_plan() -> None:
    assert sweep({"a": (1.0, 2.0)}, [0, 1, 3]) == {"a": [1, 3, 7]}
