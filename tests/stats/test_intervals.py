"""Intervals of proportions, medians and quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.stats.intervals import (
    clopper_pearson,
    median_of_rounds,
    quantile_estimate,
    ratio_of_rounds,
    wilson,
)

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_proportion_intervals_equal_scipy(count: tuple[int, int], confidence: float) -> None:
    k, n = count
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = stats.binomtest(k, n).proportion_ci(confidence, method=method)
        assert ours(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(counts)
def test_one_sided_ends_are_those_of_a_wider_two_sided_interval(count: tuple[int, int]) -> None:
    k, n = count
    low, high = clopper_pearson(k, n, 0.9)
    assert clopper_pearson(k, n, 0.95, "lower") == pytest.approx((low, 1.0))
    assert clopper_pearson(k, n, 0.95, "upper") == pytest.approx((0.0, high))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        wilson(5, 4)
    with pytest.raises(ValueError, match="0 of 0"):
        clopper_pearson(0, 0)


@pytest.mark.parametrize(("q", "needed"), [(0.99, 299), (0.95, 59), (0.5, 5)])
def test_a_quantile_needs_samples_enough_to_bound_it(q: float, needed: int) -> None:
    assert quantile_estimate(np.arange(needed - 1), q) is None
    estimate = quantile_estimate(np.arange(needed), q)
    assert estimate is not None
    assert estimate.high == needed - 1


def test_quantile_bounds_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    truth = float(stats.expon.ppf(0.95))
    estimates = [quantile_estimate(rng.exponential(size=200), 0.95) for _ in range(1500)]
    below = np.mean(
        [estimate is not None and estimate.high is not None and estimate.high >= truth for estimate in estimates]
    )
    above = np.mean([estimate is not None and (estimate.low or 0) <= truth for estimate in estimates])
    assert below >= 0.935
    assert above >= 0.935


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=60), st.randoms())
def test_quantile_does_not_depend_on_order_and_lies_inside_its_bounds(samples: list[float], random: object) -> None:
    estimate = quantile_estimate(samples, 0.5)
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimate == quantile_estimate(shuffled, 0.5)
    assert estimate is not None
    assert estimate.high is not None
    assert (estimate.low or 0) <= estimate.value <= estimate.high


def test_quantile_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="strictly between"):
        quantile_estimate([1.0] * 10, 1.0)


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        quantile_estimate([1.0, float("nan")], 0.5)


def test_median_has_no_interval_below_six_rounds() -> None:
    assert median_of_rounds([1, 2, 3, 4, 5]).low is None
    estimate = median_of_rounds([1, 2, 3, 4, 5, 6])
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (3.5, 1, 6, 6)


def test_median_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    held = []
    for _ in range(2000):
        estimate = median_of_rounds(rng.exponential(size=15))
        assert estimate.low is not None
        assert estimate.high is not None
        held.append(estimate.low <= np.log(2) <= estimate.high)
    assert np.mean(held) >= 0.94


def test_ratio_within_rounds_is_untouched_by_slow_rounds() -> None:
    slowness = np.array([1, 8, 1, 3, 1, 20, 2])
    estimate = ratio_of_rounds(3.0 * slowness, 1.5 * slowness)
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 2.0, 2.0)


def test_rounds_that_do_not_pair_up_or_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="2 against 1"):
        ratio_of_rounds([1, 2], [1])
    with pytest.raises(ValueError, match="positive"):
        ratio_of_rounds([1, 2], [1, 0])
    with pytest.raises(ValueError, match="at least one"):
        median_of_rounds([])
