"""The test of a mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.stats.mean_test import design_effect, mean_below, mean_interval, mean_sample

figures = st.lists(st.floats(-5, 5), min_size=2, max_size=40).map(np.array)


@given(figures.filter(lambda rows: np.ptp(rows) > 1e-3))
def test_without_allowance_the_interval_is_students(rows: np.ndarray) -> None:
    ours = mean_interval(rows, 0.0, None, 0.95)
    theirs = stats.ttest_1samp(rows, 0.0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(figures, st.floats(0.1, 3))
def test_groups_of_one_row_are_no_groups(rows: np.ndarray, harm: float) -> None:
    alone, grouped = mean_sample(rows, harm, None), mean_sample(rows, harm, np.arange(len(rows)))
    assert grouped.standard_error(1.645) == pytest.approx(alone.standard_error(1.645))


@given(figures, st.floats(0.1, 3), st.booleans())
def test_bound_and_p_value_agree(rows: np.ndarray, harm: float, bootstrap: bool) -> None:
    sample = mean_sample(rows, harm, None)
    high = mean_below(sample, 0.0, 0.95, bootstrap).high
    assert high is not None
    assert mean_below(sample, high + 1e-6, 0.95, bootstrap).p_value <= 0.05
    assert mean_below(sample, high - 1e-6, 0.95, bootstrap).p_value >= 0.05 - 1e-9


@given(figures, st.booleans())
def test_low_and_high_swap_when_signs_do(rows: np.ndarray, bootstrap: bool) -> None:
    one = mean_below(mean_sample(rows, 1.0, None), 0.0, 0.95, False)
    other = mean_below(mean_sample(-rows, 1.0, None), 0.0, 0.95, False)
    assert one.low is not None
    assert other.high is not None
    assert one.low == pytest.approx(-other.high, abs=1e-9)


def test_repeating_each_row_in_a_group_of_its_own_says_nothing_new() -> None:
    rows = np.random.default_rng(0).normal(size=60)
    once, thrice = mean_sample(rows, 1.0, None), mean_sample(np.repeat(rows, 3), 1.0, np.repeat(np.arange(60), 3))
    assert thrice.standard_error(1.645) == pytest.approx(once.standard_error(1.645), rel=1e-9)


def test_design_effect_runs_from_one_to_the_groups_size() -> None:
    codes = np.repeat(np.arange(200), 10)
    sizes = np.full(200, 10.0)
    rng = np.random.default_rng(1)
    assert design_effect(rng.normal(size=2000), codes, sizes) < 1.4
    assert design_effect(rng.normal(size=200)[codes], codes, sizes) == pytest.approx(10)
    assert design_effect(np.zeros(2000), codes, sizes) == pytest.approx(10)


def test_no_difference_at_all_is_not_certainty() -> None:
    for n in (3, 30, 300):
        high = mean_below(mean_sample(np.zeros(n), 1.0, None), 0.01, 0.95, bootstrap=True).high
        assert high == pytest.approx(1.645**2 / n, rel=0.9)
        assert high is not None
        assert high >= 1.645**2 / n - 1e-3 / n


def test_one_block_says_nothing() -> None:
    assert mean_below(mean_sample(np.array([1.0]), 1.0, None), 5.0, 0.95, bootstrap=True).p_value == 1
    assert mean_interval(np.ones(9), 1.0, np.zeros(9, int), 0.95).high is None


def level(draw: object, bound: float, studies: int, bootstrap: bool, groups: np.ndarray | None = None) -> float:
    rng = np.random.default_rng(11)
    passed = 0
    for number in range(studies):
        rows = draw(rng)  # type: ignore[operator]
        sample = mean_sample(rows, 1.0, groups, seed=number)
        passed += mean_below(sample, bound, 0.95, bootstrap).p_value <= 0.05
    return passed / studies


def test_level_where_rare_rows_lose_much() -> None:
    """One row in a hundred loses all, the others nearly nothing: the mean is exactly the bound."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return (rng.random(800) < 0.01) + rng.normal(scale=0.02, size=800)

    assert level(draw, 0.01, 300, bootstrap=True) <= 0.05 + 2.33 * (0.05 * 0.95 / 300) ** 0.5


def test_level_where_skewed_rows_come_in_groups() -> None:
    groups = np.repeat(np.arange(60), 15)

    def draw(rng: np.random.Generator) -> np.ndarray:
        difficulty = rng.gamma(0.5, 2.0, size=60)[groups]
        return (rng.random(900) < np.minimum(1, 0.03 * difficulty)).astype(float)

    mean = float(np.minimum(1, 0.03 * np.random.default_rng(0).gamma(0.5, 2.0, size=1_000_000)).mean())
    assert level(draw, mean, 1500, bootstrap=False, groups=groups) <= 0.05 + 2.33 * (0.05 * 0.95 / 1500) ** 0.5
