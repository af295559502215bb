"""The one-sample test against a floor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from equipoise.stats.floor import floor_test
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

ACCURACY, LOG_LOSS, MAE = (metric_named(name) for name in ("accuracy", "log_loss", "mae"))
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def right_of(right: int, n: int) -> tuple[Predictions, np.ndarray]:
    return Predictions(labels=(np.arange(n) < right).astype(int)), np.ones(n, dtype=int)


def numbers(seed: int, n: int) -> tuple[Predictions, np.ndarray]:
    """Errors that are skewed as losses are: mostly small."""
    return Predictions(values=np.random.default_rng(seed).exponential(1.0, n) ** 1.5), np.zeros(n)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(0.02, 0.98), confidences)
def test_the_exact_level_of_a_proportion_at_its_floor(n, floor, confidence):
    passing = [
        right for right in range(n + 1) if floor_test(ACCURACY, *right_of(right, n), floor, None, confidence).passed
    ]
    assert binom.pmf(passing, n, floor).sum() <= 1 - confidence + 1e-9
    # What passes is everything from some count on.
    assert passing == list(range(n + 1 - len(passing), n + 1))


@given(st.integers(1, 200), st.data(), st.floats(0.0, 1.0), confidences)
def test_a_proportion_passes_where_its_bound_reaches_the_floor(n, data, floor, confidence):
    found = floor_test(ACCURACY, *right_of(data.draw(st.integers(0, n)), n), floor, None, confidence)
    assert found.quality.low is not None
    if abs(found.quality.low - floor) > 1e-9:
        assert found.passed == (found.quality.low > floor)
    assert found.passed == (found.p_value <= 1 - confidence + 1e-12)
    assert found.quality.low <= found.quality.value <= (found.quality.high or 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 300), confidences)
def test_a_mean_passes_where_its_bound_reaches_the_floor(seed, n, confidence):
    answers, target = numbers(seed, n)
    high = floor_test(MAE, answers, target, 1.0, None, confidence).quality.high
    assert high is not None
    assert floor_test(MAE, answers, target, high * (1 + 1e-6), None, confidence).passed
    assert not floor_test(MAE, answers, target, high * (1 - 1e-6), None, confidence).passed


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), confidences)
def test_with_groups_too_a_test_is_its_bound(seed, confidence):
    rng = np.random.default_rng(seed)
    answers, target = Predictions(labels=(rng.random(400) < 0.8).astype(int)), np.ones(400, dtype=int)
    groups = rng.integers(0, 60, 400)
    low = floor_test(ACCURACY, answers, target, 0.5, groups, confidence).quality.low
    assert low is not None
    assert floor_test(ACCURACY, answers, target, low - 1e-6, groups, confidence).passed
    assert not floor_test(ACCURACY, answers, target, low + 1e-6, groups, confidence).passed


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_a_higher_floor_is_harder_and_for_losses_a_lower_one(seed, first, second):
    low, high = sorted((first, second))
    answers, target = numbers(seed, 80)
    assert floor_test(MAE, answers, target, low).p_value >= floor_test(MAE, answers, target, high).p_value
    shares = np.clip(np.exp(-np.asarray(answers.values)), 1e-4, 1 - 1e-4)
    likely = Predictions(probabilities=np.stack([1 - shares, shares], axis=1))
    ones = np.ones(80, dtype=int)
    assert floor_test(LOG_LOSS, likely, ones, low).p_value >= floor_test(LOG_LOSS, likely, ones, high).p_value


def test_a_mean_keeps_its_level_at_its_floor():
    """1,000 samples of 150 skewed rows, in which the true mean is the floor: 50 expected, and 2.33 standard errors."""
    passed = 0
    for seed in range(1000):
        values = np.random.default_rng(seed).exponential(1.0, 150)
        passed += floor_test(MAE, Predictions(values=values), np.zeros(150), 1.0, seed=seed).passed
    assert passed <= 66


def test_agreement_is_held_against_the_originals_answers():
    original = np.array([0, 1, 2, 1] * 50)
    found = floor_test(metric_named("agreement"), Predictions(labels=original), original, 0.98)
    assert found.passed
    assert found.quality.value == 1.0
    assert found.metric == "agreement"


def test_few_groups_cannot_certify():
    answers, target = right_of(290, 290)
    found = floor_test(ACCURACY, answers, target, 0.5, np.arange(290) // 10)
    assert not found.passed
    assert found.p_value == 1.0
    assert found.quality.low is None
    assert found.method == "cannot certify: 29 groups"


def test_no_rows_and_undefined_figures_prove_nothing():
    none = floor_test(ACCURACY, Predictions(labels=np.zeros(0, dtype=int)), np.zeros(0, dtype=int), 0.0)
    assert not none.passed
    assert none.n == 0
    one_class = Predictions(probabilities=np.full((50, 2), 0.5))
    undefined = floor_test(metric_named("auroc"), one_class, np.zeros(50, dtype=int), 0.5)
    assert not undefined.passed
    assert undefined.method.startswith("cannot certify")
    unknown = floor_test(MAE, Predictions(values=np.full(50, np.nan)), np.zeros(50), 1.0)
    assert not unknown.passed
    assert unknown.method == "cannot certify: an answer is not a number"


def test_what_is_only_reported_has_no_floor():
    with pytest.raises(ValueError, match="ece is reported, not certified"):
        floor_test(metric_named("ece"), Predictions(probabilities=np.full((5, 2), 0.5)), np.zeros(5, dtype=int), 0.1)


def test_the_same_rows_give_the_same_certificate_whatever_else_drew_random_numbers():
    answers, target = numbers(1, 100)
    first = floor_test(MAE, answers, target, 1.5, seed=4)
    np.random.default_rng(0).random(10)
    np.random.seed(0)  # noqa: NPY002 - the global state is what must not matter
    assert floor_test(MAE, answers, target, 1.5, seed=4) == first
